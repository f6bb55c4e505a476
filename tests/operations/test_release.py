"""Release and roll back, with the real edge, supervisor and bentos; Prefect is not needed for it and left out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
import serving_kit as kit
from stack_kit import Load, Stack

from greenlight.adapters import bento, processes
from greenlight.adapters.model_servers import wait_ready
from greenlight.adapters.waiting import wait_until
from greenlight.config import Params, Settings
from greenlight.core import release as moves
from greenlight.errors import EdgeError, NotFound, PreflightFailed, ServerError, UsageError
from greenlight.operations import stack
from greenlight.operations.preflight import preflight
from greenlight.operations.release import release
from greenlight.operations.rollback import rollback
from greenlight.operations.serving import Serving
from greenlight.wiring import open_project


@contextmanager
def broken_params(settings: Settings) -> Iterator[None]:
    """A mistake in params.yaml while it lasts."""
    text = settings.params_file.read_text()
    settings.params_file.write_text(text + "surprise: 1\n")
    yield
    settings.params_file.write_text(text)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the bentos v1 to v3."""
    return kit.project(tmp_path_factory.mktemp("built") / "project", 3).home


@pytest.fixture
def up(tmp_path: Path, built: Path) -> Iterator[Stack]:
    made = Stack(kit.project(tmp_path / "project", 3, bentos=built))
    try:
        made.up()
        yield made
    finally:
        made.serving.supervisor.stop()
        assert not processes.marked(made.settings.home)


def test_from_nothing_to_two_versions_and_back_without_a_failed_request(up: Stack) -> None:
    """The whole life: nothing live, first release, next release and rollback under load, idempotence, no leftovers."""
    status, _, body = up.ask()
    assert status == 503
    assert json.loads(body)["error"] == "no version is live yet"
    with pytest.raises(NotFound, match="nothing has served yet"):
        rollback(up.settings)
    first = up.release("v1")
    assert (first.version, first.previous, up.version(), up.champion()) == ("v1", "", "v1", "v1")
    assert first.preflight["passed"]
    assert up.models() == {"v1"}
    assert up.rows_counted() == 1
    for _ in range(9):
        up.ask()
    assert {up.rows_counted() for _ in range(6)} == {10}, "whichever process is asked answers for both"
    with Load(up.settings) as load:
        time.sleep(0.3)
        second = up.release("v2")
        moved = time.time()
        time.sleep(0.3)
    assert load.failures == []
    assert (second.previous, up.champion()) == ("v1", "v2")
    assert {version for _, version in load.answers} == {"v1", "v2"}
    assert all(version == "v2" for at, version in load.answers if at > moved)
    assert up.models() == {"v2", "v1"}, "the version before is kept warm"

    again = up.release("v2")
    assert again.already_live
    assert len(open_project(up.settings).registry.history()) == 2
    with Load(up.settings) as load:
        back = rollback(up.settings)
        time.sleep(0.3)
    assert load.failures == []
    assert (back.version, up.version(), up.champion()) == ("v1", "v1", "v1")
    switched = [line for line in up.serving.desired.history() if line["reason"] == "traffic to v1"][-1]["at"]
    late = [at for at, version in load.answers if version == "v2"]
    assert max(late) - datetime.fromisoformat(switched).timestamp() < 1, "traffic moved within a second"
    assert "start" not in back.seconds, "it was on standby"
    asked = [(check["name"], check["passed"]) for check in back.preflight["checks"]]
    assert asked == [("servers_asked", True), ("golden_rows_wrong", True), ("signature", True)]
    with pytest.raises(NotFound, match="nothing served before v1"):
        rollback(up.settings)
    assert up.version() == "v1", "a second roll back does not go forwards again"
    assert rollback(up.settings, to="v1").already_live
    assert rollback(up.settings, to_run="run-v3").version == "v3" == up.version()
    assert up.models() == {"v3", "v1"}, "one is kept warm, the one before it has stopped"
    with broken_params(up.settings):
        assert rollback(up.settings).version == "v1" == up.version()
    with pytest.raises(UsageError, match="both given"):
        rollback(up.settings, to="v1", to_run="run-v1")
    with pytest.raises(NotFound, match="v9"):
        rollback(up.settings, to="v9")
    with pytest.raises(NotFound, match="run-x"):
        rollback(up.settings, to_run="run-x")
    status = stack.status(up.settings)
    assert status.live["version"] == "v1"
    assert status.live["processes"] == 2
    assert status.live["run"] == "run-v1"
    assert [entry["version"] for entry in status.history] == ["v1", "v2", "v1", "v3", "v1"]


