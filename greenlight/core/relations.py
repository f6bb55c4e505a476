"""Relations between columns and groups that the earlier periods kept, and how far a period is from keeping them.

Nothing is declared but which columns may determine others and which columns split a table into groups; the rest is
learnt. Each period leaves figures behind (one per relation), and a figure is set against those of the periods before
it: its limit is the worst of them and an allowance, so a relation that never held is never asked for. Of a large period
a fixed sample of rows is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from greenlight.core.contract import Expectation, Severity, Table, Ties, between

RELATIONS = "relations"  # one row per period and learnt relation
KINDS = ("dependency", "implication", "equality", "group_shift", "group_nulls", "group_copy", "collapse", "still")
SCHEMA: dict[str, type[pl.DataType]] = {
    "figure": pl.Float64,
    "limit": pl.Float64,
    "example": pl.String,
    **dict.fromkeys(KINDS, pl.Float64),
}

SAMPLE = 30_000  # rows of a table and period that are looked at
SEED = 20130101
ENOUGH = 6  # earlier figures that the allowances are meant for; with fewer, which know less, they are wider
EARLIER = 3  # periods that must come before, for a spread to be known
ROWS = 300  # of a group in a period, for its quartiles to mean anything
DAY_ROWS = 12  # of a group in a day, for a day without variation to mean anything
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Allowance:
    """How far above the worst of the earlier figures a kind of figure may lie.

    The limit is ``max(earlier) + max(least, spread * (max(earlier) - min(earlier)), level * |max(earlier)|)``: a
    group far from the others is measured in a scale that moves with them, hence `level`. With fewer
    than ``ENOUGH`` earlier figures the allowance is ``ENOUGH / n`` times as large. Nothing is asked of a relation
    whose worst earlier figure is above `learnt`. Where every earlier figure is 0, the limit is `never`.
    """

    least: float
    spread: float
    learnt: float = math.inf
    never: float | None = None
    level: float = 0.0


# Set with April to December 2013 and ten copies of each, whole days drawn again; docs/contract.md says what was tried.
ALLOWANCES: Mapping[str, Allowance] = {
    "dependency": Allowance(0.03, 2.0, learnt=0.05),
    "implication": Allowance(0.05, 2.0, learnt=0.05),
    "equality": Allowance(0.20, 1.0),
    "group_shift": Allowance(1.25, 2.0, level=1.0),
    "group_nulls": Allowance(0.15, 1.5),
    "group_copy": Allowance(0.15, 2.0),
    "collapse": Allowance(math.log(2), 2.0),
    "still": Allowance(0.25, 2.0, never=0.0),
}


@dataclass(frozen=True)
class _Figure:
    period: str
    value: float
    example: str
    seen: int  # periods of the table before this one


def kept(kind: str, *, why: str, severity: Severity = "stop") -> Expectation:
    """No learnt relation of this kind is broken by more than the earlier periods broke it, plus the allowance."""
    return between(RELATIONS, kind, None, 0, why=why, severity=severity, unit="above what the earlier periods allow")


@dataclass
class Relations:
    """The figures of the periods seen so far; periods are added oldest first."""

    ties: Mapping[str, Ties]
    _figures: dict[tuple[str, str, str], list[_Figure]] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)
    _values: dict[tuple[str, tuple[str, ...], str], pl.DataFrame | None] = field(default_factory=dict)

    def add(self, period: str, table: Table, frame: pl.DataFrame) -> None:
        """Take the figures of one period of a table."""
        ties = self.ties.get(table.name)
        if ties is None or not frame.height:
            return
        rows = sample(table, frame)
        found: list[tuple[str, str, float, str]] = [
            *self._dependencies(ties, table, rows),
            *_implications(rows),
            *_equalities(table, rows),
            *_collapses(rows),
        ]
        for group in ties.groups:
            found += [*_group_figures(table, group, rows), *_copies(table, group, frame)]
        found += _still(table, ties.groups, rows)
        seen = self._seen.get(table.name, 0)
        for kind, of, value, example in found:
            if not math.isfinite(value):
                continue
            name = (kind, table.name, f"{table.name}.{of}")
            self._figures.setdefault(name, []).append(_Figure(period, round(value, 9), example, seen))
        self._seen[table.name] = seen + 1

    def rows(self) -> Iterator[dict[str, object]]:
        """One row per period and relation that is known well enough to be asked for."""
        for (kind, table, of), figures in self._figures.items():
            for place, figure in enumerate(figures):
                earlier = [other.value for other in figures[:place]]
                limit = _limit(ALLOWANCES[kind], earlier) if figure.seen >= EARLIER else None
                if limit is None or len(earlier) < EARLIER - 1:
                    continue
                over = round(max(0.0, figure.value - limit), 9)
                row = {"period": figure.period, "table": table, "of": of, "figure": figure.value, "limit": limit}
                yield {**row, "example": figure.example, kind: over}

    def _dependencies(self, ties: Ties, table: Table, rows: pl.DataFrame) -> Iterator[tuple[str, str, float, str]]:
        for columns in ties.determinants:
            for other in rows.columns:
                name = (table.name, columns, other)
                if other in columns or table.columns[other] not in ("text", "integer"):
                    continue
                if name in self._values and self._values[name] is None:
                    continue
                counts = rows.select(*columns, other).drop_nulls().group_by(*columns, other).len()
                before = self._values.get(name)
                if before is None:
                    within = _most_frequent(counts, columns)
                    total = int(counts.get_column("len").sum() or 0)
                    alike = total and int(within.get_column("len").sum()) / total
                    strong = alike and alike >= 1 - ALLOWANCES["dependency"].learnt
                    self._values[name] = counts if strong else None
                    continue
                yield from _broken(columns, other, before, counts)
                both = pl.concat([before, counts]).group_by(*columns, other).agg(pl.col("len").sum())
                self._values[name] = both


def sample(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """About ``SAMPLE`` rows of the declared columns but year and month, always the same ones."""
    factor = max(1, math.ceil(frame.height / SAMPLE))
    if factor > 1:
        frame = frame.filter(pl.int_range(frame.height, eager=True).hash(SEED) % factor == 0)
    columns = [_plain(name, kind) for name, kind in sorted(table.columns.items()) if name not in table.month]
    return frame.select(columns)


def _plain(name: str, kind: str) -> pl.Expr:
    """A column in one type for all periods, whatever the width in the file."""
    if kind == "number":
        return pl.col(name).cast(pl.Float64).fill_nan(None)
    if kind == "instant":
        return pl.col(name).dt.cast_time_unit("us")
    return pl.col(name).cast(pl.Int64() if kind == "integer" else pl.String())


def _limit(allowance: Allowance, earlier: Sequence[float]) -> float | None:
    if not earlier or max(earlier) > allowance.learnt:
        return None
    if allowance.never is not None and max(earlier) == 0:
        return allowance.never
    most, spread = max(earlier), max(earlier) - min(earlier)
    few = max(1.0, ENOUGH / len(earlier))
    return round(most + few * max(allowance.least, allowance.spread * spread, allowance.level * abs(most)), 9)


def _most_frequent(counts: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    ordered = counts.sort("len", *counts.columns[:-1], descending=[True] + [False] * (len(counts.columns) - 1))
    return ordered.unique(list(columns), keep="first", maintain_order=True)


def _broken(
    columns: tuple[str, ...], other: str, before: pl.DataFrame, counts: pl.DataFrame
) -> Iterator[tuple[str, str, float, str]]:
    """The share of the rows, of those whose determinant was seen before, in which it goes with another value."""
    usual = _most_frequent(before, columns).select(*columns, pl.col(other).alias("usual"))
    known = counts.join(usual, on=list(columns), how="inner")
    total = int(known.get_column("len").sum() or 0)
    if total < ROWS:
        return
    bad = known.filter(pl.col(other) != pl.col("usual"))
    example = ""
    if bad.height:
        first = bad.sort("len", *columns, descending=[True] + [False] * len(columns)).row(0, named=True)
        what = ", ".join(f"{column} {first[column]}" for column in columns)
        example = f"{what}: {other} {first[other]}, before {first['usual']}"
    yield "dependency", f"{'+'.join(columns)} -> {other}", int(bad.get_column("len").sum() or 0) / total, example


def _implications(rows: pl.DataFrame) -> Iterator[tuple[str, str, float, str]]:
    """Of the rows without a value in one column, the share that has one in another."""
    names = rows.columns
    empty = np.column_stack([rows.get_column(name).is_null().to_numpy() for name in names]).astype(np.float64)
    filled = empty.T @ (1 - empty)
    for place, one in enumerate(names):
        total = empty[:, place].sum()
        for at, other in enumerate(names):
            if at != place and total >= 20:
                example = f"{one} empty and {other} filled in {int(filled[place, at])} of {int(total)} rows"
                yield "implication", f"{one} empty -> {other} empty", float(filled[place, at] / total), example


def _equalities(table: Table, rows: pl.DataFrame) -> Iterator[tuple[str, str, float, str]]:
    """The share of rows in which two columns of one kind hold the same value."""
    pairs = [
        (one, other)
        for place, one in enumerate(rows.columns)
        for other in rows.columns[place + 1 :]
        if table.columns[one] == table.columns[other]
    ]
    same = (
        rows.select((pl.col(one) == pl.col(other)).mean().alias(f"{one} = {other}") for one, other in pairs).row(
            0, named=True
        )
        if pairs
        else {}
    )
    for name, share in same.items():
        if share is not None:
            yield "equality", name, float(share), f"the same in {share:.1%} of the rows"


def _collapses(rows: pl.DataFrame) -> Iterator[tuple[str, str, float, str]]:
    """Minus the entropy of a column, nats: its exponential is one over the number of equally frequent values."""
    for name in rows.columns:
        counts = rows.get_column(name).drop_nulls().value_counts().get_column("count").to_numpy()
        if counts.sum() < ROWS:
            continue
        shares = counts / counts.sum()
        entropy = float(-(shares * np.log(shares)).sum())
        yield "collapse", name, -entropy, f"as varied as {math.exp(entropy):.4g} equally frequent values"


def _group_figures(table: Table, group: str, rows: pl.DataFrame) -> Iterator[tuple[str, str, float, str]]:
    """Per group and column: how far its quartiles lie from the median group's, its share of nulls from the table's.

    The median group stands still when one group moves, which the whole table would not.
    """
    numbers = [name for name in rows.columns if table.columns[name] in ("integer", "number") and name != group]
    nullable = [name for name in rows.columns if name != group]
    asked = [
        *(pl.col(n).quantile(q, "linear").cast(pl.Float64).alias(f"{n} q{q}") for n in numbers for q in QUARTILES),
        *(pl.col(n).is_null().mean().alias(f"{n} null") for n in nullable),
        *(pl.col(name).count().alias(f"{name} count") for name in numbers),
        pl.len().alias("rows"),
    ]
    whole = rows.select(asked).row(0, named=True)
    own = rows.drop_nulls(group).group_by(group).agg(asked).filter(pl.col("rows") >= ROWS).sort(group)
    if own.height < 2:
        return
    whole |= own.select(pl.col(f"{n} q{q}").median() for n in numbers for q in QUARTILES).row(0, named=True)
    for part in own.iter_rows(named=True):
        for name in numbers:
            low, high = whole[f"{name} q0.25"], whole[f"{name} q0.75"]
            if low is None or high <= low or part[f"{name} count"] < ROWS:
                continue
            for q in QUARTILES:
                value = part[f"{name} q{q}"]
                if value is not None:
                    moved = (value - whole[f"{name} q{q}"]) / (high - low)
                    said = f"quartile {q} {value:.6g} beside {whole[f'{name} q{q}']:.6g} of most groups"
                    for sign, way in ((1, "above"), (-1, "below")):
                        yield "group_shift", f"{name} of {group} {part[group]} q{q} {way}", sign * moved, said
        for name in nullable:
            share, all_rows = part[f"{name} null"], whole[f"{name} null"]
            for sign, way in ((1, "more"), (-1, "fewer")):
                said = f"empty in {share:.1%} of its rows, {all_rows:.1%} of all"
                yield "group_nulls", f"{name} of {group} {part[group]} {way}", sign * (share - all_rows), said


def _copies(table: Table, group: str, frame: pl.DataFrame) -> Iterator[tuple[str, str, float, str]]:
    """The share of a group's rows that stand in another group too, all other columns alike; of the worst group."""
    factor = max(1, math.ceil(frame.height / SAMPLE))
    if factor > 1 and table.instant:  # rows of the same instants in every group, so that copies stay side by side
        frame = frame.filter(pl.col(table.instant).hash(SEED) % factor == 0)
    names = [name for name in sorted(table.columns) if name != group]
    kept_rows = frame.select(pl.col(group), frame.select(names).hash_rows(SEED).alias("hash"))
    many = kept_rows.group_by("hash").agg(pl.col(group).n_unique().alias("groups"))
    shares = (
        kept_rows.join(many, on="hash")
        .group_by(group)
        .agg((pl.col("groups") > 1).mean().alias("share"), pl.len().alias("rows"))
        .filter(pl.col("rows") >= ROWS)
        .sort("share", group, descending=[True, False])
    )
    if shares.height:
        worst = shares.row(0, named=True)
        yield "group_copy", group, worst["share"], f"{group} {worst[group]}: {worst['share']:.1%} of its rows"


