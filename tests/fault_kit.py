"""What a bad version does to real requests, and what happens to processes while a release is under way.

A fault is a line put into a bento's own code that does nothing until a file is there, or nothing in a preflight; so the
version passes that, as one does whose fault shows only in production.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import serving_kit as kit
import yaml
from stack_kit import Load, Stack

from greenlight.adapters import bento
from greenlight.adapters.waiting import wait_until
from greenlight.config import Settings

QUICK: dict[str, Any] = {
    "strategy": "plan", "plan": ["shadow", "canary", "full"], "look_s": 0.2, "patience_s": 30, "drain_s": 2,
    # Models of other seeds differ in far more decisions than a retrained one does.
    "shadow": {"min_requests": 50, "min_seconds": 1, "max_flips": 0.95, "max_far": 0.95, "max_slice_flips": None},
    "canary": {"percent": [5, 50, 100], "min_requests": 30, "min_seconds": 1},
    "guard": {"max_failures": 0.02, "max_slow": 0.2, "min_requests": 200},
}  # fmt: skip
RELEASE = """
import sys; from greenlight.config import Settings; from greenlight.errors import GreenlightError
from greenlight.operations.release import release
settings = Settings(root=sys.argv[1], edge_port=int(sys.argv[2]), workers=2)
try:
    print(release(settings, sys.argv[3], strategy=sys.argv[4]).outcome)
except GreenlightError as exc:
    print("refused:", exc)
"""
SCORER, SERVER = "src/bentos/classifier/scorer.py", "src/bentos/classifier/server.py"
IN_TURN = 'in this turn of the event loop."""\n'
COUNTED = "globals().update(n=globals().get('n', 0) + 1); globals()['n'] > {n} and __import__('os')._exit(7)"


@dataclass(frozen=True)
class Fault:
    """One way in which a version is bad, or none.

    Attributes
    ----------
    line : str
        What its server does on each request; ``{s}`` stands for nine times the stable version's median in seconds.
    ends : str
        How its release must end.
    strategy : str
    needs : int
        Requests that the candidate must have had before it may be promoted.
    at_start : bool
        The line is executed when a server that keeps predictions starts, which one in a preflight does not.
    """

    line: str = ""
    ends: str = "rolled_back"
    strategy: str = ""
    needs: int = 200
    at_start: bool = False


FAULTS = {
    "healthy, all at once": Fault(ends="promoted", strategy="full"),
    "healthy": Fault(ends="promoted"),
    "returns errors": Fault('raise RuntimeError("spilled coffee")'),
    "answers NaN": Fault('return Scored([float("nan")] * len(rows), [False] * len(rows))'),
    "hangs": Fault("await asyncio.sleep(60)"),
    "is 10 times slower": Fault("await asyncio.sleep({s})"),
    "crashes at start": Fault("__import__('os')._exit(7)", ends="refused", at_start=True),
    "crashes after 50 requests": Fault(COUNTED.format(n=50)),
    "crashes after 1,000 requests": Fault(COUNTED.format(n=1000), needs=20_000),
}


@dataclass
class Seen:
    """What happened: how it ended, what it said, seconds from the fault to the end, answers and failures."""

    ends: str
    said: str
    seconds: float
    requests: int
    failed: int
    failures: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)


def make_quick(up: Stack, **guard: Any) -> None:
    """Releases of this stack take seconds."""
    params = yaml.safe_load(up.settings.params_file.read_text())
    params["release"] |= QUICK | {"guard": QUICK["guard"] | guard}
    up.settings.params_file.write_text(yaml.safe_dump(params))


def spoil(up: Stack, version: str, fault: Fault, slow_s: float = 0.0) -> Path:
    """Put the fault into the bento of `version`; returns the file that lets it out."""
    flag = up.settings.home / f"{version}.broken"
    folder = bento.path_of("flight_delay", version, up.settings.home)
    if fault.at_start:
        code = folder / SERVER
        text, at = code.read_text(), "\ndef "
        line = f"\nif __import__('os').environ.get('GREENLIGHT_PREDICTION_FOLDER'):\n    {fault.line}\n\n"
        code.write_text(text.replace(at, line + at, 1))
    elif fault.line:
        code = folder / SCORER
        text = code.read_text()
        assert IN_TURN in text
        does = fault.line.replace("{s}", repr(slow_s))
        line = f"        if __import__('os').path.exists({str(flag)!r}):\n            {does}\n"
        code.write_text(text.replace(IN_TURN, IN_TURN + line, 1))
    return flag


