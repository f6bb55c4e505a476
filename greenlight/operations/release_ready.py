"""Get a version ready: its bento, the preflight, servers that answer as its model does. It has no traffic by that."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from greenlight.adapters import bento as bentos
from greenlight.adapters.desired import replace_file
from greenlight.adapters.model_servers import checking_seal
from greenlight.adapters.registry import Version
from greenlight.core import release as moves
from greenlight.core.release import Desired
from greenlight.errors import GreenlightError, PreflightFailed
from greenlight.operations.preflight import PreflightReport, preflight, recheck
from greenlight.operations.serving import Serving


@contextmanager
def checking_ahead(serving: Serving, target: Version) -> Iterator[subprocess.Popen[str] | None]:
    """The check of the signature of a version on standby, begun before anything else: a process that takes as long as
    all the rest before the switch, and a person waits for it.
    """
    bento = bentos.find(serving.project.params.dataset, target.name, serving.settings.home)
    if bento is None or target.name not in serving.desired.load().standby:
        yield None
        return
    with checking_seal(serving.settings, bento) as sealing:
        yield sealing


def ready(
    serving: Serving,
    target: Version,
    state: Desired,
    sealing: subprocess.Popen[str] | None,
    seconds: dict[str, float],
    begin: Callable[[Desired, str], Desired],
) -> tuple[Desired, Path, PreflightReport]:
    """Servers of the version that answer as its model does: those on standby, or new ones."""
    with timed(seconds, "bento"):
        bento = serving.bento(target)
    if target.name in state.standby:
        report = _recheck(serving, target.name, bento, seconds, sealing)
        if report is not None:
            return state, bento, report
        state = _give_up_standby(serving, target.name, state)
    with timed(seconds, "preflight"):
        report = _require_preflight(serving, target.name, bento)
    with timed(seconds, "start"):
        state = _start(serving, target.name, bento, state, begin)
    return state, bento, report


def _recheck(
    serving: Serving, version: str, bento: Path, seconds: dict[str, float], sealing: subprocess.Popen[str] | None
) -> PreflightReport | None:
    """The report on servers of `version` on standby; None where they have to be started again.

    They passed the whole preflight when they were started, from the files that they were started from. What is asked
    again is whether they still answer exactly as their model does.
    """
    why = "not all of them run" if sealing else "the bento that they were started from was gone"
    if sealing and serving.is_warm(version):
        with timed(seconds, "recheck"):
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


def _start(
    serving: Serving, version: str, bento: Path, state: Desired, begin: Callable[[Desired, str], Desired]
) -> Desired:
    """Start the servers of `version`; if that fails, nothing of it stays."""
    state = serving.desired.save(begin(state, version), f"starting {version}")
    try:
        serving.start(version, bento)
    except GreenlightError:
        serving.desired.save(moves.abandon(state), f"{version} did not start")
        serving.servers.stop(version)
        serving.tell_edge()
        raise
    return state


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note under `name` how long the block took."""
    begun = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - begun, 3)
