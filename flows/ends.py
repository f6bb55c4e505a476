"""Every way a flow can end, by name. The names are what people filter by in the UI and what the command line reads."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, ParamSpec

from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from greenlight.adapters.registry import Version
from greenlight.core.contract_report import ContractReport, headline
from greenlight.core.verdict import Verdict
from greenlight.errors import GreenlightError
from greenlight.operations.plan import Plan
from greenlight.operations.release import ReleaseReport
from greenlight.operations.reproduction import ReproduceReport
from greenlight.operations.retrain import Run
from greenlight.operations.sweep import Sweep
from greenlight.operations.turns import Alone, End

DATA_REJECTED = "DataRejected"
KEPT_CHAMPION = "KeptChampion"
JOINED = "Joined"
OUTCOMES = {"promote": "Promoted", "reject": KEPT_CHAMPION, "inconclusive": "Inconclusive"}
RELEASED = "Released"
# A "no" of the evidence, or a person's, is an answer; the version from before serves.
RELEASES = {
    "promoted": RELEASED,
    "rolled_back": "RolledBack",
    "aborted": "Aborted",
    "superseded": "Superseded",
    "given_up": "GivenUp",
    "waiting": "Waiting",
    "unchanged": "Unchanged",
}

P = ParamSpec("P")


def named(body: Callable[P, State]) -> Callable[P, State]:
    """End a flow whose body raises an error of ours as `Failed` with that error's message and without a traceback."""

    @functools.wraps(body)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> State:
        _no_tracebacks_of_ours()
        try:
            return body(*args, **kwargs)
        except GreenlightError as exc:
            get_run_logger().error("%s", exc)
            return Failed(name="Failed", message=str(exc))

    # Prefect would look the annotations' names up in this module instead of the flow's.
    wrapped.__signature__ = inspect.signature(body, eval_str=True)  # type: ignore[attr-defined]
    return wrapped


def nothing_new(plan: Plan) -> State:
    """No month to train on."""
    return Completed(name="NothingNew", message=plan.nothing_new)


def data_rejected(run: Run, contract: ContractReport) -> State:
    """The contract said no; the champion serves on."""
    return Failed(name=DATA_REJECTED, message=f"{run.name}: {headline(contract)}. The champion serves on.")


def kept(run: Run, verdict: Verdict) -> State:
    """The gates did not let the candidate through."""
    return Completed(name=OUTCOMES[verdict.decision], message=f"{run.name}: {verdict.summary()}")


def withdrawn(run: Run, why: str) -> State:
    """The candidate is a version that was rolled back from."""
    return Completed(name=KEPT_CHAMPION, message=f"{run.name}: {why}")


def promoted(run: Run, version: Version, verdict: Verdict, released: State) -> State:
    """The candidate is a version; whether it serves is the release's answer."""
    if released.name == RELEASED:
        return Completed(name="Promoted", message=f"{run.name} is {version.name} and live. {verdict.summary()}")
    if released.is_completed():
        return Completed(name=released.name, message=f"{run.name} passed its gates; {released.message}")
    return Failed(
        name="Failed",
        message=f"{run.name} passed its gates as {version.name}, but was not released: {released.message}",
    )


def released(report: ReleaseReport) -> State:
    """A version took the traffic, or had it already; or it went back, or waits, which are answers too."""
    return Completed(name=RELEASES[report.outcome], message=report.summary())


def stepped_in(where: str) -> State:
    """A person's word was carried out."""
    return Completed(name="Completed", message=where)


def reproduced(report: ReproduceReport | Sweep) -> State:
    """The verdict of a reproduction; of several, the worst."""
    end = Failed if report.exit_code else Completed
    name = "Failed" if report.verdict == "error" else report.verdict.capitalize()
    return end(name=name, message=f"{report.run}: {report.explanation}")


def replayed(found: dict[str, Any]) -> State:
    """Policies were compared; which is better is an answer, not an outcome."""
    return Completed(name="Completed", message=" ".join(line for line in found["answer"] if not line.startswith(" ")))


def compacted(found: dict[str, Any]) -> State:
    """The prediction log was made compact; nothing to do is as good."""
    told = f"{found['files']} files with {found['rows']} rows became Parquet, {found['merged']} small files were"
    return Completed(name="Completed", message=f"{told} merged, {found['deleted']} went beyond the limit")


def told(turn: Alone, end: State) -> State:
    """`end`, after those that wait for the same retrain were told of it; a failure is no answer to share."""
    if end.is_completed() or end.name == DATA_REJECTED:
        turn.ended(End(str(end.name), end.is_completed(), str(end.message)))
    return end


def joined(end: End) -> State:
    """Another run did the same work meanwhile: its answer is this one's too, red if that was red."""
    if end.green:
        return Completed(name=JOINED, message=f"joined a retrain of the same, which ended as {end.name}: {end.message}")
    return Failed(name=end.name, message=end.message)


class _OursHaveNoTraceback(logging.Filter):
    """An error that says what, where and what next needs no traceback; any other keeps it."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Prefect raises a failed end once more for its process's exit status and logs that as "unexpected".
        if record.exc_info and isinstance(record.exc_info[1], FailedRun):
            return False
        if record.exc_info and isinstance(record.exc_info[1], GreenlightError):
            record.exc_info = None
        return True


def _no_tracebacks_of_ours() -> None:
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(f, _OursHaveNoTraceback) for f in logger.filters):
            logger.addFilter(_OursHaveNoTraceback())
