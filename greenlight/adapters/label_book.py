"""The labels of a home: ``<home>/labels/labels.sqlite``, which servers and the command line write."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from greenlight.core import label_book
from greenlight.core.label_book import Taken
from greenlight.errors import StorageFailed

FOLDER = "labels"
SCHEMA = {"prediction_id": pl.String(), "label": pl.Int8(), "at": pl.Int64()}
BATCH = 50_000


class LabelBook:
    """Labels below ``<home>/labels``.

    Parameters
    ----------
    home : Path
        Greenlight's work state.
    """

    def __init__(self, home: Path) -> None:
        self.file = home / FOLDER / label_book.FILE

    def scan(self, since_us: int = 0) -> pl.LazyFrame:
        """All labels: ``prediction_id``, ``label`` (0 or 1), ``at`` (when it was taken, microseconds since 1970).

        Parameters
        ----------
        since_us : int
            Only those that were taken from then on.
        """
        return self._table("labels", since_us).lazy()

    def contradictions(self) -> pl.LazyFrame:
        """Labels that said the opposite of an earlier one and were not applied; columns as in `scan`."""
        return self._table("contradictions").lazy()

    def take(self, labels: Iterable[tuple[str, bool]]) -> Taken:
        """Write labels down; when it returns they are on the disk. The first label of a prediction counts.

        Raises
        ------
        StorageFailed
            The book cannot be written; of what was not yet acknowledged, nothing or whole batches were taken, and the
            same labels may be handed in again.
        """
        total = Taken(0, 0)
        at = time.time_ns() // 1000
        wanted = list(labels)
        with self._open() as connection:
            for begin in range(0, len(wanted), BATCH):
                taken = label_book.take(connection, wanted[begin : begin + BATCH], at)
                total = Taken(
                    total.accepted + taken.accepted,
                    total.known + taken.known,
                    total.contradictions + taken.contradictions,
                )
        return total

    def copy(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """All labels and all contradictions as of one moment, whoever writes meanwhile; columns as in `scan`."""
        if not self.file.is_file():
            return pl.DataFrame(schema=SCHEMA), pl.DataFrame(schema=SCHEMA)
        with self._open() as connection:
            connection.execute("BEGIN")  # in a journal that grows, a reader sees the book as of its first look
            try:
                return _rows(connection, "labels"), _rows(connection, "contradictions")
            finally:
                connection.execute("COMMIT")

    def count(self) -> tuple[int, int]:
        """How many labels and contradictions there are."""
        if not self.file.is_file():
            return 0, 0
        with self._open() as connection:
            return _count(connection, "labels"), _count(connection, "contradictions")

    def put_back(self, labels: pl.DataFrame) -> int:
        """Take labels of a copy, oldest first, each with its own time; returns how many were not there.

        What is there is not changed; may be repeated.

        Raises
        ------
        StorageFailed
            The book cannot be written.
        """
        rows = labels.sort("at").select(*SCHEMA)
        if not rows.height:
            return 0
        with self._open() as connection:
            parts = (rows.slice(begin, BATCH).rows() for begin in range(0, rows.height, BATCH))
            return sum(label_book.put_back(connection, part) for part in parts)

    def _table(self, name: str, since_us: int = 0) -> pl.DataFrame:
        if not self.file.is_file():
            return pl.DataFrame(schema=SCHEMA)
        with self._open() as connection:
            return _rows(connection, name, since_us)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = sqlite3.connect(self.file, timeout=label_book.BUSY_TIMEOUT_S, isolation_level=None)
            try:
                label_book.prepare(connection)
                yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as exc:
            raise StorageFailed(
                f"the book of labels cannot be used: {exc}",
                where=str(self.file),
                todo="free space and check the rights of the file, then repeat; nothing acknowledged was lost",
            ) from exc


def _rows(connection: sqlite3.Connection, table: str, since_us: int = 0) -> pl.DataFrame:
    rows = connection.execute(f"SELECT prediction_id, label, at FROM {table} WHERE at >= ?", (since_us,)).fetchall()
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