def test_bento_that_answers_otherwise_than_its_model_never_serves(up: Stack) -> None:
    """One golden probability off by the last bit, then code that does not start: the champion keeps serving."""
    up.release("v1")
    files = kit.small_model(4)
    document = json.loads(files["golden.json"])
    document["rows"][3]["probability"] += 2**-24
    files["golden.json"] = json.dumps(document).encode()
    kit.register(open_project(up.settings), files, "run-v4", up.settings.root.parent / "wrong")
    with Load(up.settings) as load:
        with pytest.raises(PreflightFailed, match=r"golden_rows_wrong is 1, allowed 0: row 3"):
            up.release("v4")
        broken = bento.path_of("flight_delay", "v3", up.settings.home) / "src/bentos/classifier/service.py"
        broken.write_text("raise RuntimeError('spilled coffee')\n")
        with pytest.raises(PreflightFailed, match="spilled coffee"):
            up.release("v3")
    assert load.failures == []
    assert {version for _, version in load.answers} == {"v1"}
    assert up.champion() == "v1"
    assert up.models() == {"v1"}
    assert up.serving.desired.load().incoming == ""
    report = json.loads((up.settings.home / "serving/preflight/v4.json").read_text())
    assert not report["passed"]


def test_an_altered_or_unsigned_version_never_serves(up: Stack) -> None:
    """By release or by roll back, warm or not: it is refused with what to do, and the champion keeps serving."""
    up.release("v2")
    up.release("v1")
    assert up.models() == {"v1", "v2"}, "v2 is on standby, with the files as they were signed"
    altered = bento.path_of("flight_delay", "v2", up.settings.home) / "src/data/model/golden.json"
    altered.write_bytes(b"{")
    project = open_project(up.settings)
    commit = project.registry.get("v3").commit
    project.repository.run("tag", "-f", "-a", "-m", "run run-v3", "flight_delay@v3.0.0", commit)
    with Load(up.settings) as load:
        for move in (up.release, lambda version: rollback(up.settings, to=version)):
            with pytest.raises(
                PreflightFailed, match=r"(?s)altered .*: model/golden\.json differs.*greenlight verify v2"
            ):
                move("v2")
        with pytest.raises(PreflightFailed, match=r"(?s)it is not signed.*greenlight verify v3"):
            up.release("v3")
    assert load.failures == []
    assert {version for _, version in load.answers} == {"v1"}
    assert (up.champion(), up.models()) == ("v1", {"v1"})


def test_a_live_server_whose_files_were_altered_does_not_come_back_hot(up: Stack) -> None:
    up.release("v1")
    altered = bento.path_of("flight_delay", "v1", up.settings.home) / "src/data/model/golden.json"
    before = altered.read_bytes()
    altered.write_bytes(before + b" ")
    name = up.serving.servers.names("v1")[0]
    os.kill(up.serving.supervisor.state(name).pid, signal.SIGKILL)
    log = up.serving.supervisor.log_of(name)
    assert wait_until(lambda: "refused to serve v1" in log.read_text(), 30, 0.1)
    time.sleep(5)
    assert log.read_text().count("refused to serve v1") == 1
    assert up.version() == "v1", "the other process answers"
    altered.write_bytes(before)
    os.kill(up.serving.supervisor.state(name).pid, signal.SIGTERM)
    assert wait_ready(up.serving.servers.sockets("v1")[0], 30), "mended, it serves again"


