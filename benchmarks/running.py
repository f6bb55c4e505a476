"""What benchmarks of servers share: the serving half of the stack, the load generator, processor time and memory."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from greenlight.adapters import prefect
from greenlight.config import Settings
from greenlight.operations.serving import Serving
from greenlight.wiring import open_project

HERE = Path(__file__).resolve().parent


@contextmanager
def serving(settings: Settings) -> Iterator[None]:
    """The serving half of the stack: supervisor, edge and model servers, without Prefect."""
    half = Serving(open_project(settings))
    half.supervisor.start(prefect.environment(settings))
    try:
        half.edge_up()
        yield
    finally:
        half.supervisor.stop()


def run_load(target: str, path: str, body: Path, connections: int, seconds: float) -> dict[str, float]:
    """One round of the load generator."""
    command = load_command(target, body, connections, seconds, "--path", path)
    done = subprocess.run(command, capture_output=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def load_command(target: str, body: Path, connections: int, seconds: float, *more: str) -> list[str]:
    """How the load generator is started; `target` is ``host:port`` or the path of a unix socket."""
    host, _, port = target.rpartition(":")
    where = ["--socket", target] if target.startswith("/") else ["--host", host, "--port", port]
    args = ["--body", str(body), "--connections", str(connections), "--seconds", str(seconds)]
    return [sys.executable, str(HERE / "load.py"), *where, *args, *more]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time that the processes have used."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(t.user + t.system for t in times)


def memory_mb(pid: int) -> dict[str, float]:
    """Memory of a process: its own pages (USS), with its share of shared ones (PSS), all that it sees (RSS)."""
    found = psutil.Process(pid).memory_full_info()
    return {f"{name}_mb": round(getattr(found, name) / 2**20, 1) for name in ("uss", "pss", "rss")}


def cpu_name() -> str:
    """The processor, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
