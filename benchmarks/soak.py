"""An hour of steady load: does anything grow that should not, is anything answered that must not be?

``python -m benchmarks.soak --minutes 60`` (``make soak``). Two real stacks at the same time, each a supervisor, an edge
and model servers with prediction log and labels: one with the response cache, one without. Clients ask everything that
there is to ask, right and wrong (`benchmarks.soak_load`). Memory of every process (resident, and of it what is its
own) and what lies on the disk are looked at every ten seconds.

Writes ``benchmarks/results/soak.json``; exit status 1 if there was an answer of 500 or above, a request without an
answer, a process that ended, a prediction log beyond its limit, or a process that grew by more than `GROWTH_MB` after
the warm-up. What leaks less than that in the time is not seen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import serving_kit as kit  # noqa: E402

from benchmarks.running import serving  # noqa: E402
from benchmarks.soak_load import Clients  # noqa: E402
from greenlight.config import Settings  # noqa: E402
from greenlight.operations.release import release  # noqa: E402
from greenlight.operations.serving import Serving  # noqa: E402
from greenlight.wiring import open_project  # noqa: E402

RESULT = HERE / "results" / "soak.json"
GROWTH_MB = 16.0
LOG_LIMIT_MB = 64  # the least that can be set, so that it is reached
CACHE_ROWS = 5000
MB = 2**20


class Place:
    """One stack, its clients, and what was seen of it."""

    def __init__(self, name: str, settings: Settings, rate: float, seed: int) -> None:
        self.name, self.settings = name, settings
        serving = Serving(open_project(settings))
        pids = {state.name: state.pid for state in serving.supervisor.states()}
        pids["supervisor"] = int(serving.supervisor.pid_file.read_text())
        self.processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self.clients = Clients(settings.edge_port, rate, settings.home / "wrong.txt", seed=seed)
        self.samples: list[dict[str, Any]] = []
        self.ended: list[str] = []

    def sample(self, minute: float) -> dict[str, Any]:
        """Memory and disk now, in MB."""
        resident, own, tables = {}, {}, 0.0
        for name, process in self.processes.items():
            try:
                memory = process.memory_full_info()
                resident[name], own[name] = memory.rss / MB, memory.uss / MB
                if name.startswith("model-"):
                    tables += sum(child.memory_info().rss for child in process.children()) / MB
            except psutil.NoSuchProcess:
                if name not in self.ended and process not in psutil.process_iter():
                    self.ended.append(name)
        found = {"minute": round(minute, 3), "resident": _rounded(resident), "own": _rounded(own)}
        found |= {"tables": round(tables, 2), "disk": _rounded(self._disk()), "requests": self.clients.requests}
        self.samples.append(found)
        return found

    def _disk(self) -> dict[str, float]:
        home = self.settings.home
        sizes = {name: _size(home / name) for name in ("predictions", "labels", "logs", "serving", "tmp")}
        return sizes | {"all": _size(home)}

    def result(self, warm_up_min: float) -> dict[str, Any]:
        """What is kept of it: growth after the warm-up, answers by kind, what was wrong."""
        after = [s for s in self.samples if s["minute"] >= warm_up_min]
        minutes = [s["minute"] for s in after]
        memory: dict[str, Any] = {}
        for name in self.processes:
            for kind in ("resident", "own"):
                values = [s[kind][name] for s in after if name in s[kind]]
                if len(values) >= 10:
                    memory.setdefault(name, {})[kind] = grown(minutes[: len(values)], values)
        disk = {name: grown(minutes, [s["disk"][name] for s in after]) for name in after[0]["disk"]} if after else {}
        answers: dict[str, dict[str, int]] = {}
        for (kind, status), count in sorted(self.clients.statuses.items()):
            answers.setdefault(kind, {})[str(status)] = count
        return {
            "requests": self.clients.requests, "left_before_the_answer": self.clients.left,
            "slowest_answer_s": round(self.clients.slowest_s, 2), "wrong": self.clients.wrong[:20],
            "wrong_count": len(self.clients.wrong), "ended": self.ended, "memory_mb": memory,
            "tables_largest_mb": max((s["tables"] for s in self.samples), default=0.0),
            "disk_mb": disk, "answers": answers, "samples": self.samples[:: max(1, len(self.samples) // 60)],
        }  # fmt: skip

    def problems(self, found: dict[str, Any]) -> Iterator[str]:
        """What must not be."""
        if found["wrong_count"]:
            yield f"{found['wrong_count']} requests failed, the first: {found['wrong'][0]}"
        for name in self.ended:
            yield f"{name} ended"
        for name, kinds in found["memory_mb"].items():
            if kinds["own"]["growth"] > GROWTH_MB:
                yield f"{name} grew by {kinds['own']['growth']:.1f} MB, limit {GROWTH_MB:g}"
        largest = max((s["disk"]["predictions"] for s in self.samples), default=0.0)
        if largest > LOG_LIMIT_MB:
            yield f"the prediction log took {largest:.1f} MB, limit {LOG_LIMIT_MB}"


def grown(minutes: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Slope per hour by least squares, the largest, and the last sixth's median less the first's."""
    part = max(1, len(values) // 6)
    first, last = statistics.median(values[:part]), statistics.median(values[-part:])
    slope = statistics.linear_regression(minutes, values).slope * 60 if len(set(minutes)) > 1 else 0.0
    return _rounded({"first": first, "last": last, "growth": last - first, "per_hour": slope, "largest": max(values)})


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in values.items()}


