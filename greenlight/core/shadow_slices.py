"""Where two versions differ most: parts of the rows by the columns that clients sent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from greenlight.core.bounds import holm, t_tail
from greenlight.core.paired import Clusters, clustered_se
from greenlight.core.rate_bound import Rate
from greenlight.core.shadow_pairs import Pairs
from greenlight.core.slice_search import Cut, column, ranges

MOST = 100_000  # rows that are decoded: every k-th of more
LARGEST = 2**63  # of whole numbers; JSON has no limit, float64 has
FEW_VALUES = 8  # a number with no more is taken as categories


@dataclass(frozen=True)
class Slice:
    """One part of the rows.

    Attributes
    ----------
    name : str
        Such as ``origin JFK`` or ``distance 502 to 872``.
    rows : int
    difference, rest : float
        Mean absolute difference of the scores in it and outside.
    flips : float
        Share of its requests' rows whose decision differs.
    chance : float
        Of a gap to the rest as large by luck, after Holm's correction for every slice looked at; for one look.
    flip_rate : Rate
        Flips in it, with requests as trials.
    """

    name: str
    rows: int
    difference: float
    rest: float
    flips: float
    chance: float
    flip_rate: Rate

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def find(pairs: Pairs, *, min_rows: int) -> list[Slice]:
    """Every slice of at least `min_rows` rows, with as many outside, the most surely different first.

    Notes
    -----
    The gap between the mean absolute difference inside and outside is held against its standard error with requests as
    clusters (`greenlight.core.paired.clustered_se`), one-sided by Student's t.
    """
    step = -(-pairs.rows.height // MOST)
    rows = pairs.rows.gather_every(step) if step > 1 else pairs.rows
    part = Pairs(rows, pairs.requests, pairs.only_stable, pairs.only_candidate, pairs.ambiguous)
    apart = rows["difference"].abs().to_numpy()
    clusters = Clusters.of(rows["code"].to_numpy())
    found: list[tuple[str, NDArray[np.bool_], float, float, float]] = []
    for cut in _cuts(rows):
        sizes = np.bincount(cut.member, minlength=len(cut.names))
        for index in np.flatnonzero((sizes >= min_rows) & (rows.height - sizes >= min_rows)):
            inside = cut.member == index
            found.append((cut.names[index], inside, *_gap(apart, inside, clusters)))
    chances = holm([chance for *_, chance in found])
    flips = rows["flip"].to_numpy()
    slices = [
        Slice(name, int(inside.sum()), mean, rest, rate.failures / rate.trials, chance, rate)
        for (name, inside, mean, rest, _), chance in zip(found, chances, strict=True)
        for rate in (part.rate(flips, inside),)
    ]
    return sorted(slices, key=lambda its: (its.chance, its.rest - its.difference, its.name))


def _gap(apart: NDArray[np.float64], inside: NDArray[np.bool_], clusters: Clusters) -> tuple[float, float, float]:
    """Mean inside, mean outside, and the chance of a gap as large upwards."""
    share = inside.mean()
    mean, rest = float(apart[inside].mean()), float(apart[~inside].mean())
    pull = np.where(inside, (apart - mean) / share, (rest - apart) / (1 - share))
    se = clustered_se(pull, clusters)
    if not se > 0:  # one request, or differences that are all alike
        return mean, rest, 1.0
    return mean, rest, t_tail((mean - rest) / se, clusters.count - 1)


def _cuts(rows: pl.DataFrame) -> list[Cut]:
    """A cut for every simple column of the rows as they were sent."""
    sent = [_decode(text) for text in rows["row_json"].to_list()]
    names = dict.fromkeys(name for row in sent for name in row)
    return [_cut(name, [_simple(row.get(name)) for row in sent]) for name in names]


def _decode(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _simple(value: Any) -> Any:
    if isinstance(value, int) and abs(value) > LARGEST:
        return None
    return value if isinstance(value, str | bool | int | float) else None


def _cut(name: str, values: list[Any]) -> Cut:
    known = [value for value in values if value is not None]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    if numbers and len(set(known)) > FEW_VALUES:
        return ranges(name, np.array([np.nan if v is None else v for v in values], dtype=np.float64))
    return column(name, np.array(values, dtype=object))
