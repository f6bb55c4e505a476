"""What one period says about those before it: nulls, copies, freshness, distributions, and corrections.

Each period is looked at once and leaves small facts behind (counts, and hashes of rows), so that any number of periods
can be set side by side without keeping their rows. The tables made here are checked like any other.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from greenlight.core.contract import Contract, Expectation, Severity, Table, between
from greenlight.core.profiles import Profile, count, shifts
from greenlight.core.relations import RELATIONS, SCHEMA, Relations
from greenlight.core.rows import compare_rows

NULLS = "nulls"  # one row per period, table and column: share of nulls, and its rise over the earlier periods
COPIES = "copies"  # one row per period and table: share of the rows that an earlier or learnt period has, but for dates
FRESHNESS = "freshness"  # one row per period and table: days between the newest row and the end of the period
CORRECTIONS = "corrections"  # one row per period and table that the champion's run knew too: what is different now
BATCH_TABLES = (NULLS, COPIES, FRESHNESS, CORRECTIONS, RELATIONS)

SAMPLE = 200_000  # rows of a period that are compared with other periods; larger ones are thinned out by their hash
SEED = 20131

Frames = Mapping[str, pl.DataFrame]
SCHEMAS: dict[str, dict[str, type[pl.DataType]]] = {
    NULLS: {"share": pl.Float64, "rise": pl.Float64},
    COPIES: {"rows": pl.Int64, "copied_share": pl.Float64, "most_from": pl.String},
    FRESHNESS: {"newest": pl.String, "days_behind": pl.Int64},
    CORRECTIONS: {
        "rows_before": pl.Int64,
        "added": pl.Int64,
        "removed": pl.Int64,
        "changed": pl.Int64,
        "corrected_share": pl.Float64,
    },
    RELATIONS: SCHEMA,
}


def null_rise(maximum: float, *, why: str, severity: Severity = "stop") -> Expectation:
    """In no column does the share of nulls rise by more than `maximum` over the highest of the earlier periods."""
    return between(NULLS, "rise", None, maximum, why=why, severity=severity, unit="of the rows")


def copied(maximum: float, *, why: str, severity: Severity = "stop") -> Expectation:
    """At most `maximum` of a period's rows stand in an earlier period too, but for year, month and instant.

    Earlier are the run's own periods before it, and every other one that the champion learnt from.
    """
    return between(COPIES, "copied_share", None, maximum, why=why, severity=severity, unit="of the rows")


def fresh(days: int, *, why: str, severity: Severity = "stop") -> Expectation:
    """The newest row of a period is at most `days` older than the period's last day."""
    return between(FRESHNESS, "days_behind", None, days, why=why, severity=severity, unit="days")


def corrected(maximum: float, *, why: str, severity: Severity = "stop") -> Expectation:
    """Of a period that the champion was trained on, at most `maximum` of the rows are other ones now."""
    return between(CORRECTIONS, "corrected_share", None, maximum, why=why, severity=severity, unit="of the rows")


