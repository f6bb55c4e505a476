"""Turns between real processes: one at a time, the end is handed on, a killed holder frees its turn at once."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import pytest

from greenlight.adapters import locks

HOLD = """
import sys, time
from pathlib import Path
from greenlight.adapters import locks

path, out, seconds, end = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
with locks.turn(path, f"work {out.name}", lambda line: print(line, file=sys.stderr, flush=True)) as turn:
    out.write_text(f"{time.time()} {turn.left.get('name', '-')}")
    time.sleep(seconds)
    if end and not turn.left:
        turn.leave({"name": end})
    out.write_text(f"{out.read_text()} {time.time()}")
"""


def hold(path: Path, out: Path, seconds: float, end: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(path), str(out), str(seconds), end]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def appeared(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists() or not path.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_one_at_a_time_and_the_others_say_whom_they_wait_for(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "one.lock"
    first = hold(path, tmp_path / "0", 3)
    appeared(tmp_path / "0")
    others = [hold(path, tmp_path / str(n), 0.3) for n in (1, 2, 3)]
    said = [process.communicate(timeout=90)[1] for process in (first, *others)]

    assert f"waiting for work 0 (pid {first.pid}), which is at work (one.lock)" in "".join(said[1:])
    spans = sorted(tuple(map(float, (tmp_path / str(n)).read_text().split(" - "))) for n in range(4))
    assert all(begun >= ended for (_, ended), (begun, _) in itertools.pairwise(spans))
    assert not list(path.parent.iterdir())


def test_the_end_of_the_holder_goes_to_those_who_waited_and_to_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    first = hold(path, tmp_path / "0", 3, end="Promoted")
    appeared(tmp_path / "0")
    waiting = [hold(path, tmp_path / str(n), 0) for n in (1, 2)]
    for process in (first, *waiting):
        process.communicate(timeout=90)
        assert process.returncode == 0
    hold(path, tmp_path / "late", 0).communicate(timeout=90)

    assert [(tmp_path / str(n)).read_text().split()[1] for n in (0, 1, 2)] == ["-", "Promoted", "Promoted"]
    assert (tmp_path / "late").read_text().split()[1] == "-"


@pytest.mark.parametrize("swept", [False, True])
def test_a_killed_holder_frees_its_turn_and_leaves_no_end(tmp_path: Path, swept: bool) -> None:
    path = tmp_path / "one.lock"
    first = hold(path, tmp_path / "0", 600, end="Promoted")
    appeared(tmp_path / "0")
    second = hold(path, tmp_path / "1", 0) if not swept else None
    first.kill()
    first.communicate()
    if second is None:
        assert path.exists()
        assert locks.sweep(tmp_path) == 1
        assert not path.exists()
        return
    second.communicate(timeout=90)
    assert (tmp_path / "1").read_text().split()[1] == "-"


def test_a_held_turn_is_not_swept(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    with locks.turn(path, "work", print):
        assert locks.sweep(tmp_path) == 0
        assert path.exists()
