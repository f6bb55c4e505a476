"""Driving a release by steps: real edge, real small servers in the place of the versions', real desired state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import serving_kit as kit
import yaml
from edge_kit import Load, World, world
from fault_kit import killed_at_every_save

from greenlight.adapters.waiting import wait_until
from greenlight.config import Settings
from greenlight.core import rollout as steps
from greenlight.core.release import Desired
from greenlight.core.release_plan import Rollout
from greenlight.errors import EdgeError, NotFound, UsageError
from greenlight.operations import rollout as rollouts
from greenlight.operations.evidence import EvidenceFile, shown
from greenlight.operations.serving import Serving
from greenlight.operations.step_in import step_in
from greenlight.wiring import open_project

QUICK: dict[str, Any] = {
    "look_s": 0.1, "patience_s": 30, "quiet_s": 30, "longest_s": 86_400, "drain_s": 1,
    "shadow": {"min_requests": 40, "min_seconds": 0.3},
    "canary": {"percent": [10, 50], "min_requests": 20, "min_seconds": 0.3},
    "ab": {"percent": 50, "min_requests": 40, "days": 0.00001},
    "guard": {"max_failures": 0.05, "max_slow": 0.2, "min_requests": 60},
}  # fmt: skip
DRIVER = """
import sys; from greenlight.config import Settings; from greenlight.operations import rollout
from greenlight.operations.serving import Serving; from greenlight.wiring import open_project
serving = Serving(open_project(Settings(root=sys.argv[1], edge_port=int(sys.argv[2]))), lambda line: print(line, flush=True))
rollout.Drive(serving, serving.desired.load().rollout).run()
"""


class Place:
    """A project with v1 live and v2 as a warm candidate, whose servers are small ones."""

    def __init__(self, settings: Settings, world: World) -> None:
        self.settings = settings
        self.world = world
        self.lines: list[str] = []

    def set(self, **release: Any) -> None:
        """Other values of section release in params.yaml."""
        params = yaml.safe_load(self.settings.params_file.read_text())
        params["release"] |= release
        self.settings.params_file.write_text(yaml.safe_dump(params))

    @property
    def serving(self) -> Serving:
        return Serving(open_project(self.settings), self.lines.append)

    @property
    def state(self) -> Desired:
        return self.serving.desired.load()

    def warm(self, *kinds: str) -> Rollout:
        """v2 has got ready for these steps, the edge has all traffic on v1."""
        serving = self.serving
        plan = rollouts.steps_of((*kinds, "full"), serving.project.params)
        begun = steps.begin_rollout(Desired(live="v1"), "v2", plan, strategy="test", salt="s", now=time.time())
        rollout = serving.desired.save(steps.warmed(begun, time.time()), "test").rollout
        self.world.behave("v2")
        serving.edge.set_clusters({})
        serving.edge.set_clusters(self.world.sockets(), [("v2", "v1")])
        for version in ("v1", "v2"):
            serving.edge.wait_healthy(version, 1)
        serving.edge.set_live("v1")
        assert rollout
        return rollout

    def drive(self, **how: Any) -> Desired:
        rollout = self.state.rollout
        assert rollout
        return rollouts.Drive(self.serving, rollout).run(**how)

    def drive_elsewhere(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", DRIVER, str(self.settings.root), str(self.settings.edge_port)]
        return subprocess.Popen(command, cwd=kit.ROOT, stdout=subprocess.PIPE, text=True)

    def reasons(self) -> list[str]:
        return [str(line["reason"]) for line in self.serving.desired.history()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    (folder / "none").mkdir()
    settings = kit.project(folder / "project", 2, bentos=folder / "none")
    with world(settings.home, "v1", "v2", releases=[("v2", "v1")], settings=settings) as world_:
        yield Place(settings, world_)


@pytest.fixture
def place(made: Place) -> Place:
    made.set(**QUICK)
    made.lines.clear()
    EvidenceFile(made.settings.home).path.unlink(missing_ok=True)
    made.serving.desired.history_file.unlink(missing_ok=True)
    return made


@pytest.mark.parametrize("kinds", [("canary",), ("shadow", "canary"), ("ab",)])
def test_a_healthy_candidate_is_promoted_and_users_see_no_error(place: Place, kinds: tuple[str, ...]) -> None:
    place.warm(*kinds)
    with Load(place.world) as load:
        state = place.drive()
        assert (state.live, state.rollout, state.standby) == ("v2", None, ("v1",))
        before = load.versions["v1"]
        time.sleep(0.3)
    assert load.errors == []
    assert set(load.statuses) == {200}
    assert load.versions["v1"] <= before + 20, "all traffic is v2's"
    assert state.last
    assert state.last.outcome == "promoted"
    champion = open_project(place.settings).registry.champion()
    assert champion
    assert champion.name == "v2"
    found = shown(EvidenceFile(place.settings.home).read())
    assert found["requests"] >= 60
    assert "failures: 0 in" in found["findings"][0]


@pytest.mark.parametrize(("kinds", "conduct"), [(("canary",), "fail"), (("canary",), "drop"), (("shadow",), "fail")])
def test_a_candidate_that_fails_is_rolled_back_and_users_see_no_error(
    place: Place, kinds: tuple[str, ...], conduct: str
) -> None:
    place.warm(*kinds)
    place.world.behave("v2", conduct)
    with Load(place.world) as load:
        begun = time.monotonic()
        state = place.drive()
        assert time.monotonic() - begun < 60
    assert load.errors == []
    assert set(load.statuses) == {200}
    assert (state.live, state.rollout, state.retiring) == ("v1", None, ("v2",)), "stopped once a supervisor is there"
    assert state.last
    assert state.last.outcome == "rolled_back"
    assert "failures" in state.last.reason or "none of the processes" in state.last.reason
    assert steps.traffic(state).weight == 0
    assert place.serving.edge.follows(steps.traffic(state))


def test_a_candidate_that_is_slow_is_rolled_back(place: Place) -> None:
    place.set(canary={"percent": [50], "min_requests": 400, "min_seconds": 0.3})
    place.warm("canary")
    with Load(place.world, clients=3) as load:
        assert wait_until(lambda: load.versions["v1"] > 400, 30, 0.05)
        time.sleep(1.2)  # Envoy gathers times once a second; slow is what the stable version hardly ever is
        place.world.behave("v2", "slow")
        state = place.drive()
    assert set(load.statuses) == {200}
    assert state.last
    assert state.last.outcome == "rolled_back"
    assert "slow: more than 1.25 times" in state.last.reason


def test_silence_passes_nothing_takes_the_users_away_and_the_release_can_be_driven_on(place: Place) -> None:
    place.set(patience_s=0.5)
    place.warm("canary")
    state = place.drive()
    assert state.rollout
    assert state.live == "v1"
    assert state.rollout.waits_for.startswith("0 of 20 requests to v2 in canary 10 %")
    assert steps.traffic(state).weight == 0
    assert place.world.ask(40).by_version == {"v1": 40}
    with Load(place.world):
        assert place.drive().live == "v2"


def test_a_test_of_many_days_is_driven_through_them_and_not_given_up_as_undecided(place: Place) -> None:
    place.set(longest_s=0.3, ab={"percent": 50, "min_requests": 20, "days": 1.2 / 86_400, "min_labels": 0})
    place.warm("ab")
    with Load(place.world):
        assert place.drive().live == "v2"


def test_a_drive_that_nobody_waits_for_ends_as_soon_as_nobody_asks_and_goes_on_while_somebody_does(
    place: Place,
) -> None:
    place.set(patience_s=600, quiet_s=0.5)
    place.warm("shadow", "canary")
    state = place.drive(unattended=True)
    assert state.rollout
    assert (state.live, state.rollout.step) == ("v1", 0)
    assert state.rollout.waits_for.startswith("0 of 40 requests to v2 in shadow 100 %")
    assert "nobody asked for a prediction for 0.5 s" in place.lines
    before = place.serving.edge.asked()
    place.world.ask(3)
    place.world.ask(2, path="/v2/models/m/infer?x=1")
    place.world.ask(4, path="/labels")
    assert wait_until(lambda: place.serving.edge.asked() == before + 5, 10, 0.05), "copies and other paths do not count"
    with Load(place.world) as load:
        assert place.drive(unattended=True).live == "v2"
    assert load.errors == []
    assert place.serving.edge.asked() > before + 100, "a change of the routes does not forget them"


def test_a_killed_driver_leaves_users_safe_and_another_one_goes_on_with_what_was_known(place: Place) -> None:
    place.set(canary={"percent": [10, 50], "min_requests": 60, "min_seconds": 1.0})
    place.warm("canary")
    with Load(place.world) as load:
        with place.drive_elsewhere() as driver:
            assert wait_until(lambda: place.state.rollout is None or place.state.rollout.step == 1, 30, 0.02)
            driver.kill()
        state = place.state
        assert state.rollout
        known = EvidenceFile(place.settings.home).read()
        assert known["release"] == state.rollout.id
        assert known["guard"]["judged"]["failures"] >= 60
        before = load.versions["v2"]
        assert wait_until(lambda: load.versions["v2"] > before, 30, 0.05), "the step stands without a driver"
        assert place.drive().live == "v2"
    assert load.errors == []
    assert set(load.statuses) == {200}


@pytest.mark.slow
@pytest.mark.parametrize("conduct", ["ok", "fail"])
def test_a_driver_killed_before_and_after_every_save_loses_nothing(place: Place, conduct: str) -> None:
    """The next one goes on where it died; users see no error, and the end is that of an undisturbed release."""
    place.warm("shadow", "canary")
    with Load(place.world) as load:
        if conduct == "fail":
            place.world.behave("v2", "fail")
        outcome, moments = killed_at_every_save(place.settings, "drive")
    (place.settings.home / "moments").unlink()
    assert load.errors == []
    assert set(load.statuses) == {200}
    saves = [moment for moment in moments if moment.startswith("before")]
    if conduct == "fail":
        assert (outcome, place.state.live, place.state.rollout) == ("rolled_back", "v1", None)
        assert saves[0] == "before v2 rolled back"
        return
    assert (outcome, place.state.live, place.state.rollout) == ("promoted", "v2", None)
    for step in ("shadow 100 % passed", "canary 10 % passed", "traffic to v2"):
        assert any(step in save for save in saves), moments
    assert len(moments) >= 2 * len(saves)


@pytest.mark.slow
def test_a_disk_that_is_full_while_a_release_moves_ends_the_drive_and_no_more(place: Place) -> None:
    """No file may grow: neither what is known nor the next step can be written; the release stands, users are safe."""
    place.warm("canary")
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    said = "try: rollout.Drive(serving, serving.desired.load().rollout).run()\nexcept GreenlightError as exc: print('SAID', exc)"
    code = DRIVER.rsplit("rollout.Drive", 1)[0] + f"from greenlight.errors import GreenlightError\n{full}\n{said}"
    before = place.state
    with Load(place.world) as load:
        command = [sys.executable, "-c", code, str(place.settings.root), str(place.settings.edge_port)]
        done = subprocess.run(command, cwd=kit.ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert "SAID could not write" in done.stdout, done.stderr
        assert place.state == before
        assert place.drive().live == "v2", "with room again it goes on"
    assert load.errors == []
    assert set(load.statuses) == {200}


def test_what_a_candidate_does_while_nobody_drives_counts_when_somebody_does_again(place: Place) -> None:
    place.set(canary={"percent": [10, 50], "min_requests": 1000, "min_seconds": 1.0})
    place.warm("canary")
    with Load(place.world) as load:
        with place.drive_elsewhere() as driver:
            assert wait_until(lambda: load.versions["v2"] > 10, 30, 0.02)
            driver.kill()
        place.world.behave("v2", "fail")
        time.sleep(1)
        place.world.behave("v2")
        state = place.drive()
    assert state.last
    assert state.last.outcome == "rolled_back"
    assert set(load.statuses) == {200}


def test_a_persons_word_is_the_same_from_the_terminal_and_from_a_form(place: Place) -> None:
    place.warm("canary")
    assert "held until it is resumed" in step_in(place.serving, "pause")
    assert place.state.rollout
    assert place.state.rollout.paused
    assert "canary 10 %" in step_in(place.serving, "resume")
    assert "canary 50 %: goes on" in step_in(place.serving, "advance")
    assert step_in(place.serving, "abort") == "v2 is out of the traffic, v1 serves"
    assert (place.state.live, place.state.rollout) == ("v1", None)
    with pytest.raises(UsageError, match="no release is under way"):
        step_in(place.serving, "abort")
    with pytest.raises(UsageError, match="'end' is nothing to do"):
        step_in(place.serving, "end")


def test_a_person_pauses_resumes_advances_and_aborts_under_a_driver(place: Place) -> None:
    place.set(canary={"percent": [10, 20, 50], "min_requests": 5, "min_seconds": 0.1})
    place.warm("canary")
    rollouts.pause(place.serving)
    ends: list[Desired] = []
    driver = threading.Thread(target=lambda: ends.append(place.drive()))
    with Load(place.world) as load:
        driver.start()
        assert wait_until(lambda: load.versions["v2"] > 30, 30, 0.05)
        assert place.state.rollout
        assert (place.state.rollout.step, place.state.rollout.paused) == (0, True), "enough was seen, and it holds"
        place.set(canary={"percent": [1], "min_requests": 5})
        after = rollouts.advance(place.serving).rollout
        assert after
        assert (after.step, after.paused, after.current.weight) == (1, False, 2_000), "the plan is that of its begin"
        ended = rollouts.end(place.serving, "aborted", "not today")
        driver.join(20)
        assert ended
        assert (ended.version, ended.outcome, ended.reason) == ("v2", "aborted", "not today")
        time.sleep(0.2)
        seen = load.versions["v2"]
        time.sleep(0.3)
        assert load.versions["v2"] == seen
    assert [end.last for end in ends] == [ended], "the driver sees that it is over"
    assert set(load.statuses) == {200}
    assert rollouts.end(place.serving, "aborted", "again") is None
    for move in (rollouts.pause, rollouts.resume, rollouts.advance):
        with pytest.raises(NotFound, match="no release is under way"):
            move(place.serving)


def test_nobody_advances_what_is_to_be_rolled_back(place: Place) -> None:
    rollout = place.warm("canary")
    drive = rollouts.Drive(place.serving, rollout)
    drive.begin()
    place.world.behave("v2", "fail")
    place.world.ask(200)  # of 60, two or fewer are the candidate's once in twenty times
    drive._look(replace(rollout, waits_for=""))
    with pytest.raises(UsageError, match="v2 is to be rolled back: failures"):
        rollouts.advance(place.serving)


def test_a_driver_that_hangs_with_everything_in_its_hands_does_not_keep_users_from_safety(place: Place) -> None:
    """SIGSTOP: the right to change what serves may never come back, and the traffic is safe before that is asked for."""
    place.set(canary={"percent": [50], "min_requests": 100_000, "min_seconds": 1.0})
    place.warm("canary")
    with Load(place.world) as load, place.drive_elsewhere() as driver:
        assert wait_until(lambda: load.versions["v2"] > 20, 30, 0.02)
        os.kill(driver.pid, signal.SIGSTOP)
        holder = place.serving.desired.changing("a driver that hangs")
        with holder:
            aborting = threading.Thread(target=rollouts.end, args=(place.serving, "aborted", "now"))
            aborting.start()
            time.sleep(0.5)
            seen = load.versions["v2"]
            time.sleep(0.4)
            assert load.versions["v2"] == seen
        aborting.join(20)
        driver.kill()
    assert place.state.last
    assert place.state.last.outcome == "aborted"
    assert set(load.statuses) == {200}


def test_an_abort_while_the_edge_is_down_holds_when_it_comes_back(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    settings = kit.project(tmp_path / "project", 2, bentos=tmp_path / "none")
    place = Place(settings, World(Serving(open_project(settings)).edge, ("v1", "v2")))
    serving = place.serving
    plan = rollouts.steps_of(("canary", "full"), serving.project.params)
    begun = steps.begin_rollout(Desired(live="v1"), "v2", plan, strategy="test", salt="s", now=1.0)
    serving.desired.save(steps.warmed(begun, 2.0), "test")
    serving.edge.prepare(steps.traffic(place.state), {})
    with pytest.raises(EdgeError, match="greenlight up"):
        rollouts.end(serving, "aborted", "now")
    assert place.state.rollout is None
    assert serving.edge.follows(steps.traffic(place.state)), "what Envoy will read when it starts"
