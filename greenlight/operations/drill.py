"""The roll back drill: how long until users are safe, measured while users ask.

Real traffic moves: back to the version before and forwards again, each of them a whole release. The ledger grows by
two entries, and a roll back afterwards goes where it would have gone before.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenlight import datasets
from greenlight.adapters.desired import DesiredState, replace_file
from greenlight.adapters.edge_client import connect, credentials
from greenlight.config import Settings
from greenlight.errors import GreenlightError, UsageError
from greenlight.operations.release import ReleaseReport
from greenlight.operations.rollback import rollback
from greenlight.operations.serving import Log, Serving, silent
from greenlight.wiring import open_project

CLIENTS = 2
PAUSE_S = 0.01  # between the requests of a client: load enough to notice a gap, too little to slow the switch
LEAD_S = 0.5  # before the first and after the last move
TIMEOUT_S = 10.0
SHOWN = 5


@dataclass(frozen=True)
class Move:
    """One of the drill's two moves.

    Attributes
    ----------
    version : str
        What it went to.
    switched_s : float
        From being asked to the first answer of that version.
    done_s : float
        From being asked to the end, with the old version's servers stopped.
    last_old_s : float
        From being asked to the last answer of the version before.
    warm : bool
        Its servers ran already.
    steps : dict of str to float
        The release's own seconds.
    """

    version: str
    switched_s: float
    done_s: float
    last_old_s: float
    warm: bool
    steps: dict[str, float]


@dataclass(frozen=True)
class DrillReport:
    """How the drill went.

    Attributes
    ----------
    live : str
        What served before and serves again.
    back, forward : Move
    requests, failed : int
        Asked meanwhile, and those that got no good answer.
    failures : tuple of str
        The first few of them.
    record : str
        Where this is kept.
    """

    live: str
    back: Move
    forward: Move
    requests: int
    failed: int
    failures: tuple[str, ...]
    record: str

    @property
    def exit_code(self) -> int:
        """1 when a request failed."""
        return int(self.failed > 0)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def drill_rollback(settings: Settings, *, log: Log = silent) -> DrillReport:
    """Roll back and forwards under light load; whatever happens, the version that was live is put back.

    Raises
    ------
    UsageError
        Nothing serves, or a release by steps is under way.
    NotFound
        Nothing served before the live version.
    PreflightFailed, ServerError, EdgeError, BentoError
        As in `rollback`; what was live is live again, or the message says that it could not be put back.
    """
    state = DesiredState(settings.home).load()
    live = state.live
    if state.rollout is not None:  # a roll back ends the release that is under way: that would be no drill
        todo = "wait for its end, or end it with greenlight release --abort"
        raise UsageError(f"a release is under way, and the drill would end it: {state.rollout.where}", todo=todo)
    Serving(open_project(settings, lenient=True)).require_up()
    if not live:
        raise UsageError("no version is live, so there is nothing to drill", todo="greenlight retrain")
    path = settings.home / "drills" / f"rollback-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.json"
    _keep(path, {"drill": "rollback", "live": live, "state": "begun; if it stays so: greenlight rollback --to " + live})
    with _put_back(settings, live, log), Users(settings) as users:
        time.sleep(LEAD_S)
        back = _move(settings, users, "", log)
        forward = _move(settings, users, live, log)
        time.sleep(LEAD_S)
    answers, failures = users.answers, users.failures
    count = len(answers) + len(failures)
    report = DrillReport(live, back, forward, count, len(failures), tuple(failures[:SHOWN]), str(path))
    _keep(path, {"drill": "rollback", "state": "done", "at": datetime.now(UTC).isoformat(), **report.to_json()})
    return report


@contextmanager
def _put_back(settings: Settings, live: str, log: Log) -> Iterator[None]:
    try:
        yield
    finally:
        if DesiredState(settings.home).load().live != live:
            log(f"the drill broke off; putting {live} back")
            try:
                rollback(settings, to=live, log=log)
            except GreenlightError as exc:
                exc.todo = f"greenlight rollback --to {live} puts back what was live; {exc.todo}".rstrip("; ")
                raise


def _move(settings: Settings, users: Users, to: str, log: Log) -> Move:
    asked = time.monotonic()
    report: ReleaseReport = rollback(settings, to=to, log=log)
    done = time.monotonic() - asked
    users.wait_for(report.version, since=asked)
    new = [at for at, version in users.answers if at >= asked and version == report.version]
    old = [at for at, version in users.answers if at >= asked and version == report.previous]
    return Move(
        report.version,
        round(min(new, default=asked) - asked, 3),
        round(done, 3),
        round(max(old, default=asked) - asked, 3),
        "start" not in report.seconds,
        report.seconds,
    )


def _keep(path: Path, document: dict[str, Any]) -> None:
    replace_file(path, json.dumps(document, indent=1).encode() + b"\n")


class Users:
    """Clients that keep asking the edge for the dataset's example row, and note every answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        dataset = open_project(settings, lenient=True).params.dataset
        self._body = json.dumps({"rows": [dict(datasets.load(dataset).request.EXAMPLE)]}).encode()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CLIENTS)]
        self.answers: list[tuple[float, str]] = []
        self.failures: list[str] = []

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S + 1)

    def wait_for(self, version: str, since: float) -> None:
        """Wait until somebody was answered by `version`, at most until a request would time out."""
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until:
            if any(at >= since and found == version for at, found in list(self.answers)):
                return
            time.sleep(PAUSE_S)

    def _ask(self) -> None:
        connection = connect(self._settings, TIMEOUT_S)
        headers = {"content-type": "application/json", **credentials(self._settings)}
        while not self._end.wait(PAUSE_S):
            try:
                connection.request("POST", "/predict", self._body, headers)
                reply = connection.getresponse()
                content = reply.read()
            except (OSError, http.client.HTTPException) as exc:
                self.failures.append(repr(exc))
                connection.close()
                continue
            if reply.status == 200:
                self.answers.append((time.monotonic(), reply.headers.get("x-model-version", "")))
            else:
                self.failures.append(f"{reply.status} {content[:120]!r}")
        connection.close()
