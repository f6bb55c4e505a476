"""The Parquet files of the prediction log: written whole or not at all, and merged where a day has many small ones.

A merged file ``M.parquet`` takes the place of its parts in the moment in which it gets its name; beside it
``M.replaces`` lists them from before that moment on. Whoever looks at the files first and then at the lists counts each
row once, whatever was killed when. The parts are deleted a while later, since a reader may be at them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from greenlight.core.prediction_files import COMPACT, named

REPLACES = ".replaces"
MERGE_BYTES = 64 * 2**20  # larger files stay as they are
MERGE_FROM = 8  # so many small files of the day that is not over yet; of an earlier day two
GRACE_S = 900.0  # how long a reader may take that had looked before the merge
MERGED = "merged"  # in a merged file's name


def write(part: pl.DataFrame, path: Path, modified: float) -> int:
    """Write `part` so that it is there whole or not at all, also after a power cut; returns its bytes.

    Parameters
    ----------
    modified : float
        The age of the file: that of its rows.
    """
    path.parent.mkdir(exist_ok=True, mode=0o700)
    made = path.with_name(f".{path.name}")
    try:
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            part.write_parquet(out, compression="zstd")
            out.flush()
            os.fsync(out.fileno())
        os.utime(made, (modified, modified))
        made.rename(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    sync(path.parent)
    return path.stat().st_size


def sync(folder: Path) -> None:
    """Have what was renamed or deleted in `folder` on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def standing(parts: Iterable[Path]) -> list[Path]:
    """Those of `parts`, found before this is called, that no merged file among them replaces."""
    found = list(parts)
    gone = {path.parent / stem for path in found if MERGED in path.stem for stem in _replaced(path)}
    return [path for path in found if path.with_suffix("") not in gone]


def merge(folder: Path, pending: set[str], schema: Mapping[str, pl.DataType]) -> int:
    """Merge the small files in the folder of one day of one version, if that is due; returns how many became one.

    To be called by one process at a time.

    Parameters
    ----------
    pending : set of str
        Names, without suffix, of files whose rows still stand in a file of lines.
    """
    _finish(folder)
    parts = standing(path for path in folder.glob(f"*{COMPACT}") if named(path, COMPACT))
    chosen: list[Path] = []
    size = 0
    for path in sorted(parts):
        if path.stem not in pending and size + path.stat().st_size <= MERGE_BYTES:
            chosen.append(path)
            size += path.stat().st_size
    over = folder.name < datetime.now(UTC).strftime("%Y-%m-%d")
    if len(chosen) < (2 if over else MERGE_FROM):
        return 0
    target = folder / f"{time.time_ns() // 1000}-{os.getpid()}-{MERGED}{COMPACT}"
    replaces = target.with_suffix(REPLACES)
    with os.fdopen(os.open(replaces, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump([path.stem for path in chosen], out)
        out.flush()
        os.fsync(out.fileno())
    sync(folder)
    modified = max(path.stat().st_mtime for path in chosen)
    rows = (
        pl.scan_parquet(chosen, schema=dict(schema), missing_columns="insert", glob=False).sort("at", "row").collect()
    )
    write(rows, target, modified)  # from the moment of its name on it is what counts
    return len(chosen)


def _finish(folder: Path) -> None:
    """Delete what merged files replaced, once no reader can be at it, and what a merge left that was killed."""
    for replaces in folder.glob(f"*{REPLACES}"):
        target = replaces.with_suffix(COMPACT)
        if target.exists():
            if time.time() - replaces.stat().st_mtime < GRACE_S:
                continue
            for stem in _replaced(target):
                (folder / f"{stem}{COMPACT}").unlink(missing_ok=True)
            sync(folder)  # before the list goes, or a power cut would bring rows back
        replaces.unlink()


def _replaced(merged: Path) -> list[str]:
    try:
        return [str(stem) for stem in json.loads(merged.with_suffix(REPLACES).read_bytes())]
    except FileNotFoundError:
        return []