def test_a_bento_from_before_signing_is_built_again_with_the_versions_signature(up: Stack) -> None:
    folder = bento.path_of("flight_delay", "v1", up.settings.home)
    (folder / "src/data/signature.json").unlink()
    assert up.release("v1").preflight["passed"]
    assert bento.signature(folder)


def test_servers_that_never_get_ready_are_taken_back(up: Stack) -> None:
    up.release("v1")
    settings = up.settings.model_copy(update={"start_timeout_s": 0.05})
    with pytest.raises(ServerError, match=r"not ready after 0\.05 s"):
        release(settings, "v2")
    assert up.version() == "v1"
    assert up.models() == {"v1"}
    assert up.serving.desired.load().incoming == ""
    assert up.release("v2").version == "v2" == up.version()


def test_a_version_takes_the_traffic_only_from_the_one_that_it_was_compared_with(up: Stack) -> None:
    """Somebody rolled back, or released, between the verdict and the switch."""
    up.release("v1")
    with pytest.raises(UsageError, match="v1 serves by now, and v3 was compared with v2"):
        release(up.settings, "v3", instead_of="v2")
    assert (up.version(), up.champion(), up.models()) == ("v1", "v1", {"v1"})
    assert release(up.settings, "v1", instead_of="v2").already_live
    assert release(up.settings, "v2", instead_of="v1").version == "v2" == up.version()


@pytest.mark.slow
def test_a_release_killed_at_any_moment_is_finished_or_given_up_by_the_next(up: Stack) -> None:
    """kill -9 at growing delays, always under load: no request fails, and repeating ends at the wanted version."""
    up.release("v1")
    code = (
        "import sys; from greenlight.config import Settings; from greenlight.operations.release import release\n"
        f"release(Settings(root={str(up.settings.root)!r}, edge_port={up.settings.edge_port}, workers=2), sys.argv[1])"
    )
    target, before = "v2", "v1"
    with Load(up.settings) as load:
        for delay in (0.8, 2.2, 3.2):
            with subprocess.Popen(
                [sys.executable, "-c", code, target], cwd=kit.ROOT, stderr=subprocess.PIPE
            ) as process:
                time.sleep(delay)
                process.kill()
            assert up.version() in (target, before)
            up.release(target)
            assert up.version() == target == up.champion()
            assert up.models() == {target, before}
            target, before = before, target
    assert load.failures == []


@pytest.mark.parametrize("point", ["begun", "switched"])
def test_state_of_a_crash_is_healed_by_up(up: Stack, point: str) -> None:
    """Between the written intention and its effect there is always a moment; `up` finds it."""
    up.release("v1")
    serving = up.serving
    serving.desired.save(moves.begin(serving.desired.load(), "v2"), "starting v2")
    serving.start("v2", bento.path_of("flight_delay", "v2", up.settings.home))
    if point == "switched":
        serving.desired.save(moves.switch(serving.desired.load()), "traffic to v2")
    up.up()
    expected = "v2" if point == "switched" else "v1"
    assert up.version() == expected == up.champion()
    assert serving.desired.load().live == expected
    assert up.models() == set(serving.desired.load().running)
    assert up.models() == ({"v2"} if point == "switched" else {"v1"})


def test_killed_model_server_costs_no_request_and_comes_back(up: Stack) -> None:
    up.release("v1")
    serving = up.serving
    with Load(up.settings) as load:
        for name, socket in zip(serving.servers.names("v1"), serving.servers.sockets("v1"), strict=True):
            pid = serving.supervisor.state(name).pid
            os.kill(pid, signal.SIGKILL)
            assert wait_until(lambda: serving.supervisor.state(name).pid not in (0, pid), 30, 0.05)  # noqa: B023
            assert wait_ready(socket, 30)
            time.sleep(2.5)  # two health checks: until then the edge may still take the dead one for well
            serving.edge.wait_healthy("v1", 2, 30)
    assert load.failures == []
    assert len(load.answers) > 100


