"""Preflight: start a built bento by itself and find out whether it answers as its model does.

Golden rows of the holdout must get exactly the offline scores, wrong rows a 4xx that names the field, unseen
categories a score and a count; start, latency and memory must keep their budgets. A "no" is a value: the
report says it.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from greenlight.adapters import keys, model_servers, processes, scratch
from greenlight.adapters.bento import MODEL, SOURCES
from greenlight.adapters.servers import tail
from greenlight.adapters.sockets import UnixHttp, runtime_dir
from greenlight.config import PreflightParams, Settings
from greenlight.operations import probes
from greenlight.operations.probes import Check

SEAL_TIMEOUT_S = 30


@dataclass(frozen=True)
class PreflightReport:
    """What the preflight found.

    Attributes
    ----------
    passed : bool
        Every check passed, and there was at least one.
    checks : tuple[Check, ...]
        In the order they were made.
    """

    passed: bool
    checks: tuple[Check, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}

    def summary(self) -> str:
        """One line: what failed, or the main figures."""
        if self.passed:
            return f"passed, {', '.join(check.short() for check in self.checks)}"
        return "; ".join(check.sentence() for check in self.checks if not check.passed)


def preflight(settings: Settings, bento: Path, params: PreflightParams) -> PreflightReport:
    """Ask a copy of `bento` that nobody else can reach.

    Parameters
    ----------
    bento : Path
        A built bento's folder.
    params : PreflightParams
        The budgets.

    Returns
    -------
    PreflightReport
        Also when the bento does not even start.
    """
    checks: list[Check] = []
    with scratch.work(settings.home, "preflight") as here:
        for check in _run(settings, bento, params, here):
            checks.append(check)
    return PreflightReport(bool(checks) and all(check.passed for check in checks), tuple(checks))


def recheck(sockets: Sequence[Path], bento: Path, sealing: subprocess.Popen[str]) -> PreflightReport:
    """Ask servers that run already, each over its own socket, for the golden rows, and the bento for its signature.

    They checked it when they were started; a file may have been altered, or a key lost its trust, since.

    Parameters
    ----------
    sockets : sequence of Path
        One a process.
    bento : Path
        The bento that they were started from.
    sealing : Popen
        The bento's check of its signature, begun (`greenlight.adapters.model_servers.checking_seal`).

    Returns
    -------
    PreflightReport
        Also when one does not answer.
    """
    checks: list[Check] = []
    for socket in sockets:
        try:
            golden = probes.read_golden(bento / SOURCES / MODEL)
            with UnixHttp(socket, timeout_s=5) as client:
                checks.append(probes.golden_answers(client, golden))
        except (OSError, http.client.HTTPException, ValueError, KeyError) as exc:
            checks.append(Check("answers", repr(exc)[:200], "an answer", False, str(socket)))
    asked = Check("servers_asked", len(checks), len(sockets), bool(checks))
    # Servers that agree are one line; each that does not has its own.
    wrong = [check for check in checks if not check.passed]
    checks = [asked, *(wrong or checks[:1]), _seal(sealing)]
    return PreflightReport(all(check.passed for check in checks), tuple(checks))


def _seal(checking: subprocess.Popen[str]) -> Check:
    try:
        said = checking.communicate(timeout=SEAL_TIMEOUT_S)[0].strip()
    except subprocess.TimeoutExpired:
        said = f"no answer within {SEAL_TIMEOUT_S} s"
    holds = checking.returncode == 0
    return Check("signature", "holds" if holds else said, "holds", holds)


def _run(settings: Settings, bento: Path, params: PreflightParams, here: Path) -> Iterator[Check]:
    log = here / "server.log"
    begun = time.monotonic()
    with _server(settings, bento, here, log) as (process, socket):
        # Somewhat beyond the budget, so that a start that is too slow is told from one that never ends.
        ready = model_servers.wait_ready(socket, params.max_start_s + 10, lambda: process.poll() is None)
        took = time.monotonic() - begun
        yield Check(
            "start_s", round(took, 2), params.max_start_s, ready and took <= params.max_start_s, _why(ready, log)
        )
        if not ready:
            return
        try:
            # Not before it is ready: files that were altered are what the server's own check tells best.
            golden = probes.read_golden(bento / SOURCES / MODEL)
            with UnixHttp(socket, timeout_s=30) as client:
                yield probes.golden_answers(client, golden)
                yield probes.golden_one_by_one(client, golden)
                yield probes.wrong_requests(client, golden)
                yield probes.unseen_categories(client, golden, bento / SOURCES / MODEL)
                yield probes.latency(client, golden, params)
            used = processes.memory_mb(process.pid)
            yield Check("memory_mb", round(used, 1), params.max_memory_mb, used <= params.max_memory_mb)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as exc:
            yield Check("answers", repr(exc)[:200], "an answer", False, f"the server last wrote:\n{tail(log)}")


def _why(ready: bool, log: Path) -> str:
    return "" if ready else f"it never became ready; it last wrote:\n{tail(log)}"


@contextmanager
def _server(settings: Settings, bento: Path, here: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """One process of the bento on a socket of its own; it ends with this process, however that ends."""
    socket = runtime_dir(settings.home) / f"preflight-{os.getpid()}.sock"
    metrics = here / "metrics"
    metrics.mkdir()
    keys.for_servers(settings)
    with log.open("wb") as out:
        process = subprocess.Popen(
            model_servers.command(socket, with_parent=True),
            cwd=bento / SOURCES,
            env={**os.environ, **model_servers.environment(settings.home, metrics)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield process, socket
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        socket.unlink(missing_ok=True)
