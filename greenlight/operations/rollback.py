"""Roll back: put an earlier version in front of the traffic. It is a release like any other, only backwards."""

from __future__ import annotations

from greenlight.adapters.desired import DesiredState
from greenlight.config import Settings
from greenlight.core.release import standing
from greenlight.errors import NotFound, UsageError
from greenlight.operations.known_versions import mend
from greenlight.operations.release import ReleaseReport, release_in
from greenlight.operations.release_report import with_overrides
from greenlight.operations.rollout_end import end
from greenlight.operations.run_version import version_of
from greenlight.operations.serving import Log, Serving, silent
from greenlight.wiring import Project, open_project

LISTS = "greenlight runs shows which runs became versions"


def rollback(settings: Settings, *, to: str = "", to_run: str = "", log: Log = silent) -> ReleaseReport:
    """Release an earlier version; saying so when it serves already.

    While a release by steps is under way it ends that one first: without `to` and `to_run` that is all, since the
    version from before it still serves. It needs nobody's leave: neither the flow nor a driver must be alive.

    A params.yaml with mistakes does not stand in the way: that of the live version's run counts instead.

    Parameters
    ----------
    to : str
        Version, such as ``v1``.
    to_run : str
        Run that the version came from: its name or an unambiguous beginning of it. Without both: the version that
        served before the current one, and again the one before that when repeated.

    Raises
    ------
    UsageError
        Both were given.
    NotFound
        There is no such version, or nothing served before the current one.
    PreflightFailed, ServerError, EdgeError, BentoError
        As in `release`.
    """
    if to and to_run:
        raise UsageError("--to and --to-run were both given", todo="name the version or its run")
    project = open_project(settings, lenient=True)
    for line in mend(project):
        log(line)
    target = _target(project, to, to_run) if to or to_run else ""
    serving = Serving(project, log)
    ended = end(serving, "aborted", "a person rolled back")
    if ended and not target:
        live = serving.desired.load().live
        return ReleaseReport(live, live, False, outcome=ended.outcome, asked=ended.version, reason=ended.reason)
    target = target or _target(project, to, to_run)
    log(f"rolling back to {target}")
    return with_overrides(project, release_in(project, target, log=log))


def _target(project: Project, to: str, to_run: str) -> str:
    if to:
        return project.registry.get(to).name
    if to_run:
        return version_of(project, to_run).name
    history = [entry.version for entry in project.registry.history()]
    live = DesiredState(project.settings.home).load().live
    # A crash may have come between the switch and the ledger; what serves counts as served.
    stack = standing([*history, live] if live else history)
    if not stack:
        raise NotFound("there is nothing to roll back to: nothing has served yet", todo=LISTS)
    if len(stack) == 1:
        raise NotFound(
            f"there is nothing to roll back to: nothing served before {stack[0]}",
            todo=f"name one with --to; {LISTS}",
        )
    return stack[-2]