@pytest.mark.slow
def test_other_settings_of_the_servers_cost_no_request(up: Stack) -> None:
    """They are replaced one after the other, by `up` and by a release by steps alike."""
    up.release("v1")
    before = {name: up.serving.supervisor.state(name).pid for name in up.serving.servers.names("v1")}
    again = Stack(up.settings.model_copy(update={"response_cache_rows": 100}))
    with Load(up.settings) as load:
        again.up()
        time.sleep(3)
    assert load.failures == []
    assert len(load.answers) > 100
    assert not set(before.values()) & {again.serving.supervisor.state(name).pid for name in before}


@pytest.mark.slow
def test_standby_that_hangs_or_answers_otherwise_is_started_anew(up: Stack) -> None:
    """A roll back to servers that are not what they were must not trust them, and must not fail on them either."""
    up.release("v1")
    up.release("v2")
    serving = up.serving
    hangs = serving.supervisor.state(serving.servers.names("v1")[0]).pid
    assert hangs
    os.kill(hangs, signal.SIGSTOP)
    with Load(up.settings) as load:
        back = rollback(up.settings)
        assert (back.version, up.version(), up.models()) == ("v1", "v1", {"v1", "v2"})
        assert "start" in back.seconds
        golden = bento.path_of("flight_delay", "v2", up.settings.home) / "src/data/model/golden.json"
        document = json.loads(golden.read_text())
        document["rows"][0]["probability"] += 2**-24
        golden.write_text(json.dumps(document))
        with pytest.raises(PreflightFailed, match=r"model/golden\.json differs"):
            up.release("v2")
    assert load.failures == []
    assert (up.version(), up.champion(), up.models()) == ("v1", "v1", {"v1"})
    assert up.serving.desired.load().running == ("v1",)


@pytest.mark.slow
def test_everything_on_standby_is_restored_by_up_but_never_in_the_way_of_it(up: Stack) -> None:
    up.release("v1")
    up.release("v2")
    up.serving.supervisor.stop()
    assert up.models() == set()
    up.up()
    assert up.models() == {"v1", "v2"}
    up.serving.supervisor.stop()
    broken = bento.path_of("flight_delay", "v1", up.settings.home) / "src/bentos/classifier/service.py"
    broken.write_text("raise RuntimeError('spilled coffee')\n")
    settings = up.settings.model_copy(update={"start_timeout_s": 12})
    again = Stack(settings)
    again.up()
    assert again.version() == "v2"
    assert again.models() == {"v2"}
    assert any("v1 is no longer on standby" in line for line in again.lines)
    assert again.serving.desired.load().running == ("v2",)


def test_killed_edge_comes_back_with_the_live_version(up: Stack) -> None:
    up.release("v1")
    pid = up.serving.supervisor.state("edge").pid
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: up.serving.edge.is_up() and up.serving.supervisor.state("edge").pid != pid, 30, 0.05)
    up.serving.edge.wait_healthy("v1", 2)
    assert up.version() == "v1"


def test_everything_killed_is_restored_by_up(up: Stack) -> None:
    """kill -9 of the supervisor leaves its children: they neither block `up` nor stay."""
    up.release("v1")
    supervisor = up.serving.supervisor
    old = {s.pid for s in supervisor.states()}
    os.kill(int(supervisor.pid_file.read_text()), signal.SIGKILL)
    assert up.version() == "v1", "what runs goes on answering without its supervisor"
    edge = next(p for p in processes.marked(up.settings.home) if p.name() == "envoy")
    found = stack.status(up.settings)
    assert "the supervisor is gone; what it left still answers" in found.note
    assert f"envoy (pid {edge.pid})" in found.note
    assert "greenlight up" in found.to_json()["note"]
    assert not found.up
    assert found.live["version"] == "v1"
    up.up()
    assert up.version() == "v1"
    assert up.models() == {"v1"}
    assert not any(processes.is_alive(pid) for pid in old)
    assert stack.status(up.settings).note == ""


