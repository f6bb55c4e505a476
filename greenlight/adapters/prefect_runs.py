"""Prefect, one flow run at a time: start it, follow it to its end, and end those that nobody else will.

Over the REST API, like :mod:`greenlight.adapters.prefect`. This module must not know what a flow means: it
hands over parameters and hands back lines, stages and states.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from greenlight.adapters.prefect import (
    LOG_INTERVAL_S,
    PATIENCE_S,
    POLL_S,
    POOL,
    request,
    request_patiently,
    ui_url,
)
from greenlight.errors import NotFound, OrchestratorError, UsageError

if TYPE_CHECKING:
    from greenlight.config import Settings

TERMINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
REREAD = 50  # lines of the worker and of the run arrive in batches of their own: the last are read once more
HOLD_S = 2.0
LAST_WORDS_S = 5.0  # a flow says that it has finished about a second after it has, and its lines come in batches
_SUFFIX = re.compile(r"-[0-9a-f]{3}$")  # Prefect tells runs of one task apart by it


@dataclass(frozen=True)
class LogLine:
    """One line that a flow run wrote.

    Attributes
    ----------
    time : str
        ISO 8601, UTC.
    level : int
        As in :mod:`logging`.
    logger : str
    stage : str
        Name of the task that wrote it; empty for the flow itself.
    message : str
    """

    time: str
    level: int
    logger: str
    stage: str
    message: str


@dataclass(frozen=True)
class Stage:
    """A task of a flow run.

    Attributes
    ----------
    name : str
    state : str
        Prefect's type of state, such as ``RUNNING`` or ``COMPLETED``.
    seconds : float
        How long it ran; 0 before it has ended.
    """

    name: str
    state: str
    seconds: float


@dataclass(frozen=True)
class FinalState:
    """How a flow run ended: the state's own name (``Promoted``), Prefect's type (``COMPLETED``), message."""

    name: str
    type: str
    message: str


@dataclass(frozen=True)
class Watcher:
    """Who is told of each line, of each change of a task, and of each change of the run's state (by name)."""

    on_log: Callable[[LogLine], None] = lambda line: None
    on_stage: Callable[[Stage], None] = lambda stage: None
    on_state: Callable[[str], None] = lambda name: None


def run_page(settings: Settings, flow_run_id: str) -> str:
    """Address of a flow run's page."""
    return f"{ui_url(settings)}/runs/flow-run/{flow_run_id}"


def start_run(settings: Settings, deployment: str, parameters: Mapping[str, Any], tags: Sequence[str] = ()) -> str:
    """Ask for one run of a deployment, now.

    Parameters
    ----------
    deployment : str
        ``flow/deployment``, such as ``retrain/retrain``.

    Returns
    -------
    str
        Id of the flow run. It waits while the deployment's concurrency limit is reached.

    Raises
    ------
    NotFound
        The server knows no such deployment.
    UsageError
        A parameter does not fit the flow's signature.
    OrchestratorError
        The server does not answer, or cannot, for longer than it takes to come back.
    """
    found = request_patiently(settings, "GET", f"/deployments/name/{deployment}", allow=(404,))
    if "id" not in found:
        raise NotFound(
            f"the Prefect server knows no deployment {deployment}",
            where=settings.prefect_api_url,
            todo="`greenlight up` registers what prefect.yaml declares",
        )
    body = {
        "parameters": dict(parameters),
        "tags": list(tags),
        "state": {"type": "SCHEDULED"},
        "idempotency_key": str(uuid4()),  # an answer that got lost, and the call repeated, are one run
    }
    run = request_patiently(settings, "POST", f"/deployments/{found['id']}/create_flow_run", body, allow=(409, 422))
    if "id" not in run:
        raise UsageError(f"{deployment} does not take these parameters: {run.get('detail', run)}")
    return str(run["id"])


def unfinished(settings: Settings, deployment: str) -> list[str]:
    """Ids of the runs of a deployment (``flow/deployment``) that run or wait now, oldest first."""
    flow, name = deployment.split("/")
    body = {
        "flows": {"name": {"any_": [flow]}},
        "deployments": {"name": {"any_": [name]}},
        "flow_runs": {
            "state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING", "SCHEDULED"]}},
            "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
        },
        "sort": "EXPECTED_START_TIME_ASC",
    }
    return [str(run["id"]) for run in request_patiently(settings, "POST", "/flow_runs/filter", body)]


def bury_dead_runs(settings: Settings) -> list[str]:
    """End, as ``Crashed``, every flow run of our worker whose process is gone; nobody else would.

    A worker reports a flow run that dies. Only when both die together (reboot, ``kill -9`` of everything)
    nobody does, and the run goes on to hold its deployment's only slot. Returns the names of the runs ended.
    """
    body = {
        "work_pools": {"name": {"any_": [POOL]}},
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}},
    }
    buried = []
    for run in request_patiently(settings, "POST", "/flow_runs/filter", body):
        if run["infrastructure_pid"] and not _is_prefect(run["infrastructure_pid"]):
            state = {"type": "CRASHED", "message": "its process was gone when the stack came up"}
            forced = {"state": state, "force": True}
            request_patiently(settings, "POST", f"/flow_runs/{run['id']}/set_state", forced)
            buried.append(str(run["name"]))
    return buried


