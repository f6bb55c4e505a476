"""Releases by steps with the real edge, supervisor and bentos, under load that never stops."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fault_kit as faults
import pytest
import serving_kit as kit
import yaml
from stack_kit import Load, Stack

from greenlight.adapters import processes
from greenlight.adapters.waiting import wait_until
from greenlight.operations import rollout as rollouts
from greenlight.operations import stack
from greenlight.operations.rollback import rollback


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.project(tmp_path_factory.mktemp("built") / "project", 3).home


@pytest.fixture
def up(tmp_path: Path, built: Path) -> Iterator[Stack]:
    """v1 live; releases go by a quick plan."""
    made = Stack(kit.project(tmp_path / "project", 3, bentos=built))
    faults.make_quick(made)
    try:
        made.up()
        assert made.release("v1").outcome == "promoted", "the first release of all goes to all traffic at once"
        yield made
    finally:
        made.serving.supervisor.stop()
        assert not processes.marked(made.settings.home)


@pytest.mark.slow
def test_a_healthy_version_takes_every_step_to_all_traffic(up: Stack) -> None:
    with Load(up.settings) as load:
        report = up.release("v2")
        moved = time.time()
        time.sleep(0.5)
    assert load.failures == []
    assert (report.outcome, report.version, report.previous, up.champion()) == ("promoted", "v2", "v1", "v2")
    assert all(version == "v2" for at, version in load.answers if at > moved)
    assert up.models() == {"v1", "v2"}
    assert report.evidence["requests"] >= 200
    assert report.evidence["notes"]["shadow"].endswith(": go")
    assert json.loads((up.settings.home / "serving/shadow/v2.json").read_text())["counts"]["rows"] >= 50
    reasons = [line["reason"] for line in up.serving.desired.history()]
    passed = [reason for reason in reasons if "passed" in reason and "step" in reason]
    assert passed[0].startswith("v2 at step 1 of 5, shadow 100 %"), passed
    assert rollback(up.settings).version == "v1" == up.version(), "and back it goes like any other"


@pytest.mark.slow
@pytest.mark.parametrize("name", faults.FAULTS)
def test_each_version_ends_as_it_should_and_nobody_notices(
    up: Stack, name: str, record_property: Callable[[str, object], None]
) -> None:
    fault = faults.FAULTS[name]
    seen = faults.play(up, fault)
    record_property("seen", str(seen))
    assert seen.failures == []
    assert seen.ends == fault.ends, seen
    stays = "v2" if fault.ends == "promoted" else "v1"
    assert (up.version(), up.champion()) == (stays, stays)
    assert up.models() == ({"v1", "v2"} if fault.ends == "promoted" else {"v1"})
    assert "ended 3 times before it was ready" in seen.said or name != "crashes at start"


@pytest.mark.slow
@pytest.mark.parametrize("victim", faults.VICTIMS)
def test_what_is_killed_during_a_release_is_back_and_the_release_goes_on(
    up: Stack, victim: str, record_property: Callable[[str, object], None]
) -> None:
    """With one Envoy, what arrives while it is away is refused; nothing else that is killed costs a request."""
    seen = faults.kill_during_release(up, victim)
    record_property("seen", str(seen))
    assert seen.ends == "promoted" or (victim == faults.MAY_ROLL_BACK and seen.ends == "rolled_back"), seen
    assert up.version() == up.champion() == ("v2" if seen.ends == "promoted" else "v1")
    if victim == "the supervisor":
        assert seen.more["failed_without_it"] == 0
    elif victim != "the edge":
        assert seen.failures == []


@pytest.mark.slow
def test_a_release_killed_before_and_after_every_save_ends_as_an_undisturbed_one(up: Stack) -> None:
    """From getting ready to the last server that is stopped; each process dies once, at another moment."""
    with Load(up.settings) as load:
        outcome, moments = faults.killed_at_every_save(up.settings, "release", "v2")
        time.sleep(0.5)
    assert load.failures == []
    assert outcome == "promoted"
    assert (up.version(), up.champion(), up.models()) == ("v2", "v2", {"v1", "v2"})
    state = up.serving.desired.load()
    assert (state.live, state.incoming, state.retiring, state.rollout) == ("v2", "", (), None)
    for what in ("starting v2", "v2 is the candidate", "shadow 100 %", "canary 5 %", "canary 100 %", "traffic to v2"):
        assert any(what in moment for moment in moments), moments


@pytest.mark.slow
def test_a_release_that_is_killed_goes_on_and_a_newer_one_waits_or_supersedes(up: Stack) -> None:
    """kill -9 of the driver, then of the edge; status tells; `up` keeps the step; then v3 in the place of v2."""
    with Load(up.settings) as load:
        process = faults.driver(up, "v2")
        assert wait_until(lambda: faults.is_canary(up), 60, 0.05), up.serving.desired.load().last
        process.kill()
        process.communicate()
        shown = stack.status(up.settings).release
        assert shown["candidate"] == "v2"
        assert "canary" in shown["where"]
        queued = up.release("v3")
        assert (queued.outcome, queued.version) == ("waiting", "v1")
        assert "v2 at step" in queued.reason
        up.up()
        assert faults.is_canary(up)
        assert up.models() == {"v1", "v2"}
        assert up.serving.edge.follows(rollouts.steps.traffic(up.serving.desired.load()))
        report = up.release("v2")
    assert load.failures == []
    assert report.outcome == "promoted"
    assert (up.version(), up.champion()) == ("v3", "v3"), up.lines
    state = up.serving.desired.load()
    assert (state.next, state.rollout, state.standby) == (None, None, ("v2",))


@pytest.mark.slow
@pytest.mark.parametrize("end", ["promoted", "rolled_back"])
def test_an_end_that_was_written_and_not_told_to_the_edge_costs_no_request_when_it_is(up: Stack, end: str) -> None:
    """Until the routes follow they name the release's cluster, which must not go before."""
    faults.make_quick(up)
    params = yaml.safe_load(up.settings.params_file.read_text())
    params["release"] |= {"patience_s": 1.0, "canary": {"percent": [99]}}
    up.settings.params_file.write_text(yaml.safe_dump(params))
    assert up.release("v2", strategy="canary").outcome == "waiting"
    serving = up.serving
    state = serving.desired.save(rollouts.steps.proceed(serving.desired.load()), "test")
    serving.follow(state)
    with Load(up.settings, clients=8) as load:
        time.sleep(0.5)
        if end == "promoted":
            after = rollouts.steps.promote(state, keep_warm=1, reason="test", now=time.time())
        else:
            after = rollouts.steps.end(state, end, "test", time.time())
        serving.desired.save(after, "its process died here")
        up.up()
        time.sleep(0.5)
    assert load.failures == []
    assert {version for _, version in load.answers} == {"v1", "v2"}
    assert up.version() == ("v2" if end == "promoted" else "v1")


