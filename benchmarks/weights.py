"""How soon a change of weights holds, and whether a request is lost by it.

``make bench-weights``. The real edge with two small servers behind it, clients that never stop asking; the whole
traffic moves to and fro. Measured from the call: until Envoy says that it does so, and until the last answer of the
version that it was taken from. Writes ``benchmarks/results/weights.json``; exit status 1 beyond 50 ms at the median or
with any request lost.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

from edge_kit import World, world  # noqa: E402

from greenlight.core.rollout import Traffic  # noqa: E402

RESULT = HERE / "results" / "weights.json"
LIMIT_MS = 50.0


class Client(threading.Thread):
    """Asks again as soon as it has its answer; notes when each request was sent and who answered."""

    def __init__(self, port: int, end: threading.Event) -> None:
        super().__init__(daemon=True)
        self._port, self._end = port, end
        self.answers: list[tuple[float, str]] = []
        self.lost: list[str] = []

    def run(self) -> None:
        """Until it is told to end."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._end.is_set():
            try:
                sent = time.monotonic()
                connection.request("POST", "/predict", b"{}")
                reply = connection.getresponse()
                reply.read()
                if reply.status == 200:
                    self.answers.append((sent, reply.headers["x-model-version"]))
                else:
                    self.lost.append(str(reply.status))
            except (OSError, http.client.HTTPException) as exc:
                self.lost.append(repr(exc))
                connection.close()


def measure(place: World, changes: int, clients: int) -> dict[str, Any]:
    """Move everything to and fro `changes` times."""
    end, said, last = threading.Event(), [], []
    asking = [Client(place.edge.paths.port, end) for _ in range(clients)]
    weights = [10_000 if number % 2 == 0 else 0 for number in range(changes)]
    place.edge.set_traffic(Traffic("v1", "v2"))
    for client in asking:
        client.start()
    moments: list[tuple[float, float, str]] = []
    for weight in weights:
        time.sleep(0.25)
        begun = time.monotonic()
        place.edge.set_traffic(Traffic("v1", "v2", weight))
        moments.append((begun, time.monotonic(), "v1" if weight else "v2"))
    time.sleep(0.25)
    end.set()
    for client in asking:
        client.join(20)
    answers = sorted(answer for client in asking for answer in client.answers)
    for (begun, acknowledged, old), (until, _, _) in zip(moments, [*moments[1:], (float("inf"), 0.0, "")], strict=True):
        said.append((acknowledged - begun) * 1000)
        late = [sent for sent, version in answers if begun <= sent < until and version == old]
        last.append((max(late) - begun) * 1000 if late else 0.0)
    return {
        "changes": changes,
        "clients": clients,
        "requests": len(answers),
        "lost": [why for client in asking for why in client.lost],
        "acknowledged_ms": _summary(said),
        "last_old_ms": _summary(last),
    }


def _summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 2),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 2),
        "max": round(ordered[-1], 2),
    }


def main() -> None:
    """Measure, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changes", type=int, default=60)
    parser.add_argument("--clients", type=int, default=3)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="gl-bench-") as folder,
        world(Path(folder), "v1", "v2", releases=[("v2", "v1")]) as place,
    ):
        found = measure(place, args.changes, args.clients)
    print(json.dumps(found, indent=1))
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(1 if found["lost"] or found["last_old_ms"]["median"] > LIMIT_MS else 0)


if __name__ == "__main__":
    main()
