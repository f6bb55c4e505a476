"""How the files of the prediction log are named, and which go when there is more than is wanted.

::

    <home>/predictions/key                                     secret of the keyed hashes
    <home>/predictions/v3/1764200000000000-4711-0.jsonl        as a server process wrote it, one line a request
    <home>/predictions/v3/2026-11-27/1764200000000000-4711-0.parquet   the rows of that day of such a file

    <home>/predictions/v3/2026-11-27/1764300000000000-99-merged.parquet      several of those in one
    <home>/predictions/v3/2026-11-27/1764300000000000-99-merged.replaces     which ones, until they are deleted

As long as a ``.jsonl`` is there, the Parquet files of the same name are not yet the truth: they come into force in the
moment in which it is deleted. So a crash of whoever makes them loses no row and counts none twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import TypeVar

FOLDER = "predictions"
KEY = "key"
FINISHED = ".jsonl"
COMPACT = ".parquet"

P = TypeVar("P", bound=PurePath)


def named(path: PurePath, suffix: str) -> bool:
    """Whether it is a file of the log of that kind; one whose name begins with a dot is still being made."""
    return path.suffix == suffix and not path.name.startswith(".")


def surplus(files: Iterable[tuple[P, int, float]], limit_bytes: int) -> Iterator[P]:
    """The oldest files, so many that the others are within the limit.

    Parameters
    ----------
    files : iterable of (path, bytes, modified)
    limit_bytes : int
        What is to be left, at most.
    """
    ordered = sorted(files, key=lambda file: (file[2], str(file[0])))
    total = sum(size for _, size, _ in ordered)
    for path, size, _ in ordered:
        if total <= limit_bytes:
            return
        total -= size
        yield path
