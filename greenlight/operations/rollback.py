"""Roll back: put an earlier version in front of the traffic. It is a release like any other, only backwards."""

from __future__ import annotations

from greenlight.adapters.desired import DesiredState
from greenlight.adapters.registry import Registry
from greenlight.config import Settings
from greenlight.errors import NotFound, UsageError
from greenlight.operations.release import ReleaseReport, release
from greenlight.operations.serving import Log, silent
from greenlight.wiring import open_project


def rollback(settings: Settings, *, to: str = "", to_run: str = "", log: Log = silent) -> ReleaseReport:
    """Release an earlier version; saying so when it serves already.

    Parameters
    ----------
    to : str
        Version, such as ``v1``.
    to_run : str
        Name of the run that the version came from. Without both: the version that served before the current
        one.

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
    registry = open_project(settings).registry
    target = _target(registry, DesiredState(settings.home).load().live, to, to_run)
    log(f"rolling back to {target}")
    return release(settings, target, log=log)


def _target(registry: Registry, live: str, to: str, to_run: str) -> str:
    if to:
        return registry.get(to).name
    if to_run:
        for version in registry.versions():
            if version.run == to_run:
                return version.name
        raise NotFound(f"no version came from run {to_run!r}", todo="greenlight runs shows which runs became versions")
    history = [entry.version for entry in registry.history()]
    current = live or (history[-1] if history else "")
    before = [version for version in history if version != current]
    if not before:
        state = f"only {current} ever served" if current else "nothing has served yet"
        raise NotFound(f"there is nothing to roll back to: {state}", todo="greenlight rollback --to <version>")
    return before[-1]