@pytest.mark.slow
def test_two_releases_at_once_take_turns_and_a_newer_one_supersedes_a_canary_with_users(up: Stack) -> None:
    with Load(up.settings) as load:
        both = [faults.driver(up, "v2"), faults.driver(up, "v2")]
        assert [process.communicate(timeout=300)[0].strip() for process in both] == ["promoted"] * 2
        assert up.version() == up.champion() == "v2"
        assert rollback(up.settings).version == "v1"
        faults.make_quick(up, min_requests=1_000_000)
        older = faults.driver(up, "v2", "canary")
        assert wait_until(lambda: faults.is_canary(up), 120, 0.05)
        newer = up.release("v3", strategy="full", supersede=True)
        assert older.communicate(timeout=120)[0].strip() == "superseded"
        time.sleep(0.5)
    assert load.failures == []
    assert (newer.outcome, up.version(), up.champion()) == ("promoted", "v3", "v3")
    assert up.models() == {"v1", "v3"}


@pytest.mark.slow
def test_a_roll_back_ends_a_release_and_a_newer_version_supersedes_it(up: Stack) -> None:
    params = yaml.safe_load(up.settings.params_file.read_text())
    params["release"] |= {"patience_s": 1.0}
    up.settings.params_file.write_text(yaml.safe_dump(params))
    waits = up.release("v2", strategy="canary")
    assert (waits.outcome, waits.version) == ("waiting", "v1")
    assert "0 of 30 requests to v2" in waits.reason
    assert up.models() == {"v1", "v2"}
    assert up.version() == "v1"
    back = rollback(up.settings)
    assert (back.outcome, back.asked, back.version) == ("aborted", "v2", "v1")
    assert up.models() == {"v1"}
    assert up.release("v2", strategy="canary").outcome == "waiting"
    newer = up.release("v3", strategy="full", supersede=True)
    assert (newer.outcome, newer.version, up.version(), up.champion()) == ("promoted", "v3", "v3", "v3")
    assert up.models() == {"v1", "v3"}
    history = (up.settings.home / "serving" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["last"]["outcome"] for line in history if "superseded" in line][:1] == ["superseded"]
    pid = up.serving.supervisor.state("edge").pid
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: up.serving.edge.is_up() and up.serving.supervisor.state("edge").pid != pid, 30, 0.05)
    up.serving.edge.wait_healthy("v3", 2)
    assert up.version() == "v3"
