"""Which rows do not conform to an expectation, as plain Polars expressions: where a failure is, and what it looks like.

The engine says whether an expectation holds; these say in which period, in how many rows, and in which of them, without
asking the engine once more for each period. Tests compare the two over every expectation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
from polars import selectors as cs

from greenlight.core.contract import Expectation

SEED = 7  # of the hashes that tell rows apart


@dataclass(frozen=True)
class Count:
    """How a part of a table conforms.

    Attributes
    ----------
    rows : int
        All of them.
    looked : int
        Those that count: of a value check, the ones that are not null.
    unexpected : int
        Those that do not conform.
    """

    rows: int
    looked: int
    unexpected: int

    def __add__(self, other: Count) -> Count:
        return Count(self.rows + other.rows, self.looked + other.looked, self.unexpected + other.unexpected)

    def holds(self, share: float) -> bool:
        """Whether at least `share` of what counts conforms."""
        return self.unexpected == 0 or (self.looked - self.unexpected) / self.looked >= share


def unexpected(expectation: Expectation) -> pl.Expr:
    """True for the rows that do not conform; never null."""
    if expectation.rule == "unique":
        return pl.struct(expectation.columns).is_duplicated()
    column = pl.col(expectation.columns[0])
    if expectation.rule == "not_null":
        return column.is_null()
    if expectation.rule == "one_of":
        good = column.is_in(list(expectation.values))
    elif expectation.rule == "matches":
        good = column.str.contains(expectation.pattern)
    else:
        good = pl.lit(value=True)
        if expectation.minimum is not None:
            good = good & (column >= expectation.minimum)
        if expectation.maximum is not None:
            good = good & (column <= expectation.maximum)
    return (~good & column.is_not_null()).fill_null(value=False)


def count(frame: pl.DataFrame, expectations: Sequence[Expectation]) -> list[Count]:
    """Each expectation's count over a frame, in one pass; a row count that is out of range is one unexpected row."""
    exprs = []
    for place, expectation in enumerate(expectations):
        if expectation.rule == "rows":
            continue
        exprs.append(unexpected(expectation).sum().alias(f"bad{place}"))
        if expectation.rule not in ("unique", "not_null"):
            exprs.append(pl.col(expectation.columns[0]).count().alias(f"looked{place}"))
    found = frame.select(exprs).row(0, named=True) if exprs else {}
    counts = []
    for place, expectation in enumerate(expectations):
        if expectation.rule == "rows":
            counts.append(Count(frame.height, 1, int(not _in_range(expectation, frame.height))))
        else:
            looked = int(found.get(f"looked{place}", frame.height))
            counts.append(Count(frame.height, looked, int(found[f"bad{place}"])))
    return counts


def alike(parts: Iterator[pl.DataFrame], expectation: Expectation) -> tuple[Count, list[pl.Series]]:
    """Rows that are alike across all parts together, and a mask for each part.

    Keeps a hash of 64 bits per row: of 30 million rows two that differ look alike once in 40,000 times.
    """
    hashes = [row_hashes(part, expectation.columns) for part in parts]
    together = pl.concat(hashes).is_duplicated() if hashes else pl.Series(dtype=pl.Boolean)
    masks, place = [], 0
    for part in hashes:
        masks.append(together.slice(place, len(part)))
        place += len(part)
    return Count(len(together), len(together), int(together.sum() or 0)), masks


def row_hashes(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """A hash per row of some columns; equal numbers of different widths have equal hashes."""
    wide = frame.select(columns).cast({cs.integer(): pl.Int64, cs.float(): pl.Float64}, strict=False)
    return wide.hash_rows(SEED)


def _in_range(expectation: Expectation, rows: int) -> bool:
    low, high = expectation.minimum, expectation.maximum
    return (low is None or rows >= low) and (high is None or rows <= high)
