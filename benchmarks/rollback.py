"""What a rollback costs under load: ``make bench-rollback``.

`greenlight rollback` from the command line, while clients ask at a steady pace, once with the older version's servers
kept warm and once when they must start. Writes ``benchmarks/results/rollback.json``; exit status 1 when a request
failed or a limit was passed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import serving_kit as kit  # noqa: E402

from benchmarks.running import cpu_name, load_command, serving  # noqa: E402
from greenlight.adapters.desired import DesiredState  # noqa: E402
from greenlight.config import Settings  # noqa: E402
from greenlight.operations.release import release  # noqa: E402

RESULT = HERE / "results" / "rollback.json"
LIMITS_S = {"warm": 1.0, "cold": 15.0}


def main() -> None:
    """Measure, print, write the file."""
    parser = argparse.ArgumentParser(description="Rollback under load.")
    parser.add_argument("--connections", type=int, default=8)
    args = parser.parse_args()
    os.environ.update({"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"})
    with tempfile.TemporaryDirectory(prefix="gl-bench-", ignore_cleanup_errors=True) as folder:
        settings = kit.project(Path(folder) / "project", 2, rounds=200, eta=0.01, depth=6)
        body = Path(folder) / "body.json"
        body.write_text(json.dumps({"rows": kit.requests(1)}))
        with serving(settings):
            release(settings, "v1")
            release(settings, "v2")
            moved = rollbacks(settings, body, args.connections)
    for how, m in moved.items():
        print(f"Rollback under load, {how}: {m['requests']} requests, {m['failed']} failed; switched "
              f"{m['asked_to_switched_s']} s after the command was given (limit {LIMITS_S[how]:g}); last answer of the "
              f"old version {m['last_old_answer_ms_after_switch']} ms after the switch")  # fmt: skip
    machine = {"cores": os.cpu_count(), "cpu": cpu_name(), "python": platform.python_version()}
    RESULT.write_text(json.dumps({"rollback": moved, "machine": machine, "settings": vars(args)}, indent=1) + "\n")
    print(f"written: {RESULT.relative_to(HERE.parent)}")
    late = any(m["asked_to_switched_s"] > LIMITS_S[how] for how, m in moved.items())
    sys.exit(1 if late or any(m["failed"] for m in moved.values()) else 0)


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
    command = load_command(f"127.0.0.1:{settings.edge_port}", body, connections, 14.0, "--gap", "0.01", "--raw")
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


if __name__ == "__main__":
    main()
