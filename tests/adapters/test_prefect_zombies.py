"""Runs that nobody ends: everything of a flow run is killed, its worker too, and the stack stays up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import serving_kit

from greenlight.adapters import prefect, prefect_runs, prefect_zombies
from greenlight.config import Settings

ROOT = Path(__file__).resolve().parents[2]
RETRAIN = "retrain/retrain"
DEPLOYMENTS = """
name: greenlight
pull:
  - prefect.deployments.steps.set_working_directory: {directory: "{{ $GREENLIGHT_ROOT }}"}
deployments:
  - {name: retrain, entrypoint: "flows/retrain.py:retrain", work_pool: {name: greenlight},
     concurrency_limit: {limit: 1, collision_strategy: ENQUEUE}}
"""
FLOW = """
import time
from prefect import flow

@flow(name="retrain")
def retrain(seconds: int = 0):
    time.sleep(seconds)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A server and nothing else."""
    root = tmp_path / "repo"
    (root / "flows").mkdir(parents=True)
    (root / "flows" / "retrain.py").write_text(FLOW)
    (root / "prefect.yaml").write_text(DEPLOYMENTS)
    found = Settings(root=root, home=tmp_path / "home", prefect_port=serving_kit.free_port())
    server = started(found, "server", "start")
    try:
        waited(lambda: prefect.is_healthy(found), 600)
        yield found
    finally:
        end(server)


def started(settings: Settings, *command: str) -> subprocess.Popen[bytes]:
    env = os.environ | prefect.environment(settings)
    with (settings.home / f"{command[0]}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", *command], cwd=settings.root, env=env, stdout=log, stderr=log
        )


def worker(settings: Settings) -> subprocess.Popen[bytes]:
    return started(settings, "worker", "start", "--pool", prefect.POOL, "--type", "process")


def end(process: subprocess.Popen[bytes]) -> None:
    """kill -9 of the whole tree."""
    for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        one.kill()
    process.wait(30)


def waited(holds: Callable[[], Any], seconds: float = 300) -> Any:
    until = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < until, f"did not come true within {seconds} s"
        time.sleep(0.2)
    return value


def state(settings: Settings, run: str) -> dict[str, Any]:
    found: dict[str, Any] = prefect.request_patiently(settings, "GET", f"/flow_runs/{run}")["state"]
    return found


def heartbeats(settings: Settings, run: str) -> int:
    body = {
        "filter": {
            "event": {"name": [prefect_zombies.HEARTBEAT]},
            "resource": {"id": [f"prefect.flow-run.{run}"]},
            "occurred": {"since": "2000-01-01T00:00:00Z"},
        }
    }
    found: int = prefect.request_patiently(settings, "POST", "/events/filter", body)["total"]
    return found


@pytest.mark.slow
def test_a_run_that_died_with_its_worker_is_ended_and_the_next_one_starts(settings: Settings) -> None:
    prefect.register_deployments(settings)
    prefect_zombies.watch(settings, silent_s=10)
    first_worker = worker(settings)
    dies = prefect_runs.start_run(settings, RETRAIN, {"seconds": 600})
    try:
        waited(lambda: state(settings, dies)["type"] == "RUNNING" and heartbeats(settings, dies))
        waits = prefect_runs.start_run(settings, RETRAIN, {})
        waited(lambda: state(settings, waits)["name"] == "AwaitingConcurrencySlot")
    finally:
        end(first_worker)
    killed = time.time()
    second_worker = worker(settings)
    try:
        waited(lambda: state(settings, waits)["type"] == "COMPLETED", 300)
    finally:
        end(second_worker)
    ended = state(settings, dies)
    assert (ended["type"], "no sign of life for 10 s" in ended["message"]) == ("CRASHED", True)
    begun = prefect.request(settings, "GET", f"/flow_runs/{waits}")["start_time"]
    seconds = [datetime.fromisoformat(when).timestamp() - killed for when in (ended["timestamp"], begun)]
    print(f"crashed {seconds[0]:.1f} s after the kill, the next one began after {seconds[1]:.1f} s")


def test_the_automation_is_made_once_and_changed_where_it_differs(settings: Settings) -> None:
    def all_of_them() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = prefect.request(settings, "POST", "/automations/filter", {})
        return found

    assert prefect_zombies.watch(settings)
    assert not prefect_zombies.watch(settings)
    (made,) = all_of_them()
    assert made["trigger"]["within"] == prefect_zombies.SILENT_S
    prefect.request(settings, "PATCH", f"/automations/{made['id']}", {"enabled": False})
    assert prefect_zombies.watch(settings, silent_s=60)
    (changed,) = all_of_them()
    assert (changed["id"], changed["enabled"], changed["trigger"]["within"]) == (made["id"], False, 60)


def test_every_name_that_a_flow_ends_with_is_known() -> None:
    """An end that is missing would be taken for silence, and a run that is long over for a dead one."""
    text = (ROOT / "flows" / "ends.py").read_text(encoding="utf-8")
    names = set(re.findall(r'name="(\w+)"', text)) | set(re.findall(r'^[A-Z_]+ = "(\w+)"', text, re.MULTILINE))
    names |= set(re.findall(r'"\w+": "(\w+)"', text))
    names |= {"Identical", "Equivalent", "Different"}
    assert {"Promoted", "Inconclusive", "KeptChampion", "Joined"} <= names
    assert names <= set(prefect_zombies.ENDS)
