"""Release a version: everything from its bento to the last request that the old one answers."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenlight.adapters import bento as bentos
from greenlight.adapters.desired import replace_file
from greenlight.adapters.model_servers import checking_seal
from greenlight.adapters.registry import Version
from greenlight.config import Settings
from greenlight.core import release as moves
from greenlight.core.release import Desired
from greenlight.errors import GreenlightError, PreflightFailed, UsageError
from greenlight.operations.preflight import PreflightReport, preflight, recheck
from greenlight.operations.serving import Log, Serving, silent
from greenlight.wiring import Project, open_project


@dataclass(frozen=True)
class ReleaseReport:
    """How a release went.

    Attributes
    ----------
    version : str
        What serves now.
    previous : str
        What served before; empty for the first release.
    already_live : bool
        Nothing had to be done.
    bento : str
        The bento's folder.
    preflight : dict
        The preflight's report; empty if already live.
    seconds : dict[str, float]
        ``bento``, ``preflight``, ``start``, ``switch`` (until the edge said so), ``drain``.
    """

    version: str
    previous: str
    already_live: bool
    bento: str = ""
    preflight: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "version": self.version,
            "previous": self.previous,
            "already_live": self.already_live,
            "bento": self.bento,
            "preflight": self.preflight,
            "seconds": self.seconds,
        }

    def summary(self) -> str:
        """One sentence."""
        if self.already_live:
            return f"{self.version} serves already; nothing to do"
        before = f", before {self.previous}" if self.previous else ""
        return f"{self.version} serves all traffic{before} ({sum(self.seconds.values()):.1f} s)"

    def markdown(self) -> str:
        """For the artifact in the UI."""
        lines = [f"## {self.summary()}", "", "| step | seconds |", "| --- | --- |"]
        lines += [f"| {step} | {seconds:.2f} |" for step, seconds in self.seconds.items()]
        checks = self.preflight.get("checks", [])
        if checks:
            lines += ["", "| preflight | value | limit | |", "| --- | --- | --- | --- |"]
            lines += [
                f"| {c['name']} | {c['value']} | {c['limit']} | {'ok' if c['passed'] else '**no**'} |" for c in checks
            ]
        return "\n".join(lines) + "\n"


def release(settings: Settings, version: str, *, instead_of: str | None = None, log: Log = silent) -> ReleaseReport:
    """Put `version` in front of all traffic; no request fails on the way, and it may be repeated after any
    crash.

    Parameters
    ----------
    instead_of : str, optional
        The version that it was compared with (empty: none); it takes the traffic from no other.

    Raises
    ------
    UsageError
        Another version than `instead_of` serves: somebody rolled back or released meanwhile.
    NotFound
        There is no such version.
    PreflightFailed
        Its bento does not answer as its model does, or breaks a budget; whatever served keeps serving.
    ServerError, EdgeError, BentoError
        A part failed; before the switch, whatever served keeps serving.
    """
    return release_in(open_project(settings), version, instead_of=instead_of, log=log)


def release_in(project: Project, version: str, *, instead_of: str | None = None, log: Log = silent) -> ReleaseReport:
    """`release` in a project that is open already."""
    serving = Serving(project, log)
    target = project.registry.get(version)
    with serving.desired.changing(f"release of {target.name}"), _checking_ahead(serving, target) as sealing:
        serving.require_up()
        state = serving.tidy()
        if state.live == target.name:
            serving.heal()
            log(f"{target.name} serves already")
            return ReleaseReport(target.name, target.name, already_live=True)
        if instead_of is not None and state.live not in ("", instead_of):
            raise UsageError(
                f"{state.live} serves by now, and {target.name} was compared with {instead_of or 'no champion'}",
                todo=f"greenlight retrain compares it with {state.live}",
            )
        return _release(serving, target, state, sealing)


@contextmanager
def _checking_ahead(serving: Serving, target: Version) -> Iterator[subprocess.Popen[str] | None]:
    """The check of the signature of a version on standby, begun before anything else: a process that takes as long as
    all the rest before the switch, and a person waits for it.
    """
    bento = bentos.find(serving.project.params.dataset, target.name, serving.settings.home)
    if bento is None or target.name not in serving.desired.load().standby:
        yield None
        return
    with checking_seal(serving.settings, bento) as sealing:
        yield sealing


def _release(serving: Serving, target: Version, state: Desired, sealing: subprocess.Popen[str] | None) -> ReleaseReport:
    seconds: dict[str, float] = {}
    keep = serving.project.params.release.keep_warm
    with _timed(seconds, "bento"):
        bento = serving.bento(target)
    report = _recheck(serving, target.name, bento, seconds, sealing) if target.name in state.standby else None
    if report is None and target.name in state.standby:
        state = _give_up_standby(serving, target.name, state)
    if report is not None:
        after = moves.switch_back(state, target.name, keep_warm=keep)
    else:
        with _timed(seconds, "preflight"):
            report = _require_preflight(serving, target.name, bento)
        with _timed(seconds, "start"):
            state = _start(serving, target.name, bento, state)
        after = moves.switch(state, keep_warm=keep)
    previous = state.live
    # From here on a crash is finished forwards: whoever comes next reads that the new version is the live
    # one.
    state = serving.desired.save(after, f"traffic to {target.name}")
    with _timed(seconds, "switch"):
        serving.edge.set_live(target.name)
    serving.log(f"all traffic goes to {target.name}" + (f", before {previous}" if previous else ""))
    serving.project.registry.assign(target)
    with _timed(seconds, "drain"):
        serving.retire(state)
    return ReleaseReport(target.name, previous, False, str(bento), report.to_json(), seconds)


def _recheck(
    serving: Serving, version: str, bento: Path, seconds: dict[str, float], sealing: subprocess.Popen[str] | None
) -> PreflightReport | None:
    """The report on servers of `version` on standby; None where they have to be started again.

    They passed the whole preflight when they were started, from the files that they were started from. What is asked
    again is whether they still answer exactly as their model does.
    """
    why = "not all of them run" if sealing else "the bento that they were started from was gone"
    if sealing and serving.is_warm(version):
        with _timed(seconds, "recheck"):
            report = recheck(serving.servers.sockets(version), bento, sealing)
        if report.passed:
            serving.log(f"{version} is warm: {report.summary()}")
            return report
        why = report.summary()
    serving.log(f"the servers of {version} on standby are started anew: {why}")
    return None


def _give_up_standby(serving: Serving, version: str, state: Desired) -> Desired:
    """Stop servers that are not what they were: one that hangs counts as running, and would never get ready."""
    state = serving.desired.save(moves.cool(state, version), f"{version} on standby does not answer as it should")
    serving.servers.stop(version)
    return serving.desired.save(moves.retire(state, version), f"{version} stopped")


def _require_preflight(serving: Serving, version: str, bento: Path) -> PreflightReport:
    report = preflight(serving.settings, bento, serving.project.params.preflight)
    document = json.dumps(report.to_json(), indent=1).encode() + b"\n"
    replace_file(serving.settings.home / "serving" / "preflight" / f"{version}.json", document)
    serving.log(f"preflight of {version}: {report.summary()}")
    if not report.passed:
        raise PreflightFailed(
            f"{version} did not pass its preflight: {report.summary()}",
            where=str(bento),
            todo="whatever served keeps serving; correct the cause or the budgets under preflight in params.yaml",
        )
    return report


def _start(serving: Serving, version: str, bento: Path, state: Desired) -> Desired:
    """Start the servers of `version`; if that fails, nothing of it stays."""
    state = serving.desired.save(moves.begin(state, version), f"starting {version}")
    try:
        serving.start(version, bento)
    except GreenlightError:
        serving.desired.save(moves.abandon(state), f"{version} did not start")
        serving.servers.stop(version)
        serving.tell_edge()
        raise
    return state


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - begun, 3)
