"""Prefect for real: one server and one worker on free ports, the repository's prefect.yaml, flows that are tiny."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenlight.adapters import prefect, prefect_runs
from greenlight.adapters.prefect_runs import FinalState, LogLine, Stage, Watcher
from greenlight.config import Settings
from greenlight.errors import NotFound, OrchestratorError, UsageError

ROOT = Path(__file__).resolve().parents[2]
RETRAIN = "retrain/retrain"
FLOWS = {
    "retrain": '''
import os, time
from prefect import flow, task
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed
from flows.release import release

@task(name="stage", task_run_name="{name}")
def stage(name: str, seconds: float) -> None:
    time.sleep(seconds)
    get_run_logger().info("%s: done in %s", name, os.getcwd())

@flow(name="retrain")
def retrain(as_of: str = "next", device: str = ""):
    """Train and judge.

    Args:
        as_of: The month held out.
        device: Where to train.
    """
    stage("train", 3 if as_of == "slow" else 0)
    if as_of == "bad":
        return Failed(name="DataRejected", message="2013-08-0a1b2c: 2 of 20 failed")
    release("v1")
    return Completed(name="Promoted", message="2013-08-0a1b2c is v1 and live")
''',
    "release": '''
from prefect import flow, task
from prefect.logging import get_run_logger

@task(name="preflight")
def preflight() -> None:
    get_run_logger().info("preflight passed")

@flow(name="release")
def release(version: str):
    """Bring a version to traffic."""
    preflight()
''',
    "rollback": '''
from prefect import flow

@flow(name="rollback")
def rollback(to: str = "", to_run: str = ""):
    """Back."""
''',
    "replay": '''
from prefect import flow

@flow(name="replay")
def replay(first: str = "", last: str = ""):
    """Policies over history."""
''',
    "step_in": '''
from prefect import flow

@flow(name="step-in")
def step_in(action: str):
    """A word of a person."""
''',
    "compact": '''
from prefect import flow

@flow(name="compact")
def compact():
    """Fewer files."""
''',
    "reproduce": '''
from prefect import flow

@flow(name="reproduce")
def reproduce(run: str):
    """Again."""
''',
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def repository(folder: Path) -> Path:
    """A folder with the real prefect.yaml and tiny flows of the same names."""
    (folder / "flows").mkdir(parents=True)
    (folder / "flows" / "__init__.py").touch()
    for name, body in FLOWS.items():
        (folder / "flows" / f"{name}.py").write_text(body)
    for name in ("params.yaml", "dvc.yaml", "prefect.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


def started(settings: Settings, log: Path, *command: str) -> subprocess.Popen[bytes]:
    import os

    env = {**os.environ, **prefect.environment(settings)}
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", *command],
            cwd=settings.root,
            env=env,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )


def stopped(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def waited(holds: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < until, f"did not come true within {seconds} s"
        time.sleep(0.2)
    return value


@pytest.fixture(scope="module")
def settings(isolate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A server with nothing registered, on a port that is not Prefect's own."""
    folder = tmp_path_factory.mktemp("prefect")
    settings = Settings(root=repository(folder / "repo"), home=folder / "home", prefect_port=free_port())
    server = started(settings, folder / "server.log", "server", "start")
    try:
        until = time.monotonic() + 120
        while not prefect.is_healthy(settings):
            assert server.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < until, (folder / "server.log").read_text()
            time.sleep(0.2)
        yield settings
    finally:
        stopped(server)


@pytest.fixture(scope="module")
def registered(settings: Settings) -> list[str]:
    return prefect.register_deployments(settings)


@pytest.fixture(scope="module")
def worker(settings: Settings, registered: list[str]) -> Iterator[None]:
    process = started(
        settings, settings.home / "worker.log", "worker", "start", "--pool", prefect.POOL, "--type", "process"
    )
    yield
    stopped(process)


