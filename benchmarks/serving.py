"""How fast the served bento answers, against ``bentoml serve``; and what a rollback under load costs.

``make bench-serving``. One run measures every contender in turn, several rounds, on the same cores; ratios of one run
are the result, absolute figures belong to the machine. Writes ``benchmarks/results/serving.json``.

Contenders, all with the same model, features and row type:

- ``stock bentoml serve``: a typed synchronous endpoint as BentoML documents it (stock_service.py), its defaults, and
  nothing installed beside its own dependencies, which means uvicorn with asyncio and h11
- the same with uvloop and httptools installed, which uvicorn then takes by itself
- the same with a worker per core
- ``stock bentoml serve, our bento``: our bento under BentoML's defaults and its own dependencies only
- ``bentoml serve, our bento``: our bento under BentoML's defaults, uvloop and httptools installed
- ``greenlight``: our bento as `greenlight up` serves it, through the edge
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import serving_kit as kit  # noqa: E402

from greenlight.adapters import bento, prefect, processes  # noqa: E402
from greenlight.adapters.desired import DesiredState  # noqa: E402
from greenlight.config import Settings  # noqa: E402
from greenlight.operations.release import release  # noqa: E402
from greenlight.operations.serving import Serving  # noqa: E402
from greenlight.wiring import open_project  # noqa: E402

RESULT = HERE / "results" / "serving.json"
LIMITS_S = {"warm": 1.0, "cold": 15.0}
STOCK, FASTER, PER_CORE, SAME_STOCK, SAME_BENTO, OURS = (
    "stock bentoml serve",
    "the same with uvloop and httptools",
    "the same with a worker per core",
    "stock bentoml serve, our bento",
    "bentoml serve, our bento",
    "greenlight",
)


def main() -> None:
    """Measure, print the tables, write the file."""
    parser = argparse.ArgumentParser(description="Requests per second against bentoml serve, and rollback under load.")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rollback-only", action="store_true", help="leave the comparison out; writes no file")
    args = parser.parse_args()
    os.environ.update({"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"})
    with tempfile.TemporaryDirectory(prefix="gl-bench-", ignore_cleanup_errors=True) as folder:
        settings = kit.project(Path(folder) / "project", 2, rounds=200, eta=0.01, depth=6)
        body = Path(folder) / "body.json"
        body.write_text(json.dumps({"rows": kit.requests(1)}))
        with serving(settings):
            release(settings, "v1")
            throughput = {} if args.rollback_only else measure(settings, body, args)
            release(settings, "v2")
            moved = rollbacks(settings, body, args.connections)
    if args.rollback_only:
        print(json.dumps(moved, indent=1))
        return
    write(throughput, moved, args)


def measure(settings: Settings, body: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Every contender in turn, `args.rounds` times."""
    rows = Path(str(body)).read_text()
    same = bento.path_of(kit.DATASET.name, "v1", settings.home)
    with ExitStack() as stack:
        ports: dict[str, tuple[int, list[int]]] = {OURS: (settings.edge_port, serving_pids(settings))}
        sources = same / bento.SOURCES
        stock = ("--working-dir", str(sources), "stock_service:Stock")
        ports[STOCK] = stack.enter_context(bentoml_serve(stock, sources, 1, bare=True))
        ports[FASTER] = stack.enter_context(bentoml_serve(stock, sources, 1))
        ports[PER_CORE] = stack.enter_context(bentoml_serve(stock, sources, os.cpu_count() or 1))
        ports[SAME_STOCK] = stack.enter_context(bentoml_serve((str(same),), sources, 1, bare=True))
        ports[SAME_BENTO] = stack.enter_context(bentoml_serve((str(same),), sources, 1))
        contenders = (STOCK, FASTER, PER_CORE, SAME_STOCK, SAME_BENTO, OURS)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
        for port, _ in ports.values():  # the first requests pay for caches
            run_load(port, body, args.connections, 1.0)
        for _ in range(args.rounds):
            for name in found:
                port, pids = ports[name]
                before = cpu_seconds(pids)
                result = run_load(port, body, args.connections, args.seconds)
                result["cpu_us"] = round((cpu_seconds(pids) - before) / max(result["requests"], 1) * 1e6, 1)
                found[name].append(result)
    if any(r["failed"] for results in found.values() for r in results):
        raise SystemExit(f"requests failed: {found}\nbody: {rows[:300]}")
    keys = ("per_second", "p50_ms", "p99_ms", "cpu_us")
    return {name: {k: statistics.median(r[k] for r in results) for k in keys} for name, results in found.items()}


def rollbacks(settings: Settings, body: Path, connections: int) -> dict[str, Any]:
    """From v2 to v1 by the command line, while v1 is kept warm, and when its servers must start."""
    warm = rollback_under_load(settings, body, connections)
    params = settings.params_file
    params.write_text(params.read_text().replace("keep_warm: 1", "keep_warm: 0"))
    release(settings, "v2")
    cold = rollback_under_load(settings, body, connections)
    return {"warm": warm, "cold": cold}