def _size(folder: Path) -> float:
    total = 0
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
        except OSError:
            continue  # deleted meanwhile
        total += status.st_blocks * 512
    return total / MB


@contextmanager
def stack(settings: Settings) -> Iterator[None]:
    """The serving half of a stack with v1 live."""
    with serving(settings):
        release(settings, "v1")
        yield


def soak(folder: Path, minutes: float, rate: float, every_s: float, workers: int) -> dict[str, Any]:
    """Ask for so long; returns what is written."""
    warm_up = minutes / 6
    first = kit.project(folder / "without" / "project", 1, rounds=100, depth=6, workers=workers,
                        prediction_log_mb=LOG_LIMIT_MB)  # fmt: skip
    second = kit.project(folder / "with" / "project", 1, bentos=first.home, workers=workers,
                         prediction_log_mb=LOG_LIMIT_MB, response_cache_rows=CACHE_ROWS)  # fmt: skip
    with ExitStack() as opened:
        places = []
        for number, (name, settings) in enumerate({"no cache": first, "cache": second}.items(), 1):
            opened.enter_context(stack(settings))
            places.append(Place(name, settings, rate / 2, number))
        for place in places:
            opened.enter_context(place.clients)
        watch(places, minutes, every_s)
    found = {place.name: place.result(warm_up) for place in places}
    problems = [f"{place.name}: {what}" for place in places for what in place.problems(found[place.name])]
    about = {"minutes": minutes, "warm_up_minutes": warm_up, "rate": rate, "workers": workers}
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    return {"about": about | machine, "problems": problems, "places": found}


def watch(places: Sequence[Place], minutes: float, every_s: float) -> None:
    """Look every so often, and say how it is once a minute."""
    begun = time.monotonic()
    said = 0.0
    while (gone := time.monotonic() - begun) < minutes * 60:
        for place in places:
            found = place.sample(gone / 60)
            if gone >= said:
                print(f"{gone / 60:5.1f} min  {place.name:8}  {found['requests']:7} answered, "
                      f"{len(place.clients.wrong)} wrong; MB {found['own']}, tables {found['tables']:.0f}, "
                      f"disk {found['disk']}", flush=True)  # fmt: skip
        if gone >= said:
            said = gone + 60
        time.sleep(max(0.0, every_s - (time.monotonic() - begun - gone)))


def main() -> int:
    """Soak, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=50, help="requests a second, both stacks together")
    parser.add_argument("--every", type=float, default=10, help="seconds between two looks")
    parser.add_argument("--workers", type=int, default=1, help="server processes of each stack")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gl-soak-", ignore_cleanup_errors=True) as folder:
        found = soak(Path(folder), args.minutes, args.rate, args.every, args.workers)
    for name, place in found["places"].items():
        print(f"\n{name}: {place['requests']} answered, slowest {place['slowest_answer_s']} s, "
              f"{place['wrong_count']} failed, {place['left_before_the_answer']} left by their client")  # fmt: skip
        print(
            "| process | own MB, first | last | per hour | largest | resident, largest |\n"
            "|---|---:|---:|---:|---:|---:|"
        )
        for process, kinds in place["memory_mb"].items():
            own = kinds["own"]
            print(f"| {process} | {own['first']} | {own['last']} | {own['per_hour']:+} | {own['largest']} "
                  f"| {kinds['resident']['largest']} |")  # fmt: skip
        print(f"disk: {json.dumps(place['disk_mb'])}")
    print("\n".join(found["problems"]) or "\nnothing grew, nothing failed")
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
