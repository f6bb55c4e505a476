"""The files of a snapshot and what their outside says about them: present, readable, rows, columns, types.

Reads no file itself: whoever does hands over what it found. The two tables made here (one row per file, one row per
file and column) are checked like any other table, so a missing column is reported in the same words as a bad value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from greenlight.core.contract import Contract, Kind, Table

AS_DECLARED = "as declared"
CALENDAR = (dt.datetime(1, 1, 2, tzinfo=dt.UTC), dt.datetime(9999, 12, 30, tzinfo=dt.UTC))  # a day's room for zones


@dataclass(frozen=True)
class SnapshotFile:
    """One file of a snapshot, read or not.

    Attributes
    ----------
    path : str
        Relative to the repository.
    table : str
        Table that it is a part of.
    period : str
        ``YYYY-MM``; empty for a register.
    frame : pl.DataFrame or None
        Its content; None when it could not be read.
    problem : str
        Why it could not be read; empty when it was.
    rows : int or None
        Number of rows, where they are not held any more.
    """

    path: str
    table: str
    period: str
    frame: pl.DataFrame | None
    problem: str = ""
    rows: int | None = None

    def without_rows(self) -> SnapshotFile:
        """The same file with the number of its rows instead of them."""
        return replace(self, frame=None, rows=self.height)

    @property
    def height(self) -> int | None:
        """Number of rows; None when it could not be read."""
        return self.rows if self.frame is None else self.frame.height


def file_facts(files: Sequence[SnapshotFile]) -> pl.DataFrame:
    """One row per file: file, period, state (``readable`` or the problem), rows (null when not readable)."""
    return pl.DataFrame(
        {
            "file": [file.path for file in files],
            "period": [file.period for file in files],
            "state": [file.problem or "readable" for file in files],
            "rows": [file.height for file in files],
        },
        schema={"file": pl.String, "period": pl.String, "state": pl.String, "rows": pl.Int64},
    )


def column_facts(contract: Contract, files: Sequence[SnapshotFile]) -> pl.DataFrame:
    """One row per readable file and column, declared or found: file, period, column, state.

    ``state`` is ``as declared``, ``missing``, ``unexpected`` or ``<found type> instead of <declared kind>``.
    """
    tables = {table.name: table for table in contract.tables}
    rows = [
        (file.path, file.period, column, state)
        for file in files
        if file.frame is not None
        for column, state in _column_states(tables[file.table], file.frame)
    ]
    schema = dict.fromkeys(("file", "period", "column", "state"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def sound(file: SnapshotFile, columns: pl.DataFrame) -> bool:
    """Whether the values of a file can be looked at: it has rows, and every column as declared.

    Parameters
    ----------
    columns : pl.DataFrame
        What ``column_facts`` says of it.
    """
    if not file.height:
        return False
    return bool((columns.filter(pl.col("file") == file.path).get_column("state") == AS_DECLARED).all())


def gather(contract: Contract, files: Sequence[SnapshotFile], broken: set[str]) -> dict[str, pl.DataFrame]:
    """Each table of which no file is in `broken`, its periods under each other with a column ``period``.

    Parameters
    ----------
    broken : set[str]
        Paths of files that are not to be used.

    Returns
    -------
    dict[str, pl.DataFrame]
        Declared columns only. Instants outside the years 1 to 9999 are null.
    """
    tables: dict[str, pl.DataFrame] = {}
    for table in contract.tables:
        parts = [file for file in files if file.table == table.name]
        if not parts or any(part.path in broken or part.frame is None for part in parts):
            continue
        columns = [_column(name, table.columns[name]) for name in sorted(table.columns)]
        frames = [
            part.frame.select(columns)
            if table.register
            else part.frame.select(*columns, pl.lit(part.period).alias("period"))
            for part in parts
            if part.frame is not None
        ]
        # relaxed: one file may hold Int64 and another Int32 without that being a fault
        tables[table.name] = pl.concat(frames, how="vertical_relaxed")
    return tables


def _column(name: str, kind: Kind) -> pl.Expr:
    """A column as it is, but instants outside the years 1 to 9999 are null: nothing can convert or print them."""
    if kind != "instant":
        return pl.col(name)
    return pl.when(pl.col(name).is_between(*CALENDAR)).then(pl.col(name)).alias(name)


def _column_states(table: Table, frame: pl.DataFrame) -> Iterator[tuple[str, str]]:
    found = frame.schema
    for column, kind in table.columns.items():
        if column not in found:
            yield column, "missing"
        else:
            yield column, AS_DECLARED if _is(found[column], kind) else f"{found[column]} instead of {kind}"
    for column in found:
        if column not in table.columns:
            yield column, "unexpected"


def _is(dtype: pl.DataType, kind: Kind) -> bool:
    return {
        "integer": dtype.is_integer(),
        "number": dtype.is_numeric(),
        "text": dtype == pl.String,
        "instant": isinstance(dtype, pl.Datetime) and dtype.time_zone == "UTC",
    }[kind]
