"""The kept predictions of a home: read them, make them compact, and keep them within their limit.

Server processes write files of lines (bentos/classifier/prediction_log.py); ``compact`` turns the finished ones into
Parquet, a file per version, day and source, and merges small ones of a day. `greenlight.core.prediction_files` says how
files are named and in which moment one takes the place of the other. Several processes may read and compact at once.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from greenlight.adapters import prediction_parts
from greenlight.core import prediction_record
from greenlight.core.prediction_files import COMPACT, FINISHED, FOLDER, named, surplus
from greenlight.errors import storage

SCHEMA: dict[str, pl.DataType] = {
    "at": pl.Int64(),
    "request_id": pl.String(),
    "row": pl.Int32(),
    "prediction_id": pl.String(),
    "version": pl.String(),
    "shadow": pl.Boolean(),
    "played": pl.Boolean(),
    "pinned": pl.Boolean(),
    "key": pl.String(),
    "probability": pl.Float32(),
    "decision": pl.Boolean(),
    "ms": pl.Float32(),
    "status": pl.Int32(),
    "row_json": pl.String(),
    "bulk": pl.Boolean(),
    "trace_id": pl.String(),
}
DAY_US = 86_400_000_000
# A file that is compacted between being listed and being read is looked for anew; each time takes a rare coincidence.
TRIES = 20
# A file without a lock that is younger may belong to a process that is about to lock it.
STRAY_S = 60.0


@dataclass(frozen=True)
class Compaction:
    """What was made compact.

    Attributes
    ----------
    files, rows : int
        Finished files of lines that became Parquet, and their rows.
    skipped : int
        Lines in them that were no record: one that a crash cut short, as a rule.
    bytes_before, bytes_after : int
        Of those files, as lines and as Parquet.
    merged : int
        Small Parquet files of a day that became one.
    deleted : int
        Oldest files that went because all together were beyond the limit.
    """

    files: int = 0
    rows: int = 0
    skipped: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    merged: int = 0
    deleted: int = 0


class PredictionLog:
    """Everything kept below ``<home>/predictions``.

    Parameters
    ----------
    home : Path
        Greenlight's work state.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER

    def versions(self) -> list[str]:
        """Versions of which something is kept."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir())

    def bytes(self) -> int:
        """What is kept takes so much room."""
        return sum(size for _, size, _ in self._files(self.folder))

    def scan(
        self,
        version: str | None = None,
        since_us: int | None = None,
        until_us: int | None = None,
        *,
        tables: bool = False,
    ) -> pl.LazyFrame:
        """The kept rows, compact ones and those of live files.

        Parameters
        ----------
        version : str, optional
            Of this version only.
        since_us, until_us : int, optional
            ``at`` in [since_us, until_us), microseconds since the epoch.
        tables : bool
            Also rows of tables (``POST /bulk``). Left out by default: they all go to the stable version, so whatever
            compares versions by their rows would take them for a difference.

        Returns
        -------
        pl.LazyFrame
            Columns and types of `SCHEMA`; no order. Live files are read now, compact ones when it is collected.
        """
        frames = [pl.LazyFrame(schema=SCHEMA)]
        for name in [version] if version else self.versions():
            frames += self._frames(self.folder / name, since_us, until_us)
        found = pl.concat(frames)
        if since_us is not None:
            found = found.filter(pl.col("at") >= since_us)
        if until_us is not None:
            found = found.filter(pl.col("at") < until_us)
        # A column that came later is missing in older files.
        later = [pl.col("pinned").fill_null(False), pl.col("bulk").fill_null(False), pl.col("trace_id").fill_null("")]
        found = found.with_columns(later)
        return found if tables else found.filter(~pl.col("bulk"))

    def compact(self, limit_mb: int) -> Compaction:
        """Turn every finished file of lines into Parquet, then delete the oldest files beyond `limit_mb`.

        May be killed at any moment and repeated: a row is lost by neither and counted once.

        Raises
        ------
        StorageFailed
            The disk is full or cannot be written; what was there is untouched.
        """
        done = []
        try:
            with self._alone():
                for version in self.versions():
                    self._sweep(self.folder / version)
                    for path in sorted((self.folder / version).glob(f"*{FINISHED}")):
                        if named(path, FINISHED) and is_finished(path):
                            done.append(self._compact_one(path, version))
                    done.append(Compaction(merged=self._merge(self.folder / version)))
                deleted = self._bound(limit_mb * 2**20)
        except OSError as exc:
            raise storage(exc) from exc
        sums = {name: sum(getattr(one, name) for one in done) for name in Compaction.__dataclass_fields__}
        return Compaction(**sums | {"deleted": deleted})

    def _frames(self, folder: Path, since_us: int | None, until_us: int | None) -> list[pl.LazyFrame]:
        for _ in range(TRIES):
            lines = [path for path in sorted(folder.glob(f"*{FINISHED}")) if named(path, FINISHED)]
            pending = {path.stem for path in lines}
            parts = [path for path in sorted(folder.glob(f"*/*{COMPACT}")) if named(path, COMPACT)]
            parts = prediction_parts.standing(path for path in parts if path.stem not in pending)
            parts = [path for path in parts if _overlaps(path.parent.name, since_us, until_us)]
            try:
                rows = [read(path, folder.name)[0] for path in lines if _may_hold(path, since_us, until_us)]
            except FileNotFoundError:
                continue
            scans = [pl.scan_parquet(parts, schema=SCHEMA, missing_columns="insert", glob=False)] if parts else []
            return [*scans, *(frame.lazy() for frame in rows)]
        raise FileNotFoundError(f"the files in {folder} change faster than they can be read")

    def _compact_one(self, path: Path, version: str) -> Compaction:
        before = path.stat()
        rows, skipped = read(path, version)
        # Parts that an earlier attempt left are of no day of this one, if the file was shorter then.
        for stale in path.parent.glob(f"*/{path.stem}{COMPACT}"):
            stale.unlink()
        after = 0
        for (day,), part in (
            rows.with_columns((pl.col("at") // DAY_US).alias("day"))
            .partition_by("day", as_dict=True, include_key=False)
            .items()
        ):
            after += prediction_parts.write(part, path.parent / _day(day) / f"{path.stem}{COMPACT}", before.st_mtime)
        path.unlink()  # from this moment on the Parquet files are what counts
        prediction_parts.sync(path.parent)
        return Compaction(1, rows.height, skipped, before.st_size, after)

    def _merge(self, folder: Path) -> int:
        pending = {path.stem for path in folder.glob(f"*{FINISHED}") if named(path, FINISHED)}
        return sum(prediction_parts.merge(day, pending, SCHEMA) for day in folder.iterdir() if day.is_dir())

    def _sweep(self, folder: Path) -> None:
        """Remove what was begun and never named: by a writer that was killed, or an earlier ``compact``."""
        for path in (*folder.glob(f".*{FINISHED}"), *folder.glob(f"*/.*{COMPACT}")):
            if time.time() - path.stat().st_mtime > STRAY_S and is_finished(path):
                path.unlink(missing_ok=True)

    def _bound(self, limit_bytes: int) -> int:
        files = self._files(self.folder)
        live = [file for file in files if file[0].suffix == FINISHED and not is_finished(file[0])]
        room = limit_bytes - sum(size for _, size, _ in live)
        gone = list(surplus([file for file in files if file not in live], room))
        for path in gone:
            path.unlink(missing_ok=True)
        for folder in self.folder.glob("*/*"):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        return len(gone)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One compaction at a time; the kernel gives the right back if this process dies."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / ".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _files(folder: Path) -> list[tuple[Path, int, float]]:
        found = []
        for path in folder.rglob("*") if folder.is_dir() else ():
            if not named(path, FINISHED) and not named(path, COMPACT):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((path, status.st_size, status.st_mtime))
        return found


def read(path: Path, version: str) -> tuple[pl.DataFrame, int]:
    """The rows of one file of lines, and how many of its lines are no record.

    What follows the last line break is left out: it is being written, or its writer was killed.

    Raises
    ------
    FileNotFoundError
        It was compacted or deleted meanwhile.
    """
    content = path.read_bytes()
    whole, _, rest = content.rpartition(b"\n")
    rows: list[Sequence[object]] = []
    skipped = 1 if rest and is_finished(path) else 0
    for row in prediction_record.decode(whole.split(b"\n") if whole else (), version):
        if row is None:
            skipped += 1
        else:
            rows.append(row)
    return pl.DataFrame(rows, schema=SCHEMA, orient="row"), skipped


def is_finished(path: Path) -> bool:
    """Whether nobody writes the file any more: its writer holds a lock, which ends with it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _day(number: int) -> str:
    return datetime.fromtimestamp(number * 86_400, UTC).strftime("%Y-%m-%d")


def _overlaps(day: str, since_us: int | None, until_us: int | None) -> bool:
    begins = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000
    return (since_us is None or begins + DAY_US > since_us) and (until_us is None or begins < until_us)


def _may_hold(path: Path, since_us: int | None, until_us: int | None) -> bool:
    """Whether a file of lines can have rows of that time: it was begun before its end, written to after its begin."""
    begun = int(path.stem.partition("-")[0]) if path.stem.partition("-")[0].isdigit() else 0
    written = path.stat().st_mtime_ns // 1000 + 1_000_000
    # Rows wait at most seconds in the writer's queue; a minute is more than enough.
    return (since_us is None or written >= since_us) and (until_us is None or begun - 60_000_000 < until_us)
