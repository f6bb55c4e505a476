"""Whether our load generator decides the figures: the fastest peer asked by it and by wrk, in turn.

Part of ``make bench-serving`` where wrk is installed (Debian's package ``wrk``); wrk speaks TCP only, so the peer does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.peers import launch
from benchmarks.running import run_load

_FOUND = re.compile(r"Requests/sec:\s+([\d.]+)")


def installed() -> bool:
    """Whether there is a wrk to compare with."""
    return shutil.which("wrk") is not None


def shares(sources: Path, port: int, body: Path, connections: int, seconds: float, rounds: int) -> list[float]:
    """Requests a second of raw ASGI with our load generator, divided by those with wrk, round by round.

    Parameters
    ----------
    body : Path
        File with JSON bodies, one a line; both ask the first one again and again.
    """
    one = body.with_name("wrk.json")
    one.write_bytes(body.read_bytes().splitlines()[0])
    script = body.with_name("wrk.lua")
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = [[{one.read_text()}]]\n'
    )
    found = []
    with launch.uvicorn("raw_asgi", tcp=True)(sources, port) as served:
        run_load(served.target, served.talk.path, one, connections, 0.5)
        for _ in range(rounds):
            mine = run_load(served.target, served.talk.path, one, connections, seconds)["per_second"]
            found.append(mine / _wrk(served.target + served.talk.path, script, connections, seconds))
    return found


def _wrk(address: str, script: Path, connections: int, seconds: float) -> float:
    asked = ["-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "-s", str(script)]
    done = subprocess.run(["wrk", *asked, f"http://{address}"], capture_output=True, text=True, check=True)
    rate = _FOUND.search(done.stdout)
    if rate is None or "Non-2xx" in done.stdout:
        raise SystemExit(f"wrk could not measure: {done.stdout}{done.stderr}")
    return float(rate.group(1))
