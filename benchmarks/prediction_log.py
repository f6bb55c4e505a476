"""What keeping predictions costs: ``POST /predict`` in this process, with and without the log.

``make bench-prediction-log``. Requests go straight into the application, so that nothing but the answer is measured: no
socket, no HTTP. Short rounds with and without the log take turns, each with the writing of what it logged at its end;
the smallest CPU time of each kind counts, since what else the machine does can only add to it. Writes
``benchmarks/results/prediction_log.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]
FOLDER = tempfile.TemporaryDirectory(prefix="gl-bench-log-")
# Before prometheus_client is imported: counters in files, as a served version has them.
os.environ.update({"OMP_NUM_THREADS": "1", "PROMETHEUS_MULTIPROC_DIR": FOLDER.name})

import serving_kit as kit  # noqa: E402

from bentos.classifier.api import create_app  # noqa: E402
from bentos.classifier.prediction_log import LogSettings, PredictionLog  # noqa: E402
from greenlight.core.prediction_record import Privacy  # noqa: E402

RESULT = HERE / "results" / "prediction_log.json"
KEY = b"k" * 32
KINDS = {
    "no log": None,
    "all": Privacy(),
    "one private column": Privacy("all", frozenset({"tailnum"}), KEY),
    "hash": Privacy("hash", frozenset(), KEY),
    "none": Privacy("none"),
}
# What the edge sends along.
HEADERS = [
    (b"host", b"127.0.0.1:8700"),
    (b"user-agent", b"client/1.0"),
    (b"accept", b"*/*"),
    (b"content-type", b"application/json"),
    (b"x-forwarded-for", b"127.0.0.1"),
    (b"x-forwarded-proto", b"http"),
    (b"x-request-id", b"b7ec2a54-7a4b-4a35-9f29-2b2c6ea3d0c7"),
]


async def measure(app: Any, rows: int, requests: int, rounds: int) -> dict[str, float]:
    """Smallest CPU microseconds a request, by kind of log."""
    predict = app.state.predict
    body = json.dumps({"rows": kit.requests(rows)}).encode()
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": HEADERS}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(_: Any) -> None:
        return

    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=FOLDER.name) as folder:
        logs = {
            name: PredictionLog(LogSettings(Path(folder) / name, 2**30, privacy), "v1", predict.counters)
            for name, privacy in KINDS.items()
            if privacy
        }
        for turn in range(rounds + 3):
            for name in KINDS:
                predict.log = log = logs.get(name)
                begun = time.process_time()
                for _ in range(requests):
                    await predict(scope, receive, send)
                if log:
                    log.flush()
                took = (time.process_time() - begun) / requests * 1e6
                if turn >= 3:  # the first pay for caches
                    best[name] = min(best.get(name, took), took)
        predict.log = None
        for log in logs.values():
            log.close()
    return best


async def main() -> None:
    """Measure one row and many, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(kit.workspace(Path(folder), kit.small_model(rounds=200, eta=0.02, depth=6)))
        async with app.router.lifespan_context(app):
            found = {}
            for rows, requests in ((1, 50), (1000, 3)):
                times = await measure(app, rows, requests, args.rounds)
                base = times["no log"]
                found[rows] = {n: {"cpu_us": round(t, 1), "times": round(t / base, 3)} for n, t in times.items()}
                for name, one in found[rows].items():
                    print(f"{rows:5} rows  {name:20} {one['cpu_us']:9.1f} us a request  {one['times']:.3f}")
    RESULT.parent.mkdir(exist_ok=True)
    about = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
    RESULT.write_text(json.dumps({"about": about, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
