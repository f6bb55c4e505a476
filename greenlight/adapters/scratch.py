"""Folders for work under way, named after the process that works in them, so that a later one knows what is dead."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greenlight.adapters import processes

PASSING = "greenlight-"
_MARK = re.compile(r"\.p(\d+)-([0-9a-f]+)-[0-9a-f]{6}$")


def name(prefix: str) -> str:
    """A name that nobody else has, and that says which process uses it."""
    pid = os.getpid()
    return f"{prefix}.p{pid}-{processes.began(pid)}-{secrets.token_hex(3)}"


def folder(home: Path, prefix: str) -> Path:
    """A place below ``<home>/tmp``; the folder itself is not made."""
    parent = home / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    return parent / name(prefix)


@contextmanager
def work(home: Path, prefix: str) -> Iterator[Path]:
    """A folder below ``<home>/tmp`` for as long as it is needed; for this user's eyes only."""
    path = folder(home, prefix)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def passing(purpose: str) -> Iterator[Path]:
    """A folder in the system's folder for temporary files, for what knows of no home."""
    with tempfile.TemporaryDirectory(prefix=f"{PASSING}{purpose}-", suffix=name("")) as path:
        yield Path(path)


def is_dead(path: Path) -> bool:
    """Whether the process that `path` is named after is gone; False for a name that says nothing of a process."""
    mark = _MARK.search(path.name)
    return mark is not None and not processes.is_same(int(mark[1]), mark[2])


def sweep(parent: Path, prefix: str = "") -> list[str]:
    """Remove what processes of this user that are gone left in a folder; returns the names."""
    dead = [path for path in sorted(parent.glob(f"{prefix}*")) if is_dead(path) and _is_ours(path)]
    for path in dead:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in dead]


def sweep_passing() -> list[str]:
    """Remove what :func:`passing` made for processes that were killed; returns the names."""
    return sweep(Path(tempfile.gettempdir()), PASSING)


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.getuid()
    except FileNotFoundError:
        return False
