"""Who works with the shared cache: any number of runs at a time, or one clean-up alone.

A lock of the kernel's: it ends with its process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greenlight.errors import DvcError

TIMEOUT_S = 600.0


def share(home: Path, timeout_s: float = TIMEOUT_S) -> int:
    """Say that this process works with the cache; returns a file descriptor that says so until it is closed.

    Raises
    ------
    DvcError
        A clean-up has gone on for `timeout_s`.
    """
    descriptor = _open(home)
    until = time.monotonic() + timeout_s
    while not _take(descriptor, fcntl.LOCK_SH):
        if time.monotonic() > until:
            os.close(descriptor)
            error = DvcError(
                f"greenlight gc has held the cache for {timeout_s:g} s",
                where=str(_file(home)),
                todo="wait for it or end it; then run again",
            )
            error.retryable = True
            raise error
        time.sleep(0.05)
    return descriptor


@contextmanager
def alone(home: Path) -> Iterator[bool]:
    """Have the cache for oneself; False, at once, when somebody works with it."""
    descriptor = _open(home)
    try:
        yield _take(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _take(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(home: Path) -> int:
    path = _file(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _file(home: Path) -> Path:
    return home / "in-use.lock"
