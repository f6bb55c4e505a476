"""A failure in words and example rows: what was seen, where, in how many rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from greenlight.core import conformity
from greenlight.core.batches import BATCH_TABLES
from greenlight.core.conformity import Count
from greenlight.core.contract import COLUMNS, FILES, Contract, Expectation, show
from greenlight.core.contract_report import MAX_EXAMPLES, Failure, Scalar
from greenlight.core.relations import KINDS, RELATIONS

PERIOD = "period"


def failure_of(
    contract: Contract,
    paths: Mapping[tuple[str, str], str],
    expectation: Expectation,
    part: pl.DataFrame,
    count: Count,
    *,
    known_bad: bool = False,
) -> Failure:
    """The failure of an expectation in one part of its table.

    Parameters
    ----------
    contract : Contract
    paths : mapping
        Files by table and period.
    expectation : Expectation
    part : pl.DataFrame
        The rows of a period or of a file; some rows that do not conform when `known_bad`.
    count : Count
        How many of how many do not conform.
    """
    row_check = expectation.rule != "rows"
    bad = part if known_bad or not row_check else part.filter(conformity.unexpected(expectation))
    period = str(part.item(0, PERIOD)) if PERIOD in part.columns and part.height else ""
    # what is wrong with a file, or in a table of one row per period, `observed` says already
    said = "file" in part.columns or not row_check or (count.rows == 1 and contract.table(expectation.table) is None)
    shown = [] if said else bad.head(MAX_EXAMPLES).select(_shown(contract, expectation, part)).to_dicts()
    return Failure(
        expectation=expectation.name,
        table=expectation.table,
        columns=expectation.columns,
        period=period,
        file=_file(paths, expectation, part, bad, period),
        observed=_observed(expectation, part, bad, count),
        limit=expectation.limit,
        unexpected=count.unexpected,
        rows=count.rows if row_check else 1,
        share=round(count.unexpected / count.rows, 6) if row_check and count.rows else 1.0,
        examples=tuple({key: scalar(value) for key, value in row.items()} for row in shown),
        reason=expectation.reason,
        severity=expectation.severity,
        owner=expectation.owner,
    )


def _file(
    paths: Mapping[tuple[str, str], str], expectation: Expectation, part: pl.DataFrame, bad: pl.DataFrame, period: str
) -> str:
    if "file" in part.columns:
        return str(part.item(0, "file"))
    about = expectation.about or expectation.table
    if expectation.table in BATCH_TABLES and bad.height:
        about = str(bad.item(0, "table"))
    return paths.get((about, period), "")


def _shown(contract: Contract, expectation: Expectation, part: pl.DataFrame) -> list[str]:
    """Columns of an example row: what names it, then what was looked at; of a table of figures, all."""
    table = contract.table(expectation.table)
    if table is None:
        left = set(KINDS) - set(expectation.columns) if expectation.table == RELATIONS else set()
        return [column for column in part.columns if column not in {PERIOD, "table", *left}]
    return list(dict.fromkeys((*table.key, *expectation.columns)))


def _observed(expectation: Expectation, part: pl.DataFrame, bad: pl.DataFrame, count: Count) -> str:
    """What was seen, in words."""
    if expectation.rule == "rows":
        return f"{show(count.rows)} rows"
    if expectation.rule == "not_null":
        return f"{show(count.unexpected)} null{'s' if count.unexpected != 1 else ''}"
    if expectation.rule == "unique":
        return f"{show(count.unexpected)} rows are alike"
    if expectation.table in BATCH_TABLES:
        return _figures(expectation, bad)
    if expectation.rule == "between":
        values = part.get_column(expectation.columns[0])
        low, high = show(values.min()), show(values.max())
        rows = " rows" if expectation.table == FILES else ""
        return f"{low if low == high else f'{low} to {high}'}{rows}"
    if expectation.table == COLUMNS:
        return "; ".join(f"{column} {state}" for column, state in bad.select("column", "state").rows())
    seen = dict.fromkeys(str(value) for value in bad.get_column(expectation.columns[0]).head(1000).to_list())
    return ", ".join(list(seen)[:MAX_EXAMPLES])


def _figures(expectation: Expectation, bad: pl.DataFrame) -> str:
    """Which columns or tables, each with its figure, the farthest off first."""
    column = expectation.columns[0]
    ordered = bad.sort(column, "of", descending=[True, False])
    rows = ordered.select("of", column).rows()
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    if expectation.table == RELATIONS:
        shown = ordered.head(3).select("of", "figure", "limit", "example").rows()
        return "; ".join(f"{of} {show(at)} against {show(most)} ({said})" for of, at, most, said in shown) + more
    return ", ".join(f"{of} {show(value)}" for of, value in rows[:3]) + more


def scalar(value: Any) -> Scalar:
    """A value that JSON holds exactly the same on every machine: floats to 9 significant digits, no NaN."""
    if isinstance(value, float):
        return None if value != value or abs(value) == float("inf") else float(f"{value:.9g}")
    return value if value is None or isinstance(value, str | int | bool) else str(value)