class Seen:
    """Everything that a run told its watcher."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.stages: list[Stage] = []
        self.states: list[str] = []
        self.watcher = Watcher(self.lines.append, self.stages.append, self.states.append)


def finished(settings: Settings, **parameters: str) -> tuple[FinalState, Seen]:
    seen = Seen()
    flow_run = prefect_runs.start_run(settings, RETRAIN, parameters, tags=["cli"])
    return prefect_runs.follow(settings, flow_run, seen.watcher), seen


def deployment(settings: Settings, name: str = RETRAIN) -> dict[str, Any]:
    found: dict[str, Any] = prefect.request(settings, "GET", f"/deployments/name/{name}")
    return found


def test_a_flow_sees_the_settings_of_the_command_that_started_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that were left out stay left out: a flow once looked for a key in a file called None."""
    for wanted in ({}, {"workers": 3, "signing_key": tmp_path / "key.pem", "start_timeout_s": 7.5}):
        settings = Settings(root=tmp_path, home=tmp_path / "home", **wanted)
        with monkeypatch.context() as patch:
            for name, value in prefect.environment(settings).items():
                if name.startswith("GREENLIGHT_"):
                    patch.setenv(name, value)
            assert Settings.load() == settings


def test_nothing_phones_home_and_no_variable_depends_on_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(root=tmp_path, home=tmp_path / "home", prefect_port=4299)
    before = prefect.environment(settings)
    monkeypatch.setenv("PATH", f"/somewhere/else:{tmp_path}")
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    assert prefect.environment(settings) == before
    assert before["DO_NOT_TRACK"] == "1"
    assert before["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert before["PREFECT_SERVER_UI_V2_ENABLED"] == "false"
    assert before["PREFECT_API_URL"] == "http://127.0.0.1:4299/api"
    assert (tmp_path / "home" / "prefect").is_dir()


def test_a_proxy_is_kept_away_from_the_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "storage.example")
    env = prefect.environment(Settings(root=tmp_path, home=tmp_path / "home"))
    assert env["NO_PROXY"].split(",") == ["storage.example", "127.0.0.1", "localhost"]


def test_prefect_yaml_holds_no_path_of_a_machine() -> None:
    text = (ROOT / "prefect.yaml").read_text()
    assert str(ROOT) not in text
    (step,) = yaml.safe_load(text)["pull"]
    assert step["prefect.deployments.steps.set_working_directory"]["directory"] == "{{ $GREENLIGHT_ROOT }}"


def test_a_server_that_is_not_there_is_not_healthy(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, home=tmp_path, prefect_port=free_port())
    assert not prefect.is_healthy(settings)
    with pytest.raises(OrchestratorError, match="no answer") as caught:
        prefect.register_deployments(settings, patience_s=0)
    assert caught.value.retryable
    assert "greenlight up" in caught.value.todo


def test_following_gives_up_after_its_patience_and_says_where_to_look(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, home=tmp_path, prefect_port=free_port())
    begun = time.monotonic()
    with pytest.raises(OrchestratorError, match="lost sight") as caught:
        prefect_runs.follow(settings, "some-id", Watcher(), patience_s=1)
    assert 1 <= time.monotonic() - begun < 10
    assert caught.value.where == prefect_runs.run_page(settings, "some-id")


def test_the_pages_call_the_host_and_port_they_were_loaded_from(settings: Settings) -> None:
    import httpx

    answer = httpx.get(f"{prefect.ui_url(settings)}/ui-settings", trust_env=False).json()
    assert answer["api_url"] == "/api"
    assert answer["default_ui"] == "v1"
    server = prefect.request(settings, "GET", "/admin/settings")["server"]
    assert server["analytics_enabled"] is False
    assert server["ui"]["show_promotional_content"] is False


def test_every_deployment_of_prefect_yaml_is_registered(settings: Settings, registered: list[str]) -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert registered == sorted(f"{item['name']}/{item['name']}" for item in declared)
    for name in registered:
        found = deployment(settings, name)
        assert found["work_pool_name"] == prefect.POOL
        assert found["global_concurrency_limit"]["limit"] == 1
        assert found["concurrency_options"]["collision_strategy"] == "ENQUEUE"