@dataclass
class Batches:
    """The facts of the periods seen so far; periods are added oldest first."""

    contract: Contract
    counts: dict[Profile, dict[str, dict[str, int]]] = field(default_factory=dict)
    _nulls: dict[tuple[str, str], list[tuple[str, float]]] = field(default_factory=dict)
    _hashes: dict[str, list[tuple[str, int, pl.Series]]] = field(default_factory=dict)
    _rows: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    _learnt: dict[str, list[tuple[str, int, pl.Series]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._relations = Relations({ties.table: ties for ties in self.contract.ties})

    def add(self, period: str, raw: Frames, derived: Frames) -> None:
        """Take the facts of one period: its tables as they came, and with what the dataset derives."""
        for table in self.contract.tables:
            frame = raw.get(table.name)
            if frame is None or table.register:
                continue
            self._count_nulls(period, table, frame)
            self._relations.add(period, table, frame)
            self._hashes.setdefault(table.name, []).append((period, frame.height, fingerprints(table, frame)))
            if table.instant:
                self._keep(FRESHNESS, period, table.name, _freshness(period, frame.get_column(table.instant)))
        for profile in self.contract.profiles:
            if profile.table in derived:
                self.counts.setdefault(profile, {})[period] = count(profile, derived[profile.table])

    def learn(self, period: str, table: Table, frame: pl.DataFrame) -> None:
        """Take rows that the champion learnt from, of a period that the run has not: what stands there is a copy."""
        self._learnt.setdefault(table.name, []).append((period, frame.height, fingerprints(table, frame)))

    def correct(self, period: str, table: Table, before: pl.DataFrame, now: pl.DataFrame) -> None:
        """Take what changed in a period since the champion's run."""
        found = compare_rows(before, now, table.key)
        differ = found.added + found.removed + found.changed
        self._keep(
            CORRECTIONS,
            period,
            table.name,
            {
                "rows_before": before.height,
                "added": found.added,
                "removed": found.removed,
                "changed": found.changed,
                "corrected_share": min(1.0, differ / before.height) if before.height else float(now.height > 0),
            },
        )

    def tables(self, sound: Sequence[str]) -> dict[str, pl.DataFrame]:
        """The tables to check, as far as there is anything in them; of the tables in `sound` only."""
        rows = dict(self._rows) | {
            NULLS: self._null_rows(),
            COPIES: self._copy_rows(),
            RELATIONS: list(self._relations.rows()),
        }
        found = {}
        for name in BATCH_TABLES:
            schema: dict[str, type[pl.DataType]] = {
                "period": pl.String,
                "table": pl.String,
                "of": pl.String,
                **SCHEMAS[name],
            }
            kept = [row for row in rows.get(name, []) if row["table"] in sound]
            frame = pl.DataFrame(kept, schema=schema, orient="row").sort("period", "table", "of", maintain_order=True)
            # no champion, or no month in common: nothing was corrected; too few months: no relation is known
            if frame.height or name in (CORRECTIONS, RELATIONS):
                found[name] = frame
        return found

    def measures(self, months: pl.DataFrame) -> pl.DataFrame:
        """`months` with a column per profile: how far each period's distribution is from the earlier ones'."""
        periods = months.get_column("period").to_list()
        columns = []
        for profile in self.contract.profiles:
            counts = self.counts.get(profile, {})
            values = shifts([counts.get(period, {}) for period in periods])
            columns.append(pl.Series(profile.measure, values, dtype=pl.Float64))
        return months.with_columns(columns)

    def _count_nulls(self, period: str, table: Table, frame: pl.DataFrame) -> None:
        for column in sorted(table.columns):
            share = frame.get_column(column).null_count() / frame.height if frame.height else 0.0
            self._nulls.setdefault((table.name, column), []).append((period, share))

    def _null_rows(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for (table, column), shares in self._nulls.items():
            highest: float | None = None
            for period, share in shares:
                rise = None if highest is None else round(share - highest, 9)
                found.append(
                    {"period": period, "table": table, "of": f"{table}.{column}", "share": share, "rise": rise}
                )
                highest = share if highest is None else max(highest, share)
        return found

    def _copy_rows(self) -> list[dict[str, object]]:
        return [
            row for table, parts in self._hashes.items() for row in _copies(table, parts, self._learnt.get(table, []))
        ]

    def _keep(self, name: str, period: str, table: str, facts: Mapping[str, object]) -> None:
        self._rows.setdefault(name, []).append({"period": period, "table": table, "of": table, **facts})


def fingerprints(table: Table, frame: pl.DataFrame) -> pl.Series:
    """A hash per row of everything but its date, thinned out to about ``SAMPLE`` of them.

    Which rows are kept depends on the hash alone, so two periods keep the same ones of what they have in common.
    """
    when = {*table.month, table.instant}
    kinds: dict[str, pl.DataType] = {"integer": pl.Int64(), "number": pl.Float64(), "text": pl.String()}
    columns = [
        pl.col(name).cast(kinds[kind], strict=False) if kind in kinds else pl.col(name).dt.epoch("us")
        for name, kind in sorted(table.columns.items())
        if name not in when
    ]
    found = frame.select(columns).hash_rows(SEED).alias("hash")
    return found.filter(found % _thinning(frame.height) == 0)


def _thinning(rows: int) -> int:
    """One row in so many is kept: a power of two, so that what is kept of a large period is kept of a small one too."""
    factor = 1
    while rows / factor > SAMPLE:
        factor *= 2
    return factor


def _copies(
    table: str, own: Sequence[tuple[str, int, pl.Series]], learnt: Sequence[tuple[str, int, pl.Series]]
) -> list[dict[str, object]]:
    """Per period of `own`: which share of its rows was in an earlier or learnt one, and in which most of them."""
    parts = [*learnt, *own]
    factor = max((_thinning(rows) for _, rows, _ in parts), default=1)
    seen = pl.concat(
        pl.DataFrame({"hash": hashes.filter(hashes % factor == 0)}).with_columns(place=pl.lit(place, pl.Int64))
        for place, (_, _, hashes) in enumerate(parts)
    )
    first = seen.group_by("hash").agg(pl.col("place").min().alias("first"))
    sources = seen.join(first, on="hash", how="left")
    again = sources.filter(pl.col("first") < pl.col("place")).group_by("place", "first").len()
    looked = dict(sources.group_by("place").len().rows())
    found: list[dict[str, object]] = []
    for place, (period, rows, _) in enumerate(parts[len(learnt) :], start=len(learnt)):
        repeated = again.filter(pl.col("place") == place).sort("len", "first", descending=[True, False])
        share = repeated.get_column("len").sum() / looked[place] if looked.get(place) else 0.0
        most = parts[repeated.item(0, "first")][0] if repeated.height else ""
        row = {"period": period, "table": table, "of": table, "rows": rows, "copied_share": round(share, 9)}
        found.append({**row, "most_from": most})
    return found


def _freshness(period: str, instants: pl.Series) -> dict[str, object]:
    year, month = int(period[:4]), int(period[5:7])
    last = dt.date(year, month, calendar.monthrange(year, month)[1])
    newest = instants.dt.date().max()
    if not isinstance(newest, dt.date):
        return {"newest": None, "days_behind": None}
    return {"newest": newest.isoformat(), "days_behind": max(0, (last - newest).days)}