def _is_prefect(pid: str) -> bool:
    """Whether that process lives and is Prefect's: ids are reused, above all after a reboot."""
    try:
        return b"prefect" in Path("/proc", pid.rsplit(":", 1)[-1], "cmdline").read_bytes()
    except OSError:
        return False


def follow(settings: Settings, flow_run_id: str, watcher: Watcher, *, patience_s: float = PATIENCE_S) -> FinalState:
    """Tell `watcher` what a flow run and its subflows do until it has ended.

    Parameters
    ----------
    patience_s : float
        How long the server may be silent before this gives up.

    Raises
    ------
    OrchestratorError
        The server was silent for longer, or does not know the run.
    """
    watch = _Watch(settings, flow_run_id, watcher)
    heard = time.monotonic()
    while True:
        try:
            final = watch.look()
            heard = time.monotonic()
            if final is not None:
                return final
        except OrchestratorError as exc:
            silent = time.monotonic() - heard
            if not exc.retryable or silent > patience_s:
                raise OrchestratorError(
                    f"lost sight of the run after {silent:.0f} s: {exc.what}",
                    where=run_page(settings, flow_run_id),
                    todo="the run itself may go on; `greenlight up`, then `greenlight runs`",
                ) from exc
        time.sleep(POLL_S)


class _Watch:
    """What has been seen of one flow run so far."""

    def __init__(self, settings: Settings, flow_run_id: str, watcher: Watcher) -> None:
        self.settings = settings
        self.watcher = watcher
        self.ids = [flow_run_id]  # and those of its subflows
        self.state = ""
        self.stages: dict[str, Stage] = {}
        self.unnamed: set[str] = set()
        self.lines: set[str] = set()
        self.held: dict[str, float] = {}
        self.complete = False

    def look(self) -> FinalState | None:
        """One round; the final state once there is one."""
        run = request(self.settings, "GET", f"/flow_runs/{self.ids[0]}")
        self._read()
        if run["state_name"] != self.state:
            self.state = run["state_name"]
            self.watcher.on_state(self.state)
        if run["state_type"] not in TERMINAL:
            return None
        until = time.monotonic() + LAST_WORDS_S
        while not self.complete and time.monotonic() < until:
            time.sleep(LOG_INTERVAL_S)
            self._read()
        return FinalState(self.state, run["state_type"], run["state"].get("message") or "")

    def _read(self) -> None:
        self._read_stages()
        self._read_logs()

    def _read_stages(self) -> None:
        body = {"flow_runs": {"id": {"any_": self.ids}}, "sort": "EXPECTED_START_TIME_ASC"}
        for task in request(self.settings, "POST", "/task_runs/filter", body):
            child = ((task["state"] or {}).get("state_details") or {}).get("child_flow_run_id")
            if child and child not in self.ids:
                self.ids.append(child)
            name, state = _SUFFIX.sub("", task["name"]), task["state_type"] or "PENDING"
            # A task's own name replaces the generic one with its suffix a moment after it began to run.
            generic = name != task["name"] and state not in TERMINAL
            (self.unnamed.add if generic else self.unnamed.discard)(task["id"])
            stage = Stage(name, state, task["total_run_time"] or 0.0)
            if self.stages.get(task["id"]) != stage:
                self.stages[task["id"]] = stage
                self.watcher.on_stage(stage)

    def _read_logs(self) -> None:
        body = {
            "logs": {"flow_run_id": {"any_": self.ids}},
            "sort": "TIMESTAMP_ASC",
            "offset": max(0, len(self.lines) - REREAD),
        }
        for line in request(self.settings, "POST", "/logs/filter", body):
            if line["id"] in self.lines:
                continue
            stage = self.stages.get(line["task_run_id"] or "")
            nameless = stage is None or line["task_run_id"] in self.unnamed
            if line["task_run_id"] and nameless and self._may_wait(line["id"]):
                return
            self.lines.add(line["id"])
            name = stage.name if stage else ""
            self.watcher.on_log(LogLine(line["timestamp"], line["level"], line["name"], name, line["message"]))
            own = line["flow_run_id"] == self.ids[0] and not line["task_run_id"]
            self.complete |= own and line["message"].startswith("Finished in state")

    def _may_wait(self, line: str) -> bool:
        """Whether to hold a line back: its task, and the task's name, become known a moment after its first words."""
        return time.monotonic() - self.held.setdefault(line, time.monotonic()) < HOLD_S
