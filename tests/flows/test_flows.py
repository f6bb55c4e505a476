"""The flows against a real Prefect server: how they end, what they leave in the UI, what is tried again."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import retrain_kit as kit
import serving_kit
from retrain_kit import Recorded

from greenlight.adapters import prefect
from greenlight.config import Settings
from greenlight.operations import stack
from greenlight.operations.runs import get_run, list_runs
from greenlight.operations.serving import Serving
from greenlight.wiring import open_project

DRIVER = """
import importlib, json, sys
name, arguments = sys.argv[1], json.loads(sys.argv[2])
flow = getattr(importlib.import_module(f"flows.{name}"), name)
state = flow(**arguments, return_state=True)
said = {"name": state.name, "type": state.type.value, "message": state.message}
print("END", json.dumps(said | {"id": str(state.state_details.flow_run_id)}))
"""


@dataclass(frozen=True)
class Ended:
    """How a flow run ended, and what the server knows of it."""

    settings: Settings
    said: dict[str, str]
    output: str

    @property
    def state(self) -> tuple[str, str]:
        return self.said["name"], self.said["type"]

    @property
    def message(self) -> str:
        return self.said["message"]

    def ask(self, what: str) -> list[dict[str, Any]]:
        body = {"flow_runs": {"id": {"any_": [self.said["id"]]}}}
        found: list[dict[str, Any]] = prefect.request(self.settings, "POST", f"/{what}/filter", body)
        return found

    def artifacts(self) -> dict[str, str]:
        return {artifact["key"]: artifact["data"] for artifact in self.ask("artifacts")}

    def tries(self) -> dict[str, int]:
        return {task["name"].rsplit("-", 1)[0]: task["run_count"] for task in self.ask("task_runs")}

    def lines(self) -> list[dict[str, Any]]:
        body = {"logs": {"flow_run_id": {"any_": [self.said["id"]]}}}
        found: list[dict[str, Any]] = prefect.request(self.settings, "POST", "/logs/filter", body)
        return found

    def logs(self) -> str:
        return "\n".join(line["message"] for line in self.lines())


@dataclass(frozen=True)
class Server:
    """A Prefect server; every checkout is asked through it."""

    port: int
    edge_port: int = field(default_factory=serving_kit.free_port)

    def settings(self, root: Path) -> Settings:
        return Settings(root=root, prefect_port=self.port, edge_port=self.edge_port, workers=1)

    def start(self, root: Path, flow: str, **arguments: Any) -> subprocess.Popen[str]:
        settings = self.settings(root)
        env = os.environ | prefect.environment(settings) | {"PYTHONPATH": str(root)}
        command = [sys.executable, "-c", DRIVER, flow, json.dumps(arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=root, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def ended(self, root: Path, process: subprocess.Popen[str]) -> Ended:
        output = process.communicate(timeout=300)[0]
        ends = [line for line in output.splitlines() if line.startswith("END ")]
        assert len(ends) == 1, output
        return Ended(self.settings(root), json.loads(ends[0][4:]), output)

    def run(self, root: Path, flow: str, **arguments: Any) -> Ended:
        return self.ended(root, self.start(root, flow, **arguments))


@pytest.fixture(scope="module")
def server(isolate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    server = Server(serving_kit.free_port())
    settings = server.settings(folder)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start"],
            cwd=folder,
            env=os.environ | prefect.environment(settings),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 120
        while not prefect.is_healthy(settings):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def root(recorded: Recorded, tmp_path: Path) -> Path:
    return kit.copy(recorded, tmp_path / "repo").root


def test_nothing_new_ends_green_and_lays_out_no_folder(server: Server, root: Path) -> None:
    kit.champion_of(root, "2013-12")
    before = sorted((root / ".greenlight" / "runs").iterdir())
    end = server.run(root, "retrain")

    assert end.state == ("NothingNew", "COMPLETED")
    assert "2014-01 is not there yet" in end.message
    assert end.tries() == {"plan": 1}
    assert sorted((root / ".greenlight" / "runs").iterdir()) == before


def test_a_month_outside_the_data_fails_without_a_traceback_and_is_not_tried_again(server: Server, root: Path) -> None:
    end = server.run(root, "retrain", as_of="2031-01")

    assert end.state == ("Failed", "FAILED")
    assert "Next: an as_of from 2013-03 to 2013-12" in end.message
    assert end.tries() == {"plan": 1}
    assert "Traceback" not in end.logs() + end.output
    assert "as_of 2031-01 needs" in end.logs()


def test_bad_data_ends_as_data_rejected_with_the_contract_as_artifact(server: Server, root: Path) -> None:
    """Also where the champion's rows are lost: what is not checked then is a warning among the run's lines."""
    kit.hand_in(root, "flights", "2013-04", kit.month("flights", "2013-04").drop("dest"))
    project = kit.open_at(root)
    kit.lose_champions_rows(project)
    before = kit.memory(project)
    end = server.run(root, "retrain")

    assert end.state == ("DataRejected", "FAILED")
    assert "The champion serves on" in end.message
    assert set(end.artifacts()) == {"contract"}
    assert "dest" in end.artifacts()["contract"]
    assert "Traceback" not in end.logs() + end.output
    (line,) = [line for line in end.lines() if "corrections of earlier months are not looked for" in line["message"]]
    assert line["level"] == logging.WARNING
    run = list_runs(project)[0]
    assert (run.outcome, run.name in end.message) == ("DataRejected", True)
    after = kit.memory(project)
    assert (after["tags"], after["champion"]) == (before["tags"], before["champion"])


@pytest.mark.slow
def test_a_candidate_that_nothing_can_be_said_of_is_inconclusive(server: Server, root: Path) -> None:
    kit.change(root, {"gates.min_rows": 1_000_000})
    end = server.run(root, "retrain")

    assert end.state == ("Inconclusive", "COMPLETED")
    assert "1,000,000" in end.message


def test_the_same_retrain_twice_is_done_once_and_the_other_joins(server: Server, root: Path) -> None:
    own = {"gates.minimum.roc_auc": 0.99}
    before = len(list_runs(kit.open_at(root)))
    started = [server.start(root, "retrain", as_of="2013-04", overrides=own) for _ in range(2)]
    kept, joined = sorted((server.ended(root, process) for process in started), key=lambda end: end.state, reverse=True)

    assert (kept.state, joined.state) == (("KeptChampion", "COMPLETED"), ("Joined", "COMPLETED"))
    assert joined.message == f"joined a retrain of the same, which ended as KeptChampion: {kept.message}"
    assert "waiting for the same retrain, 2013-04-" in joined.logs()
    assert joined.tries() == {"plan": 1}
    assert len(list_runs(kit.open_at(root))) == before + 1
    assert (
        get_run(kit.open_at(root), list_runs(kit.open_at(root))[0].name)["params"]["gates"]["minimum"]["roc_auc"]
        == 0.99
    )


def test_a_wrong_parameter_fails_without_a_traceback(server: Server, root: Path) -> None:
    end = server.run(root, "retrain", overrides={"train.seeds": 7})

    assert end.state == ("Failed", "FAILED")
    assert "train.seeds: unknown key, did you mean seed?" in end.message
    assert "Traceback" not in end.logs() + end.output


class Storage(BaseHTTPRequestHandler):
    """As much of a web server as an HTTP remote of DVC needs."""

    kept: dict[str, bytes]

    def do_HEAD(self) -> None:
        self._answer(200 if self.path in self.kept else 404)

    def do_GET(self) -> None:
        self._answer(200 if self.path in self.kept else 404, self.kept.get(self.path, b""))

    def do_POST(self) -> None:
        body = b""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["content-length"]))
        self.kept[self.path] = body
        self._answer(200)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


def test_a_remote_that_comes_back_is_waited_for_and_the_champion_is_kept(server: Server, root: Path) -> None:
    port = serving_kit.free_port()
    kit.remote(root, f"http://127.0.0.1:{port}/store")
    kit.change(root, {"gates.minimum.roc_auc": 0.99})
    process = server.start(root, "retrain")
    waiting = {"task_runs": {"state": {"name": {"any_": ["AwaitingRetry"]}}}}
    settings = server.settings(root)
    until = time.monotonic() + 90
    while not prefect.request(settings, "POST", "/task_runs/filter", waiting):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.1)
    web = ThreadingHTTPServer(
        ("127.0.0.1", port), type("Kept", (Storage,), {"kept": {}, "protocol_version": "HTTP/1.1"})
    )
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        end = server.ended(root, process)
    finally:
        web.shutdown()
        web.server_close()

    assert end.state == ("KeptChampion", "COMPLETED")
    assert end.tries()["record"] == 2
    assert {name: n for name, n in end.tries().items() if n != 1} == {"record": 2}
    assert "Traceback" not in end.logs()
    assert set(end.artifacts()) == {"contract", "verdict"}
    assert "0.99" in end.artifacts()["verdict"]
    run = get_run(kit.open_at(root), list_runs(kit.open_at(root))[0].name)
    assert (run["outcome"], run["trigger"], run["flow_run_id"]) == ("KeptChampion", "ui or api", end.said["id"])


@pytest.mark.slow
def test_a_remote_that_is_wrong_is_not_tried_again(server: Server, root: Path) -> None:
    (root / "in-the-way").write_text("a file where the remote's folder should be")
    kit.remote(root, "../in-the-way/remote")
    before = kit.memory(kit.open_at(root))
    end = server.run(root, "retrain")

    assert end.state == ("Failed", "FAILED")
    assert "dvc push failed" in end.message
    assert end.tries()["record"] == 1
    assert "Traceback" not in end.logs() + end.output
    assert kit.memory(kit.open_at(root)) == before


def test_reproduce_ends_with_its_verdict_as_name(server: Server, root: Path, recorded: Recorded) -> None:
    end = server.run(root, "reproduce", run=recorded.rejected)

    assert end.state == ("Identical", "COMPLETED")
    assert set(end.artifacts()) == {"reproduction"}
    assert "data/snapshot" in end.artifacts()["reproduction"]


def test_reproduce_all_goes_on_after_an_error_and_says_so(server: Server, root: Path, recorded: Recorded) -> None:
    for home in ("cache", "remote"):
        shutil.rmtree(root / ".greenlight" / home)
    end = server.run(root, "reproduce", run="all")

    assert end.state == ("Failed", "FAILED")
    assert "0 of 3 runs came back identical, 3 error" in end.message
    table = end.artifacts()["reproduction"]
    assert all(f"| {run} |" in table for run in (recorded.promoted, recorded.kept, recorded.rejected))
    assert "Traceback" not in end.logs() + end.output


@pytest.mark.slow
def test_a_promoted_run_that_cannot_be_released_keeps_its_version_and_the_next_run_releases_it(
    server: Server, root: Path
) -> None:
    down = server.run(root, "retrain")

    assert down.state == ("Failed", "FAILED")
    assert "passed its gates as v2, but was not released" in down.message
    assert "greenlight up" in down.message
    project = kit.open_at(root)
    champion = project.registry.champion()
    assert champion is not None
    assert champion.name == "v1"

    settings = server.settings(root)
    serving = Serving(open_project(settings))
    try:
        serving.supervisor.start({})
        with serving.desired.changing("test"):
            serving.edge_up()
        up = server.run(root, "retrain")
        assert up.state == ("Promoted", "COMPLETED"), up.message
        assert "is v2 and live" in up.message
        assert set(up.artifacts()) == {"contract", "verdict"}
        assert [v.name for v in project.registry.versions()] == ["v1", "v2"]
        back = server.run(root, "rollback")
        assert back.state == ("Released", "COMPLETED"), back.message
        assert "v1 serves all traffic, before v2" in back.message
        assert set(back.artifacts()) == {"release"}
        again = server.run(root, "retrain")
        assert again.state == ("KeptChampion", "COMPLETED"), again.message
        assert "v2 again" in again.message
        executed = [s["stage"] for s in get_run(project, list_runs(project)[0].name)["stages"] if s["executed"]]
        assert executed == [], "same month, same champion: everything comes from the cache"
        assert stack.status(settings).live["version"] == "v1"
        params = root / "params.yaml"
        params.write_text(params.read_text().replace("patience_s: 600", "patience_s: 1"))
        waits = server.run(root, "release", version="v2", strategy="canary")
        assert waits.state == ("Waiting", "COMPLETED"), waits.message
        assert "v2 waits (for 0 of 100 requests to v2 in canary 1 %" in waits.message
        assert server.run(root, "release").state == ("Waiting", "COMPLETED"), "driven on, and still nobody asks"
        assert stack.status(settings).release["candidate"] == "v2"
        held = server.run(root, "step_in", action="pause")
        assert held.state == ("Completed", "COMPLETED"), held.message
        assert stack.status(settings).release["paused"]
        ended = server.run(root, "rollback")
        assert ended.state == ("Aborted", "COMPLETED"), ended.message
        assert stack.status(settings).release == {}
        nothing = server.run(root, "release")
        assert nothing.state == ("Unchanged", "COMPLETED"), nothing.message
        assert nothing.message == "no release is under way; v1 serves"
        refused = server.run(root, "step_in", action="abort")
        assert refused.state == ("Failed", "FAILED")
        assert "no release is under way" in refused.message
    finally:
        stack.down(settings)


@pytest.mark.slow
def test_a_replay_ends_green_with_its_answer_and_leaves_the_tables(server: Server, root: Path) -> None:
    end = server.run(root, "replay", first="2013-04", last="2013-04", policies=["gates.minimum.roc_auc=0.99"])
    assert end.state == ("Completed", "COMPLETED")
    assert "decide little" in end.message
    table = end.artifacts()["replay"]
    assert "| never retrain |" in table
    assert "| 2013-04 | gates.minimum.roc_auc=0.99 | KeptChampion |" in table
    page = Path(table.rsplit("Page: ", 1)[1].strip())
    assert page.is_file()


def test_a_replay_of_a_month_that_is_not_there_ends_red_in_words(server: Server, root: Path) -> None:
    end = server.run(root, "replay", first="2013-04", last="2014-04")
    assert end.state == ("Failed", "FAILED")
    assert "not in the data: 2014-01" in end.message