def test_settings_that_cannot_work_take_nothing_down(up: Stack) -> None:
    """An address of another machine, one that Envoy refuses, a stranger's port: named, and the edge goes on."""
    before = {state.name: state.pid for state in up.serving.supervisor.states()}
    with pytest.raises(ServerError, match=r"edge cannot listen there.*203\.0\.113\.7.*GREENLIGHT_HOST"):
        stack.up(up.settings.model_copy(update={"host": "203.0.113.7", "start_timeout_s": 2}))
    named = up.settings.model_copy(update={"host": "nowhere.example", "start_timeout_s": 2})
    with pytest.raises(EdgeError, match=r"refuses.*nowhere\.example"):
        Serving(open_project(named)).edge_up()
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.2", up.settings.edge_port))
        stranger.listen()
        wide = up.settings.model_copy(update={"host": "0.0.0.0", "start_timeout_s": 2})
        with pytest.raises(
            ServerError, match=f"port {up.settings.edge_port} of edge is taken by process {os.getpid()}"
        ):
            stack.up(wide)
    assert up.ask()[0] == 503
    assert {state.name: state.pid for state in up.serving.supervisor.states()} == before
    assert not up.serving.edge.listens_elsewhere()


def test_release_on_a_stack_that_is_down_says_what_to_do(tmp_path: Path, built: Path) -> None:
    settings = kit.project(tmp_path / "project", 1, bentos=built)
    with pytest.raises(ServerError, match="greenlight up"):
        release(settings, "v1")
    assert not stack.status(settings).up


@pytest.mark.parametrize("which", ["edge_port", "prefect_port"])
def test_port_of_somebody_else_is_named_with_its_holder(tmp_path: Path, built: Path, which: str) -> None:
    settings = kit.project(tmp_path / "project", 1, bentos=built)
    code = f"import socket, time; s = socket.socket(); s.bind(('127.0.0.1', {getattr(settings, which)})); s.listen(); print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        port = getattr(settings, which)
        with pytest.raises(ServerError) as caught:
            stack.up(settings)
        assert f"port {port}" in str(caught.value)
        assert str(holder.pid) in str(caught.value)
        assert f"GREENLIGHT_{which.upper()}" in str(caught.value)
        assert not Serving(open_project(settings)).supervisor.is_up()
        assert processes.is_alive(holder.pid)
        holder.kill()


def test_preflight_names_every_budget_that_is_broken(built: Path) -> None:
    params = Params.load(kit.ROOT / "params.yaml").preflight
    settings = Settings(root=built.parent, home=built)
    folder = bento.path_of("flight_delay", "v1", built)
    tight = params.model_copy(update={"max_memory_mb": 1.0, "max_p99_ms": 1e-6, "max_start_s": 0.001})
    report = preflight(settings, folder, tight)
    assert not report.passed
    assert {c.name for c in report.checks if not c.passed} == {"start_s", "p99_ms", "memory_mb"}
    assert "memory_mb is" in report.summary()
    assert "allowed 1.0" in report.summary()
    assert report.to_json()["checks"][1] == {
        "name": "golden_rows_wrong", "value": 0, "limit": 0, "passed": True, "detail": ""
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "check"),
    [
        ("predict.py", "strict=True", "strict=False", "wrong_requests_not_refused"),
        ("scorer.py", "self.unseen.get(name, 0) + count", "0", "unseen_categories_missed"),
        ("predict.py", '"probability": p', '"probability": p + 1e-9', "golden_rows_wrong"),
        (
            "problems.py",
            '"field": ".".join(str(n) for n in names) or "body"',
            '"field": "x"',
            "wrong_requests_not_refused",
        ),
    ],
)
def test_preflight_catches_a_service_that_was_broken(
    built: Path, tmp_path: Path, file: str, old: str, new: str, check: str
) -> None:
    folder = shutil.copytree(bento.path_of("flight_delay", "v1", built), tmp_path / "bento")
    code = folder / "src/bentos/classifier" / file
    assert old in code.read_text()
    code.write_text(code.read_text().replace(old, new))
    params = Params.load(kit.ROOT / "params.yaml").preflight
    report = preflight(Settings(root=built.parent, home=built), folder, params)
    assert check in {c.name for c in report.checks if not c.passed}, report.to_json()
