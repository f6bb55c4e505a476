"""What ``POST /labels`` takes: one label a request, at 1 and 8 connections, by 1 and 2 server processes.

``make bench-labels``. Clients keep their connections and send the next request when the last one was answered, each
label a new one; a request is answered when its label is on the disk. Beside it what the disk takes for the same: 4 kB
appended to a file and synced. Writes ``benchmarks/results/labels.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import serving_kit as kit  # noqa: E402

from greenlight.adapters import model_servers  # noqa: E402
from greenlight.adapters.sockets import UnixHttp  # noqa: E402

RESULT = HERE / "results" / "labels.json"
JSON = {"content-type": "application/json"}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gl-labels-") as folder, ExitStack() as stack:
        where = Path(folder)
        sockets = _serve(where, 2, stack)
        measured = []
        for processes in (1, 2):
            for connections in (1, 8):
                one = _measure(sockets[:processes], connections, args.seconds)
                measured.append({"processes": processes, "connections": connections} | one)
        kept = _kept(where / "labels")
        answered = sum(one["requests"] for one in measured)
        assert kept == answered, f"{kept} labels are kept, {answered} were acknowledged"
        report = {"machine": _machine(), "sync_4kb_ms_p50": _sync(where), "labels": measured}
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    args.out.write_text(json.dumps(report, indent=1) + "\n")


def _serve(folder: Path, processes: int, stack: ExitStack) -> list[Path]:
    home = folder / "home"
    bento = kit.build(folder, home, "v1", 1)
    metrics = home / "metrics"
    metrics.mkdir()
    sockets = [folder / f"{number}.sock" for number in range(processes)]
    env = os.environ | model_servers.environment(home, metrics) | {"GREENLIGHT_LABELS_FOLDER": str(folder / "labels")}
    for socket in sockets:
        command = model_servers.command(socket, with_parent=True)
        process = subprocess.Popen(command, cwd=bento / "src", env=env, stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        assert model_servers.wait_ready(socket, 60, lambda process=process: process.poll() is None)
    return sockets


def _measure(sockets: list[Path], connections: int, seconds: float) -> dict[str, Any]:
    took: list[float] = []
    until = time.monotonic() + seconds

    def client(socket: Path) -> None:
        with UnixHttp(socket) as http:
            while time.monotonic() < until:
                label = {"prediction_id": f"{uuid.uuid4().hex}-0", "label": True}
                body = json.dumps({"labels": [label]}).encode()
                begun = time.perf_counter()
                answer = http.request("POST", "/labels", body, JSON)
                took.append(time.perf_counter() - begun)
                assert (answer.status, answer.json()["accepted"]) == (200, 1), answer.body

    threads = [threading.Thread(target=client, args=[sockets[i % len(sockets)]]) for i in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    parts = quantiles([one * 1000 for one in took], n=100)
    return {
        "requests": len(took),
        "per_second": round(len(took) / seconds),
        "ms_p50": round(parts[49], 2),
        "ms_p99": round(parts[98], 2),
    }


def _kept(folder: Path) -> int:
    import sqlite3

    with sqlite3.connect(folder / "labels.sqlite") as connection:
        return int(connection.execute("SELECT count(*) FROM labels").fetchone()[0])


def _sync(folder: Path) -> float:
    took = []
    with (folder / "probe").open("wb") as file:
        for _ in range(200):
            begun = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - begun)
    return round(sorted(took)[100] * 1000, 2)


def _machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "python": sys.version.split()[0]}


if __name__ == "__main__":
    main()
