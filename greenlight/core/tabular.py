"""A file that says neither what it is nor of which types: which table its columns fit, and its text as values."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from greenlight.core.contract import Kind, Table

LEAST = 0.5  # of all columns, its own and the table's, must be in both


def recognise(tables: Sequence[Table], columns: Sequence[str]) -> Table | None:
    """The table whose columns are most like these; None when no table is like enough, or two are equally.

    Examples
    --------
    >>> t = Table("t", {"a": "integer", "b": "text"}, key=("a",))
    >>> recognise([t], ["a", "b", "c"]) is t, recognise([t], ["c"])
    (True, None)
    """
    found = set(columns)
    likeness = [(len(found & set(t.columns)) / len(found | set(t.columns)), t) for t in tables]
    best = max((share for share, _ in likeness), default=0.0)
    first = [table for share, table in likeness if share == best]
    return first[0] if best >= LEAST and len(first) == 1 else None


def typed(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """Columns of text as the table declares them; one that holds anything else stays text, and the contract says so."""
    return frame.with_columns(
        _value(frame.get_column(name), kind) for name, kind in table.columns.items() if name in frame.columns
    )


def _value(text: pl.Series, kind: Kind) -> pl.Series:
    if kind == "text" or text.dtype != pl.String:
        return text
    if kind == "instant":
        value = text.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    else:
        value = text.str.strip_chars().cast(pl.Int64 if kind == "integer" else pl.Float64, strict=False)
    return value if value.null_count() == text.null_count() else text