def rollback_under_load(settings: Settings, body: Path, connections: int) -> dict[str, Any]:
    """Roll back from v2 to v1 while clients keep asking at a steady pace; seconds count from the command's start."""
    command = load_command(settings.edge_port, body, connections, 14.0, "--gap", "0.01", "--raw")
    names = {"root": settings.root, "home": settings.home, "edge_port": settings.edge_port, "workers": settings.workers}
    env = {f"GREENLIGHT_{name.upper()}": str(value) for name, value in names.items()}
    with subprocess.Popen(command, stdout=subprocess.PIPE) as load:
        time.sleep(2)
        asked = time.time()
        done = subprocess.run(
            [sys.executable, "-m", "greenlight.cli", "rollback", "--json"],
            env=os.environ | env,
            capture_output=True,
            text=True,
        )
        ended = time.time()
        output = load.communicate()[0]
    if done.returncode:
        raise SystemExit(done.stderr)
    answers = [tuple(a) for a in json.loads(output)]
    switched = next(
        datetime.fromisoformat(line["at"]).timestamp()
        for line in reversed(DesiredState(settings.home).history())
        if line["reason"] == "traffic to v1"
    )
    old = [at for at, _, _, version in answers if version == "v2"]
    return {
        "requests": len(answers),
        "failed": sum(1 for a in answers if a[2] != 200),
        "asked_to_switched_s": round(switched - asked, 3),
        "asked_to_last_old_answer_s": round(max(old) - asked, 3),
        "asked_to_done_s": round(ended - asked, 3),
        "last_old_answer_ms_after_switch": round((max(old) - switched) * 1000, 1),
        "answers_by_version": {v: sum(1 for a in answers if a[3] == v) for v in ("v1", "v2")},
        "seconds": json.loads(done.stdout)["seconds"],
        "worst_answer_ms": round(max(a[1] for a in answers) * 1000, 1),
    }


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


@contextmanager
def bentoml_serve(
    target: tuple[str, ...], sources: Path, workers: int, *, bare: bool = False
) -> Iterator[tuple[int, list[int]]]:
    """``bentoml serve`` with its defaults: port and processes. `bare`: as if uvloop and httptools were missing."""
    port = kit.free_port()
    paths = [str(sources), str(HERE)]
    if bare:
        hidden = sources.parent / "hidden"
        hidden.mkdir(exist_ok=True)
        for name in ("uvloop", "httptools"):
            (hidden / f"{name}.py").write_text("raise ImportError('not installed, for this measurement')\n")
        paths.insert(0, str(hidden))
    environment = {**os.environ, "STOCK_WORKERS": str(workers), "PYTHONPATH": os.pathsep.join(paths)}
    command = [str(Path(sys.executable).with_name("bentoml")), "serve", *target, "--host", "127.0.0.1"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen([*command, "--port", str(port)], cwd=sources, env=environment, stdout=log, stderr=log)
        try:
            wait(lambda: server.poll() is None and answers(port), f"{' '.join(target)} did not start")
            yield port, [p.pid for p in (psutil.Process(server.pid), *psutil.Process(server.pid).children(True))]
        finally:
            processes.end([psutil.Process(server.pid)], grace_s=10)
            server.wait()


def serving_pids(settings: Settings) -> list[int]:
    """Edge and model servers."""
    states = Serving(open_project(settings)).supervisor.states()
    return [s.pid for s in states if s.pid and (s.name == "edge" or s.name.startswith("model-"))]


def run_load(port: int, body: Path, connections: int, seconds: float) -> dict[str, float]:
    """One round of the load generator."""
    done = subprocess.run(load_command(port, body, connections, seconds), capture_output=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def load_command(port: int, body: Path, connections: int, seconds: float, *more: str) -> list[str]:
    """How the load generator is started."""
    args = ["--port", str(port), "--body", str(body), "--connections", str(connections), "--seconds", str(seconds)]
    return [sys.executable, str(HERE / "load.py"), *args, *more]


def cpu_seconds(pids: list[int]) -> float:
    """Processor time that the processes have used."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(t.user + t.system for t in times)


def answers(port: int) -> bool:
    """Whether the server on `port` is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait(holds: Callable[[], bool], message: str, seconds: float = 60) -> None:
    """Wait until `holds`."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise SystemExit(message)
        time.sleep(0.1)


def write(throughput: dict[str, Any], moved: dict[str, Any], args: argparse.Namespace) -> None:
    """Print both tables and keep the figures."""
    ours = throughput[OURS]["per_second"]
    print(f"\nJSON, one row, {args.connections} connections, median of {args.rounds} rounds of {args.seconds:g} s\n")
    print(f"| {'served by':36} | req/s | p50 ms | p99 ms | CPU us/req | greenlight is |")
    print(f"|{'-' * 38}|------:|-------:|-------:|-----------:|--------------:|")
    for name, r in throughput.items():
        ratio = f"{ours / r['per_second']:.1f} x"
        print(f"| {name:36} | {r['per_second']:5.0f} | {r['p50_ms']:6.2f} | {r['p99_ms']:6.2f} "
              f"| {r['cpu_us']:10.0f} | {ratio:>13} |")  # fmt: skip
    for how, m in moved.items():
        print(f"\nRollback under load, {how}: {m['requests']} requests, {m['failed']} failed; switched "
              f"{m['asked_to_switched_s']} s after the command was given (limit {LIMITS_S[how]:g}); last answer of the "
              f"old version {m['last_old_answer_ms_after_switch']} ms after the switch")  # fmt: skip
    result = {
        "throughput": throughput,
        "ratio": {name: round(ours / r["per_second"], 2) for name, r in throughput.items()},
        "rollback": moved,
        "machine": {"cores": os.cpu_count(), "cpu": cpu_name(), "python": platform.python_version()},
        "settings": vars(args),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {RESULT.relative_to(HERE.parent)}")


def cpu_name() -> str:
    """The processor, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
