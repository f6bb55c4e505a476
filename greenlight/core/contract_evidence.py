"""What a picture of a broken expectation shows: figures over the periods, or what the period holds beside the others.

Small numbers only, found in one more pass over the rows, and only where something is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from greenlight.core import conformity
from greenlight.core.batches import BATCH_TABLES
from greenlight.core.contract import COLUMNS, FILES, MONTHS, Expectation
from greenlight.core.contract_report import Failure
from greenlight.core.profiles import Profile, add

BINS = 24
CATEGORIES = 14  # bars shown; the rest is one more

Parts = Callable[[], Iterator[pl.DataFrame]]
Counts = Mapping[Profile, Mapping[str, Mapping[str, int]]]


@dataclass(frozen=True)
class Course:
    """One figure over the periods.

    Attributes
    ----------
    title : str
    periods : tuple[str, ...]
    values : tuple[float or None, ...]
        One per period.
    low, high : float or None
        Limits; None is open.
    broken : tuple[str, ...]
        Periods in which it does not hold.
    """

    title: str
    periods: tuple[str, ...]
    values: tuple[float | None, ...]
    low: float | None
    high: float | None
    broken: tuple[str, ...]


@dataclass(frozen=True)
class Beside:
    """What a period holds beside the others: shares of rows per bin.

    Attributes
    ----------
    title : str
    period : str
    labels : tuple[str, ...]
        Bins of a category, in order; empty for a number.
    edges : tuple[float, ...]
        Edges of the bins of a number, one more than bins; empty for a category.
    this, others : tuple[float, ...]
        Shares; `others` is empty where there is nothing to compare with.
    low, high : float or None
        Limits of a number.
    """

    title: str
    period: str
    labels: tuple[str, ...]
    edges: tuple[float, ...]
    this: tuple[float, ...]
    others: tuple[float, ...]
    low: float | None = None
    high: float | None = None


Evidence = Course | Beside


def evidence(
    expectation: Expectation,
    failures: Sequence[Failure],
    parts: Parts,
    counts: Counts,
) -> tuple[Evidence, ...]:
    """Pictures of one expectation that does not hold; at most two.

    Parameters
    ----------
    expectation : Expectation
    failures : Sequence[Failure]
        Its own, at least one.
    parts : callable
        Gives the parts of its table, each a period.
    counts : mapping
        Counts per profile and period.
    """
    if expectation.table in (FILES, COLUMNS) or expectation.rule == "rows":
        return ()
    worst = max(failures, key=lambda failure: (failure.share, failure.period)).period
    profile = next((p for p in counts if expectation.table == MONTHS and p.measure == expectation.columns[0]), None)
    broken = tuple(failure.period for failure in failures)
    if expectation.table == MONTHS or expectation.table in BATCH_TABLES:
        course = _figures(expectation, parts, broken)
        beside = (_profile(profile, counts[profile], worst),) if profile else ()
        return (*_of_several(course), *beside)
    if not worst:  # a register, or rows of several periods together
        values = _values(expectation, parts, worst)
        return (values,) if values else ()
    values = _values(expectation, parts, worst)
    return (*_of_several(_conforming(expectation, parts, broken)), *((values,) if values else ()))


def _of_several(course: Course) -> tuple[Course, ...]:
    """A figure of one period alone is no picture."""
    return (course,) if len(course.periods) > 1 else ()


def _figures(expectation: Expectation, parts: Parts, broken: tuple[str, ...]) -> Course:
    """The figure itself; of several rows of a period, the one farthest from nothing."""
    column = expectation.columns[0]
    found: list[tuple[str, float | None]] = []
    for part in parts():
        values = part.get_column(column).cast(pl.Float64)
        value = values.max() if expectation.table in BATCH_TABLES else values.item(0)
        found.append((str(part.item(0, "period")), _plain(value)))
    periods, figures = zip(*found, strict=True)
    return Course(f"{column} by month", periods, figures, expectation.minimum, expectation.maximum, broken)


def _conforming(expectation: Expectation, parts: Parts, broken: tuple[str, ...]) -> Course:
    found: list[tuple[str, float | None]] = []
    for part in parts():
        (count,) = conformity.count(part, [expectation])
        found.append((str(part.item(0, "period")), 100 * count.unexpected / count.looked if count.looked else 0.0))
    periods, shares = zip(*found, strict=True)
    return Course("per cent of the rows that do not conform", periods, shares, None, None, broken)


def _values(expectation: Expectation, parts: Parts, period: str) -> Evidence | None:
    if expectation.rule == "between":
        return _histogram(expectation, parts, period)
    if expectation.rule in ("one_of", "matches"):
        return _unexpected_values(expectation, parts, period)
    return None


def _histogram(expectation: Expectation, parts: Parts, period: str) -> Beside | None:
    column = expectation.columns[0]
    ends: list[float] = [limit for limit in (expectation.minimum, expectation.maximum) if limit is not None]
    for part in parts():
        values = _finite(part, column)
        if values.size:
            ends += [float(values.min()), float(values.max())]
    low, high = min(ends), max(ends)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    this, others = np.zeros(BINS), np.zeros(BINS)
    for part in parts():
        counts = np.histogram(_finite(part, column), bins=edges)[0]
        if _period(part) == period:
            this += counts
        else:
            others += counts
    if not this.sum():
        return None
    return Beside(
        title=f"{expectation.table}.{column}",
        period=period,
        labels=(),
        edges=tuple(float(f"{edge:.9g}") for edge in edges),
        this=_shares(this),
        others=_shares(others) if others.sum() else (),
        low=expectation.minimum,
        high=expectation.maximum,
    )


def _unexpected_values(expectation: Expectation, parts: Parts, period: str) -> Beside:
    column = expectation.columns[0]
    total: dict[str, int] = {}
    rows = 0
    for part in parts():
        if _period(part) == period:
            rows += part.height
            bad = part.filter(conformity.unexpected(expectation)).get_column(column).cast(pl.String)
            total = add([total, dict(bad.value_counts().rows())])
    labels = sorted(total, key=lambda value: (-total[value], value))[:CATEGORIES]
    shares = tuple(total[label] / rows for label in labels)
    return Beside(f"values of {expectation.table}.{column} that do not conform", period, tuple(labels), (), shares, ())


def _profile(profile: Profile, counts: Mapping[str, Mapping[str, int]], period: str) -> Beside:
    now = counts.get(period, {})
    earlier = add([part for name, part in counts.items() if name < period])
    labels = profile.labels([now, earlier])
    if not profile.edges:
        moved = {name: abs(_part(now, name) - _part(earlier, name)) for name in labels}
        labels = sorted(labels, key=lambda name: (-moved[name], name))[:CATEGORIES]
    this, others = ([_part(side, name) for name in labels] for side in (now, earlier))
    return Beside(f"{profile.table}.{profile.column}", period, tuple(labels), (), tuple(this), tuple(others))


def _part(counts: Mapping[str, int], name: str) -> float:
    total = sum(counts.values())
    return counts.get(name, 0) / total if total else 0.0


def _shares(counts: np.ndarray) -> tuple[float, ...]:
    return tuple(float(share) for share in counts / counts.sum())


def _finite(part: pl.DataFrame, column: str) -> np.ndarray:
    values = part.get_column(column).drop_nulls().cast(pl.Float64)
    return values.filter(values.is_finite()).to_numpy()


def _period(part: pl.DataFrame) -> str:
    return str(part.item(0, "period")) if "period" in part.columns else ""


def _plain(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None