def _still(table: Table, groups: Sequence[str], rows: pl.DataFrame) -> list[tuple[str, str, float, str]]:
    """Days (of the table, and of each group) in which a column has one value only, over all days."""
    if not table.instant:
        return []
    day = pl.col(table.instant).dt.date().alias("date")
    found = []
    for group in ("", *groups):
        by = [day, pl.col(group)] if group else [day]
        names = [name for name in rows.columns if name not in (table.instant, group)]
        days = rows.group_by(by).agg(
            *(((pl.col(n).drop_nulls().n_unique() == 1) & (pl.col(n).count() >= DAY_ROWS)).alias(n) for n in names),
            pl.len().alias(" rows"),
        )
        usual = pl.col(" rows").median().over(group) if group else pl.col(" rows").median()
        days = days.filter((pl.col(" rows") >= DAY_ROWS) & (pl.col(" rows") >= usual / 2))  # no day that is cut
        if not days.height:
            continue
        for name in names:
            still = days.filter(pl.col(name)).sort("date")
            example = (
                ""
                if not still.height
                else " ".join(str(v) for v in still.select("date", *([group] if group else [])).row(0))
            )
            found.append(
                ("still", f"{name} by day" + (f" and {group}" if group else ""), still.height / days.height, example)
            )
    return found
