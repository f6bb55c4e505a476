"""What a retrain costs beside the bare job, in one run: `make bench-retrain`.

Sets up a checkout of its own with a champion, then runs in turn the bare script (benchmarks/bare.py) and the retrain
flow's tasks from workspace to verdict against a real Prefect server, with DVC's run cache emptied before each, and at
last the flow once more with nothing changed. Ends with a table and ``benchmarks/results/retrain.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenlight.adapters import prefect
from greenlight.adapters.device import processor
from greenlight.config import Settings
from greenlight.operations import retrain
from greenlight.operations.plan import plan
from greenlight.wiring import open_project

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "retrain.json"
CHAMPION, AS_OF = "2013-07", "2013-08"
STEPS = ("workspace", "snapshot", "validate", "featurize", "train", "evaluate", "gate")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="bench-retrain-") as folder:
        checkout = _checkout(Path(folder) / "checkout")
        settings = Settings(root=checkout, prefect_port=_free_port())
        print(f"champion {CHAMPION} ...", flush=True)
        _champion(settings)
        server = _server(settings)
        try:
            result = _measure(settings, rounds)
        finally:
            server.terminate()
            server.wait(30)
    _report(result)


def _checkout(target: Path) -> Path:
    """A repository with this working tree as its only commit."""
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, listing.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for args in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "Start"]):
        subprocess.run(["git", *args], cwd=target, check=True)
    return target


def _champion(settings: Settings) -> None:
    project = open_project(settings)
    run = retrain.begin(project, plan(project, as_of=CHAMPION, device="cpu"))
    for stage in STEPS[1:]:
        run.stage(stage)
    verdict = run.verdict()
    if not verdict.promoted:
        sys.exit(f"no champion to compare with: {verdict.summary()}")
    project.registry.assign(run.register(run.record("Promoted", verdict, {})))
    run.pipeline.close()


def _server(settings: Settings) -> subprocess.Popen[bytes]:
    print("Prefect server ...", flush=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-services"]
    server = subprocess.Popen(
        command, env=_environment(settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=settings.root
    )
    until = time.monotonic() + 120
    while not prefect.is_healthy(settings):
        if time.monotonic() > until or server.poll() is not None:
            sys.exit("the Prefect server did not start")
        time.sleep(0.5)
    return server


def _environment(settings: Settings) -> dict[str, str]:
    env = os.environ | prefect.environment(settings) | {"PYTHONPATH": str(settings.root)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def _measure(settings: Settings, rounds: int) -> dict[str, Any]:
    warm = _flow(settings)  # compiles the modules and leaves a workspace for the bare script
    # A copy: that run comes to no record, so the next one takes its data for what a killed run left.
    workspace = shutil.copytree(warm["workspace"], settings.root.parent / "bare")
    bare, flows = [], []
    for number in range(rounds):
        bare.append(_bare(settings, workspace))
        _forget(settings)
        flows.append(_flow(settings))
        both = flows[-1]["seconds"]["total"], bare[-1]["seconds"]["total"]
        print(f"round {number + 1}: retrain {both[0]:.1f} s, bare {both[1]:.1f} s, ratio {both[0] / both[1]:.2f}")
    unchanged = _flow(settings)
    ratios = [f["seconds"]["total"] / b["seconds"]["total"] for f, b in zip(flows, bare, strict=True)]
    return {
        "command": "make bench-retrain",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "processor": processor(), "python": platform.python_version()},
        "as_of": AS_OF,
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios), "rounds": ratios},
        "bare": _medians([b["seconds"] for b in bare]),
        "retrain": _medians([f["seconds"] for f in flows]),
        "dvc_and_stage": _medians([f["dvc"] for f in flows]),
        "same_decision": len({x["decision"] for x in [*bare, *flows]}) == 1,
        "unchanged": {"executed": unchanged["executed"], "seconds": unchanged["seconds"]["total"]},
    }


def _flow(settings: Settings) -> dict[str, Any]:
    return _json(settings, [sys.executable, "-m", "benchmarks.verdict_flow", AS_OF], settings.root)


def _bare(settings: Settings, workspace: Path) -> dict[str, Any]:
    return _json(settings, [sys.executable, "-m", "benchmarks.bare"], workspace)


def _json(settings: Settings, command: list[str], folder: Path) -> dict[str, Any]:
    env = _environment(settings) | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _forget(settings: Settings) -> None:
    """Empty DVC's memory of what it ran; the files in the cache stay, as they do for any new month."""
    shutil.rmtree(settings.home / "cache" / "runs", ignore_errors=True)


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _report(result: dict[str, Any]) -> None:
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    bare, flow, inner = result["bare"], result["retrain"], result["dvc_and_stage"]
    print(f"\n{'step':<12}{'retrain':>10}{'of which DVC and stage':>25}{'bare':>10}   (median seconds)")
    for step in STEPS:
        cells = [f"{inner[step]:.2f}" if step in inner else "", f"{bare[step]:.2f}" if step in bare else ""]
        print(f"{step:<12}{flow[step]:>10.2f}{cells[0]:>25}{cells[1]:>10}")
    print(f"{'total':<12}{flow['total']:>10.2f}{'':>25}{bare['total']:>10.2f}")
    ratio = result["ratio"]
    print(f"\nretrain / bare: {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}); limit 2.0, aim 1.5")
    print(f"nothing changed: {len(result['unchanged']['executed'])} stages executed", end="")
    print(f" in {result['unchanged']['seconds']:.1f} s; written to {RESULT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