def median_s(up: Stack, seconds: float = 3.0) -> float:
    """The stable version's median as a client sees it, under the load of the faults."""
    with Load(up.settings) as load:
        time.sleep(seconds)
    return statistics.median(load.seconds)


def driver(up: Stack, version: str, strategy: str = "") -> subprocess.Popen[str]:
    """A release in a process of its own."""
    command = [sys.executable, "-c", RELEASE, str(up.settings.root), str(up.settings.edge_port), version, strategy]
    return subprocess.Popen(command, cwd=kit.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_canary(up: Stack) -> bool:
    """Whether a release is at one of its canary steps."""
    rollout = up.serving.desired.load().rollout
    return bool(rollout and rollout.warm and rollout.current.kind == "canary")


def play(up: Stack, fault: Fault, version: str = "v2") -> Seen:
    """Release a version with this fault under load that never stops, and wait for the end."""
    make_quick(up, min_requests=fault.needs)
    slow_s = 9 * median_s(up) if "{s}" in fault.line else 0.0
    flag = spoil(up, version, fault, slow_s)
    with Load(up.settings) as load:
        process = driver(up, version, fault.strategy)
        begun = time.monotonic()
        if fault.ends == "rolled_back":
            assert wait_until(lambda: up.serving.desired.load().candidate == version, 120, 0.05), process.poll()
            flag.touch()
            begun = time.monotonic()
        out, err = process.communicate(timeout=600)
        seconds = time.monotonic() - begun
        time.sleep(0.5)
    ends, _, said = out.strip().partition(":")
    last = up.serving.desired.load().last
    said = said.strip() or (last.reason if last else "") or err[-500:]
    more = {"slow_s": round(slow_s, 4)} if slow_s else {}
    return Seen(ends, said, round(seconds, 1), len(load.answers), len(load.failures), load.failures[:5], more)


# What is killed while a release is under way: from the stack to a process's id.
VICTIMS: dict[str, Callable[[Stack], int]] = {
    "the edge": lambda up: up.serving.supervisor.state("edge").pid,
    "a server of the stable version": lambda up: up.serving.supervisor.state("model-v1-1").pid,
    "a server of the candidate": lambda up: up.serving.supervisor.state("model-v2-1").pid,
    "the supervisor": lambda up: int(up.serving.supervisor.pid_file.read_text()),
}

# What a candidate's dead server fails to answer counts against it, though no user sees it: too much, and it is rolled
# back.
MAY_ROLL_BACK = "a server of the candidate"


def kill_during_release(up: Stack, victim: str, version: str = "v2") -> Seen:
    """kill -9 while a canary has users; `greenlight up` where the supervisor was killed, then the release ends."""
    make_quick(up, min_requests=1500)
    more: dict[str, Any] = {}
    with Load(up.settings) as load:
        process = driver(up, version)
        assert wait_until(lambda: is_canary(up), 120, 0.05), process.communicate(timeout=5)
        time.sleep(0.5)
        before = len(load.failures)
        pid = VICTIMS[victim](up)
        assert pid
        assert before == 0, load.failures[:3]
        os.kill(pid, signal.SIGKILL)
        killed = time.time()
        if victim == "the supervisor":
            time.sleep(3)
            more["failed_without_it"] = len(load.failures)
            mended = time.time()
            up.up()
            more["up_s"] = round(time.time() - mended, 1)
        out, _ = process.communicate(timeout=600)
        seconds = time.time() - killed
        time.sleep(0.5)
    more |= load.silence(killed)
    return Seen(out.strip(), "", round(seconds, 1), len(load.answers), len(load.failures), load.failures[:5], more)


def killed_at_every_save(settings: Settings, how: str, version: str = "") -> tuple[str, list[str]]:
    """Start a release again and again, each of which dies at another moment (save_killer.py), until one ends.

    Returns
    -------
    (str, list[str])
        How it ended, and the moments at which its processes died.
    """
    moments = settings.home / "moments"
    program = str(Path(__file__).with_name("save_killer.py"))
    places = [str(settings.root), str(settings.edge_port), str(settings.workers), str(moments)]
    while True:
        command = [sys.executable, program, *places, how, *([version] if version else [])]
        done = subprocess.run(command, cwd=kit.ROOT, capture_output=True, text=True, timeout=600, check=False,
                              env=os.environ | {"PYTHONPATH": str(kit.ROOT)})  # fmt: skip
        if done.returncode != -signal.SIGKILL:
            assert done.returncode == 0, done.stderr
            return done.stdout.strip(), moments.read_text().splitlines()
