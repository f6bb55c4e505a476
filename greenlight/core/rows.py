"""How many rows of a table were added, removed and changed, by the columns that say which row is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl


@dataclass(frozen=True)
class RowChanges:
    """What differs between two contents of one file.

    Attributes
    ----------
    added, removed, changed : int
        Rows. Without a `key` no row is `changed`: it is removed and added.
    columns : dict of str to int
        Rows that changed, by column, most first.
    key : tuple of str
        What told which row is which; empty where whole rows were compared.
    schema : tuple of str
        Columns that are new, gone, or of another type, in words.
    """

    added: int
    removed: int
    changed: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    schema: tuple[str, ...] = ()


def compare_rows(old: pl.DataFrame | None, new: pl.DataFrame | None, key: Sequence[str]) -> RowChanges:
    """Compare two contents of a file.

    Parameters
    ----------
    old, new : DataFrame or None
        None where there was no file: then every row is added, or removed.
    key : sequence of str
        Columns whose values name a row. Where they do not (a column is missing, a key is there twice), whole rows are
        compared.
    """
    if old is None or new is None:
        return RowChanges(added=0 if new is None else new.height, removed=0 if old is None else old.height)
    schema = _schema(old.schema, new.schema)
    names = tuple(key)
    if names and _names_rows(old, names) and _names_rows(new, names):
        return _by_key(old, new, names, schema)
    return _by_content(old, new, schema)


def _schema(old: pl.Schema, new: pl.Schema) -> tuple[str, ...]:
    found = [f"{name} is gone" for name in old if name not in new]
    found += [f"{name} is new" for name in new if name not in old]
    both = [name for name in old if name in new and old[name] != new[name]]
    return (*found, *(f"{name} is {new[name]} instead of {old[name]}" for name in both))


def _names_rows(frame: pl.DataFrame, key: tuple[str, ...]) -> bool:
    return set(key) <= set(frame.columns) and not frame.select(pl.struct(key).is_duplicated().any()).item()


def _by_key(old: pl.DataFrame, new: pl.DataFrame, key: tuple[str, ...], schema: tuple[str, ...]) -> RowChanges:
    values = [name for name in old.columns if name in new.columns and name not in key]
    left = _comparable(old, new, [*key, *values])
    right = _comparable(new, old, [*key, *values])
    added = right.join(left, on=key, how="anti", nulls_equal=True).height
    removed = left.join(right, on=key, how="anti", nulls_equal=True).height
    both = left.join(right, on=key, how="inner", nulls_equal=True, suffix="\0new")
    differs = both.select(pl.col(name).ne_missing(pl.col(f"{name}\0new")).alias(name) for name in values)
    counts = {name: int(differs[name].sum()) for name in values}
    columns = dict(sorted(((n, c) for n, c in counts.items() if c), key=lambda item: -item[1]))
    changed = int(differs.select(pl.any_horizontal(pl.all())).to_series().sum()) if values and both.height else 0
    return RowChanges(added, removed, changed, columns, key, schema)


def _by_content(old: pl.DataFrame, new: pl.DataFrame, schema: tuple[str, ...]) -> RowChanges:
    if set(old.columns) != set(new.columns) or not old.columns:
        return RowChanges(new.height, old.height, schema=schema)
    names = old.columns
    left = _comparable(old, new, names).group_by(names).len()
    right = _comparable(new, old, names).group_by(names).len()
    counts = left.join(right, on=names, how="full", nulls_equal=True, suffix="\0new", coalesce=True)
    gap = counts.select((pl.col("len\0new").fill_null(0).cast(pl.Int64) - pl.col("len").fill_null(0)).alias("gap"))
    more = gap["gap"].filter(gap["gap"] > 0).sum()
    less = gap["gap"].filter(gap["gap"] < 0).sum()
    return RowChanges(int(more), -int(less), schema=schema)


def _comparable(frame: pl.DataFrame, other: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The columns `names`; where their types differ they are compared as text, or nothing could be joined."""
    return frame.select(
        pl.col(name) if frame.schema[name] == other.schema[name] else pl.col(name).cast(pl.String) for name in names
    )
