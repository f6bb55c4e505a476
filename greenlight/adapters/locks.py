"""Turns between processes of one home: a file that at most one process holds, freed by the kernel when that one dies.

A turn is waited for without a limit: whoever holds it lives, or it would be free. What a holder leaves in the file as
its end is read by those who waited, and by nobody else, because the file goes with the turn.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

POLL_S = 0.1
REMIND_S = 60.0
Log = Callable[[str], None]


class Turn:
    """A turn that this process holds.

    Attributes
    ----------
    left : dict
        What the holder before left as its end, where this process waited for it; else empty.
    """

    def __init__(self, file: IO[str], left: dict[str, Any]) -> None:
        self._file = file
        self.left = left

    def leave(self, end: dict[str, Any]) -> None:
        """Leave word of how the work ended, for those who wait."""
        _write(self._file, {"end": end})


@contextmanager
def turn(path: Path, who: str, log: Log) -> Iterator[Turn]:
    """Hold the file at `path`; waits for whoever holds it, and says so.

    Parameters
    ----------
    path : Path
        Made when it is not there, and removed afterwards.
    who : str
        What those who wait are told: the name of the work.
    log : callable
        Takes one line when waiting begins, when the holder changes, and once a minute.
    """
    file, left = _acquire(path, log)
    try:
        if not left:
            _write(file, {"pid": os.getpid(), "who": who, "since": time.time()})
        yield Turn(file, left)
    finally:
        if _is_at(file, path):
            path.unlink()
        file.close()


def is_held(path: Path) -> bool:
    """Whether a process holds the turn at `path` now; takes it from nobody, and makes no file."""
    try:
        with path.open("r", encoding="utf-8") as file:
            holder = _read(file).get("pid")
            if holder and not Path("/proc", str(holder)).exists():
                return False
            return not _try(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def sweep(folder: Path) -> int:
    """Remove the files of turns whose holder was killed; returns how many there were."""
    swept = 0
    for path in sorted(folder.rglob("*.lock")):
        with suppress(OSError), path.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                path.unlink()
                swept += 1
    return swept


def _acquire(path: Path, log: Log) -> tuple[IO[str], dict[str, Any]]:
    """The held file, and what the holder that was waited for left in it."""
    told: tuple[str, float] = ("", 0.0)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
        while not _try(file):
            told = _tell(path, file, told, log)
            time.sleep(POLL_S)
        left = _read(file).get("end", {}) if told[0] else {}
        if left or _is_at(file, path):
            return file, left
        file.close()  # the holder removed it and left no end: the next one at the path is another file


def _try(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _tell(path: Path, file: IO[str], told: tuple[str, float], log: Log) -> tuple[str, float]:
    said = _read(file)
    holder = f"{said.get('who', 'another run')} (pid {said['pid']})" if "pid" in said else told[0] or "another run"
    if holder == told[0] and time.monotonic() - told[1] < REMIND_S:
        return told
    log(f"waiting for {holder}, which is at work ({path.name})")
    return holder, time.monotonic()


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether the open file is the one that the path names now: a holder removes its file before it lets go."""
    try:
        here, there = os.fstat(file.fileno()), path.stat()
    except FileNotFoundError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _read(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        said = json.loads(file.read() or "{}")
    except ValueError:  # read while it was being written
        return {}
    return said if isinstance(said, dict) else {}


def _write(file: IO[str], body: dict[str, Any]) -> None:
    file.seek(0)
    file.truncate()
    file.write(json.dumps(body))
    file.flush()
