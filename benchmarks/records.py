"""What recording a run costs, and whether it or the lists grow with the number of runs.

``make bench-records``. In a repository of its own: whole retrains of the example, timed step by step, then earlier runs
are added as Git would hold them (one commit and one ref each, every tenth a version and a release) until there are 10,
100 and 1,000, and at each number a run is recorded and registered, and ``greenlight runs`` and ``greenlight show`` are
called as a person does. Ratios of one run count. Writes ``benchmarks/results/records.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import retrain_kit as kit  # noqa: E402
from conftest import copy_checkout  # noqa: E402

from greenlight.config import Settings  # noqa: E402
from greenlight.core import periods  # noqa: E402
from greenlight.operations import plan as plans  # noqa: E402
from greenlight.operations import retrain as operation  # noqa: E402
from greenlight.wiring import open_project  # noqa: E402

RESULT = HERE / "results" / "records.json"
STAGES = ("snapshot", "validate", "featurize", "train", "evaluate", "gate")
NUMBERS = (10, 100, 1000)
MAX_SHARE = 0.10
MAX_LIST_S = 2.0


def main() -> None:
    """Measure, print the tables, write the file."""
    parser = argparse.ArgumentParser(description="The cost of recording a run, and of many recorded runs.")
    parser.add_argument("--rounds", type=int, default=3, help="whole retrains, and records at each number of runs")
    args = parser.parse_args()
    os.environ.update({"DO_NOT_TRACK": "1", "DVC_NO_ANALYTICS": "true", "OMP_WAIT_POLICY": "PASSIVE"})
    with tempfile.TemporaryDirectory(prefix="gl-bench-", ignore_cleanup_errors=True) as folder:
        root = _checkout(Path(folder) / "project")
        whole = [retrain(root, periods.shift("2013-07", i)) for i in range(args.rounds)]
        at = {}
        for number in NUMBERS:
            add_runs(root, number)
            at[str(number)] = measure(root, number, args.rounds)
    write(whole, at)


def _checkout(root: Path) -> Path:
    copy_checkout(root)
    kit.change(root, {"train.device": "cpu"})
    kit.git(root, "-c", "user.name=Bench", "-c", "user.email=bench@example.com", "commit", "-qam", "On the CPU")
    return root


def retrain(root: Path, as_of: str) -> dict[str, float]:
    """Seconds of a retrain from plan to version: ``work`` up to the verdict, ``record`` and ``register`` after it."""
    project = open_project(Settings(root=root))
    begun = time.perf_counter()
    run = operation.begin(project, plans.plan(project, as_of=as_of))
    for stage in STAGES:
        run.stage(stage)
    verdict = run.verdict()
    worked = time.perf_counter()
    commit = run.record(kit.OUTCOMES[verdict.decision], verdict, {"trigger": "benchmark"})
    recorded = time.perf_counter()
    run.register(commit)
    registered = time.perf_counter()
    return {"work": worked - begun, "record": recorded - worked, "register": registered - recorded}


def measure(root: Path, number: int, rounds: int) -> dict[str, Any]:
    """Record and register at this number of runs (the stages come from the cache), and list them."""
    again = [retrain(root, periods.shift("2013-07", i)) for i in range(rounds)]
    name = next(iter(listed(root)))["name"]
    return {
        "runs": len(listed(root)),
        "wanted": number,
        "record": statistics.median(r["record"] for r in again),
        "register": statistics.median(r["register"] for r in again),
        "runs_s": statistics.median(command(root, "runs", "--json")[0] for _ in range(rounds)),
        "show_s": statistics.median(command(root, "show", name, "--json")[0] for _ in range(rounds)),
    }


def listed(root: Path) -> list[dict[str, Any]]:
    """What ``greenlight runs`` lists."""
    found: list[dict[str, Any]] = json.loads(command(root, "runs", "--json")[1])
    return found


def command(root: Path, *args: str) -> tuple[float, str]:
    """Seconds and answer of a command, its start included."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "greenlight.cli", *args],
        env=os.environ | {"GREENLIGHT_ROOT": str(root)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - begun, done.stdout


def add_runs(root: Path, number: int) -> None:
    """Have `number` runs, by commits like the last real run's under other names; every tenth served once."""
    project = open_project(Settings(root=root))
    model = project.registry.versions()[-1]
    facts = json.loads(project.repository.read(model.commit, project.params.paths.run) or b"{}")
    have = len(listed(root))
    versions = len(project.registry.versions())
    served = len(project.registry.history())
    stream: list[bytes] = []
    for i in range(have, number):
        name = f"2013-07-{i:06x}"
        moment = f"2013-08-01T{i // 60 % 24:02}:{i % 60:02}:00+00:00"
        document = json.dumps(facts | {"name": name, "created": moment, "recorded": moment})
        stream.append(_commit(name, model.commit, project.params.paths.run, document, mark=i + 1))
        if i % 10 == 0:
            versions, served = versions + 1, served + 1
            stream.append(_tag(f"{project.registry.model}@v{versions}.0.0", i + 1, f"run {name}"))
            stream.append(_tag(f"{project.registry.model}#prod#{served}", i + 1, f"v{versions} serves"))
    subprocess.run(["git", "fast-import", "--quiet"], cwd=root, input=b"".join(stream), check=True)
    if len(listed(root)) != number:
        raise SystemExit(f"{len(listed(root))} runs are listed, {number} were made")


def _commit(name: str, parent: str, path: str, content: str, mark: int) -> bytes:
    """A run's commit as `git fast-import` reads it."""
    ref = f"refs/exps/{parent[:2]}/{parent[2:]}/{name}"
    body = content.encode()
    head = f"commit {ref}\nmark :{mark}\ncommitter Bench <bench@example.com> {1_380_000_000 + mark} +0000\n"
    return (
        head.encode()
        + _data(f"run {name}".encode())
        + f"from {parent}\nM 100644 inline {path}\n".encode()
        + _data(body)
    )


def _tag(name: str, mark: int, message: str) -> bytes:
    head = f"tag {name}\nfrom :{mark}\ntagger Bench <bench@example.com> {1_380_000_000 + mark} +0000\n"
    return head.encode() + _data(message.encode())


def _data(content: bytes) -> bytes:
    return f"data {len(content)}\n".encode() + content + b"\n"


def write(whole: list[dict[str, float]], at: dict[str, dict[str, Any]]) -> None:
    """Print the tables and keep the figures."""
    share = [(r["record"] + r["register"]) / r["work"] for r in whole]
    middle = statistics.median(share)
    print(f"\nA whole retrain: record and register add {middle:.1%} ({min(share):.1%} to {max(share):.1%} "
          f"over {len(share)} rounds; limit {MAX_SHARE:.0%})\n")  # fmt: skip
    first = next(iter(at.values()))
    print("| runs | record s | register s | as at 10 | greenlight runs s | greenlight show s |")
    print("|-----:|---------:|-----------:|---------:|------------------:|------------------:|")
    for number, m in at.items():
        ratio = (m["record"] + m["register"]) / (first["record"] + first["register"])
        print(f"| {number:>4} | {m['record']:8.2f} | {m['register']:10.2f} | {ratio:6.2f} x | {m['runs_s']:17.2f} "
              f"| {m['show_s']:17.2f} |")  # fmt: skip
    result = {"whole": whole, "share": middle, "at": at, "limits": {"share": MAX_SHARE, "list_s": MAX_LIST_S}}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten: {RESULT.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