def test_retrain_has_a_monthly_schedule_and_a_form_with_descriptions(settings: Settings, registered: list[str]) -> None:
    found = deployment(settings)
    (schedule,) = found["schedules"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == "0 2 1 * *"
    properties = found["parameter_openapi_schema"]["properties"]
    assert properties["as_of"]["default"] == "next"
    assert {name: value["description"] for name, value in properties.items()} == {
        "as_of": "The month held out.",
        "device": "Where to train.",
    }


def test_the_schedule_makes_the_coming_runs(settings: Settings, registered: list[str]) -> None:
    body = {"deployments": {"name": {"any_": ["retrain"]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    coming = waited(lambda: prefect.request(settings, "POST", "/flow_runs/filter", body), 90)
    assert all(run["expected_start_time"][8:16] == "01T02:00" for run in coming)


def test_registering_again_leaves_alone_what_somebody_changed_in_the_ui(
    settings: Settings, registered: list[str]
) -> None:
    before = deployment(settings)
    (schedule,) = before["schedules"]
    path = f"/deployments/{before['id']}/schedules/{schedule['id']}"
    prefect.request(settings, "PATCH", path, {"active": False})
    # Written after every registration, and after nothing else.
    note = settings.home / "prefect" / "deployed"
    written = note.stat().st_mtime_ns
    assert prefect.register_deployments(settings) == registered
    assert note.stat().st_mtime_ns == written
    assert not deployment(settings)["schedules"][0]["active"]
    prefect.request(settings, "PATCH", path, {"active": True})


def test_a_changed_flow_is_registered_anew(settings: Settings, registered: list[str]) -> None:
    flow = settings.root / "flows" / "rollback.py"
    flow.write_text(flow.read_text().replace("Back.", "Back again."))
    assert prefect.register_deployments(settings) == registered
    assert deployment(settings, "rollback/rollback")["description"] == "Back again."


def test_a_flow_that_cannot_be_read_is_named(settings: Settings, tmp_path: Path) -> None:
    root = repository(tmp_path / "broken")
    declared = yaml.safe_load((root / "prefect.yaml").read_text())
    broken_one = declared["deployments"][0] | {"name": "broken", "entrypoint": "flows/gone.py:retrain"}
    (root / "prefect.yaml").write_text(yaml.safe_dump(declared | {"deployments": [broken_one]}))
    broken = settings.model_copy(update={"root": root, "home": tmp_path / "home"})
    with pytest.raises(OrchestratorError, match=r"gone\.py") as caught:
        prefect.register_deployments(broken)
    assert caught.value.where == str(root / "prefect.yaml")


def test_an_unknown_deployment_and_a_wrong_parameter_are_refused(settings: Settings, registered: list[str]) -> None:
    with pytest.raises(NotFound, match="retrain/other"):
        prefect_runs.start_run(settings, "retrain/other", {})
    with pytest.raises(UsageError, match=r"as_of|5 is not of type"):
        prefect_runs.start_run(settings, RETRAIN, {"as_of": 5})


def test_a_run_tells_its_lines_stages_and_end_its_subflows_too(settings: Settings, worker: None) -> None:
    final, seen = finished(settings, as_of="2013-08")
    assert final == FinalState("Promoted", "COMPLETED", "2013-08-0a1b2c is v1 and live")
    told = {line.message: line.stage for line in seen.lines}
    assert told.get(f"train: done in {settings.root}") == "train", told
    assert told["preflight passed"] == "preflight"
    ended = {stage.name for stage in seen.stages if stage.state == "COMPLETED"}
    assert {"train", "preflight"} <= ended
    assert seen.states[-1] == "Promoted"
    assert prefect_runs.unfinished(settings, RETRAIN) == []


def test_a_line_that_comes_before_its_tasks_name_waits_for_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server learns the name of a task with the state after `Running`; until then it says `stage-0f3`."""
    looks = iter([("stage-0f3", "RUNNING"), ("train", "COMPLETED")])

    def answer(_: Settings, __: str, path: str, ___: Any = None) -> Any:
        if path.startswith("/task_runs"):
            name, state = next(looks)
            return [{"id": "t", "name": name, "state_type": state, "state": None, "total_run_time": 1.0}]
        if path.startswith("/logs"):
            line = {"timestamp": "2026-01-01T00:00:00Z", "level": 20, "name": "x", "message": "done"}
            return [line | {"id": "l", "task_run_id": "t", "flow_run_id": "f"}]
        return {"state_name": "Running", "state_type": "RUNNING", "state": {}}

    monkeypatch.setattr(prefect_runs, "request", answer)
    lines: list[prefect_runs.LogLine] = []
    watch = prefect_runs._Watch(settings, "f", prefect_runs.Watcher(on_log=lines.append))
    watch.look()
    watch.look()
    assert [line.stage for line in lines] == ["train"]


def test_a_rejection_is_an_end_with_its_own_name(settings: Settings, worker: None) -> None:
    final, _ = finished(settings, as_of="bad")
    assert (final.name, final.type) == ("DataRejected", "FAILED")
    assert final.message.endswith("2 of 20 failed")


@pytest.mark.slow
def test_a_second_retrain_waits_for_the_first(settings: Settings, worker: None) -> None:
    first = prefect_runs.start_run(settings, RETRAIN, {"as_of": "slow"})
    waited(lambda: prefect.request(settings, "GET", f"/flow_runs/{first}")["state_type"] == "RUNNING")
    assert prefect_runs.unfinished(settings, RETRAIN) == [first]
    _, seen = finished(settings, as_of="2013-08")
    ends = [prefect.request(settings, "GET", f"/flow_runs/{first}")["end_time"]]
    assert "AwaitingConcurrencySlot" in seen.states
    assert ends[0] is not None
    assert min(line.time for line in seen.lines if line.stage == "train") > ends[0]


def test_a_run_whose_process_is_gone_is_ended_and_one_that_lives_is_not(
    settings: Settings, registered: list[str]
) -> None:
    """Without it a reboot in the middle of a retrain would leave it `Running`, and block the next, for ever."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lives = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "prefect"])
    try:
        found = deployment(settings, "rollback/rollback")
        ids = []
        for pid in (gone.pid, lives.pid):
            # Later than any worker looks, so that none takes it.
            state = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}}
            path, body = f"/deployments/{found['id']}/create_flow_run", {"state": state, "idempotency_key": str(pid)}
            run = prefect.request_patiently(settings, "POST", path, body)
            path = f"/flow_runs/{run['id']}"
            prefect.request_patiently(settings, "PATCH", path, {"infrastructure_pid": str(pid)})
            forced = {"state": {"type": "RUNNING"}, "force": True}
            prefect.request_patiently(settings, "POST", f"{path}/set_state", forced)
            ids.append(run["id"])
        assert len(prefect_runs.bury_dead_runs(settings)) == 1
        types = [prefect.request(settings, "GET", f"/flow_runs/{i}")["state_type"] for i in ids]
        assert types == ["CRASHED", "RUNNING"]
    finally:
        lives.kill()
        lives.wait()
    assert len(prefect_runs.bury_dead_runs(settings)) == 1


@contextmanager
def busy(settings: Settings, times: int = 1) -> Iterator[Settings]:
    """The server behind a proxy that spoils the first answers to every call: one 503, and one that gets lost."""
    import httpx

    seen: dict[str, int] = {}

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            call = f"{self.command} {self.path}"
            seen[call] = seen.get(call, 0) + 1
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if seen[call] <= times:
                self.answer(503, b'{"exception_message": "database is locked"}')
                return
            url = prefect.ui_url(settings) + self.path
            answer = httpx.request(
                self.command, url, content=body, headers={"content-type": "application/json"}, trust_env=False
            )
            if seen[call] > times + 1:
                self.answer(answer.status_code, answer.content)

        do_POST = do_GET

        def answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield settings.model_copy(update={"prefect_port": server.server_port})
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_is_busy_for_a_moment_starts_the_run_once(settings: Settings, registered: list[str]) -> None:
    body = {"deployments": {"name": {"any_": ["reproduce"]}}}
    before = prefect.request(settings, "POST", "/flow_runs/count", body)
    with busy(settings) as through:
        assert prefect.register_deployments(through) == registered
        run = prefect_runs.start_run(through, "reproduce/reproduce", {"run": "v1"})
        assert prefect_runs.unfinished(through, "reproduce/reproduce") == [run]
    assert prefect.request(settings, "POST", "/flow_runs/count", body) == before + 1
    prefect.request(settings, "POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLED"}, "force": True})


def test_a_server_that_stays_busy_is_not_said_to_be_down(settings: Settings) -> None:
    with busy(settings, times=1000) as through, pytest.raises(OrchestratorError, match="database is locked") as caught:
        prefect.register_deployments(through, patience_s=1)
    assert "503" in caught.value.what
    assert "greenlight up" not in caught.value.todo
    assert "prefect-server.log" in caught.value.todo
