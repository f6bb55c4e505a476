"""The distribution of a column as counts, and how far it moved from that of the earlier periods.

Counts over fixed edges (or by category) add up: over files, over periods, over machines. So no row is kept, and a
period of any size is compared with any number of earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

Counts = Mapping[str, int]


@dataclass(frozen=True)
class Profile:
    """A column whose distribution is compared with that of the earlier periods.

    Attributes
    ----------
    table, column : str
        What is counted.
    edges : tuple[float, ...]
        Inner edges of the bins of a number, ascending; empty for a category, which is counted by value.
    """

    table: str
    column: str
    edges: tuple[float, ...] = ()

    @property
    def measure(self) -> str:
        """The figure's name in ``months``, such as ``flights_carrier_shift``."""
        return f"{self.table}_{self.column}_shift"

    def labels(self, counts: Sequence[Counts]) -> list[str]:
        """The bins in order; of a category, every value seen, the most frequent first."""
        if self.edges:
            shown = [f"{edge:g}" for edge in self.edges]
            inner = [f"{low} to {high}" for low, high in pairwise(shown)]
            return [f"under {shown[0]}", *inner, f"{shown[-1]} and more"]
        total = add(counts)
        return sorted(total, key=lambda value: (-total[value], value))


def count(profile: Profile, frame: pl.DataFrame) -> dict[str, int]:
    """How many rows fall into each bin; nulls, whose share is checked by itself, into none."""
    values = frame.get_column(profile.column).drop_nulls()
    if profile.edges:
        numbers = values.cast(pl.Float64).to_numpy()
        places = np.searchsorted(np.asarray(profile.edges, dtype=float), numbers, side="right")
        found = np.bincount(places, minlength=len(profile.edges) + 1)
        return dict(zip(profile.labels([]), (int(number) for number in found), strict=True))
    return dict(values.cast(pl.String).value_counts(sort=True).sort("count", values.name).rows())


def add(counts: Sequence[Counts]) -> dict[str, int]:
    """Several periods as one."""
    total: dict[str, int] = {}
    for part in counts:
        for value, number in part.items():
            total[value] = total.get(value, 0) + number
    return total


def distance(one: Counts, other: Counts) -> float | None:
    """Jensen-Shannon distance of two distributions, 0 (the same) to 1 (nothing in common).

    The square root of the Jensen-Shannon divergence in bits: with m the mean of the shares p and q,
    ``sqrt((KL(p, m) + KL(q, m)) / 2)``. Symmetric, a metric, and finite where a category is new or gone, where the
    population stability index is not.

    Source: Lin (1991), "Divergence measures based on the Shannon entropy", IEEE Trans. Inf. Theory 37; that its root
    is a metric: Endres and Schindelin (2003), ibid. 49.

    Returns
    -------
    float or None
        None when one of the two is empty.

    Examples
    --------
    >>> distance({"a": 1}, {"a": 7}), distance({"a": 1}, {"b": 1}), distance({}, {"a": 1})
    (0.0, 1.0, None)
    """
    keys = sorted({*one, *other})
    p, q = (np.array([counts.get(key, 0) for key in keys], dtype=float) for counts in (one, other))
    if not p.sum() or not q.sum():
        return None
    p, q = p / p.sum(), q / q.sum()
    mean = (p + q) / 2
    divergence = sum(float(np.sum(x[x > 0] * np.log2(x[x > 0] / mean[x > 0]))) for x in (p, q)) / 2
    return round(float(np.sqrt(max(0.0, divergence))), 9)


def shifts(counts: Sequence[Counts]) -> list[float | None]:
    """Each period's distance from all periods before it together; None for the first.

    Parameters
    ----------
    counts : Sequence[Counts]
        One per period, oldest first.
    """
    found: list[float | None] = []
    earlier: dict[str, int] = {}
    for part in counts:
        found.append(distance(part, earlier))
        earlier = add([earlier, part])
    return found
