"""The contract's value checks as plain Polars expressions: the yardstick for the engine's cost, and for its answers.

Reads the same declaration, so both check the same things; tests compare the two answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from greenlight.core.batches import Batches
from greenlight.core.conformity import row_hashes
from greenlight.core.contract import MONTHS, Contract, Expectation

Periods = Iterable[tuple[str, Mapping[str, pl.DataFrame]]]


def tables(contract: Contract, raw: Mapping[tuple[str, str], pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Everything that the contract looks at, files aside.

    Parameters
    ----------
    contract : Contract
        What must hold.
    raw : mapping
        Frames by table and period; the period of a register is empty.
    """
    periods = sorted({period for _, period in raw if period})
    registers = {table: frame for (table, period), frame in raw.items() if not period}
    batches = Batches(contract)
    parts: dict[str, list[pl.DataFrame]] = {}
    for period in periods:
        own = {t: f.with_columns(period=pl.lit(period)) for (t, p), f in raw.items() if p == period}
        derived = contract.derive({**registers, **own}, [period])
        batches.add(period, own, derived)
        for name in derived.keys() - registers.keys():
            parts.setdefault(name, []).append(derived[name])
    found = {name: pl.concat(frames, how="vertical_relaxed") for name, frames in parts.items()}
    found[MONTHS] = batches.measures(contract.compare(found[MONTHS]))
    return contract.derive(registers, []) | found | batches.tables([table.name for table in contract.tables])


def broken(contract: Contract, tables: Mapping[str, pl.DataFrame]) -> list[str]:
    """Names of the expectations that do not hold, in the order of declaration.

    Parameters
    ----------
    contract : Contract
        What must hold.
    tables : Mapping[str, pl.DataFrame]
        What ``contract.derive`` made; expectations of other tables are not looked at.
    """
    found: set[str] = set()
    for name, frame in tables.items():
        expectations = [e for e in contract.of(name) if e.rule != "rows"]
        shares = frame.select(_good_share(e).alias(str(i)) for i, e in enumerate(expectations)).row(0)
        found |= {
            e.name for e, share in zip(expectations, shares, strict=True) if share is not None and share < e.share
        }
        found |= {e.name for e in contract.of(name) if e.rule == "rows" and not _in_range(e, frame.height)}
    return [e.name for e in contract.expectations if e.name in found]


def _good_share(expectation: Expectation) -> pl.Expr:
    """Share of the rows (of the values that are not null, but for not_null) that conform."""
    if expectation.rule == "unique":
        return pl.struct(expectation.columns).is_unique().mean()
    column = pl.col(expectation.columns[0])
    if expectation.rule == "not_null":
        return column.is_not_null().mean()
    if expectation.rule == "one_of":
        return column.is_in(expectation.values).mean()
    if expectation.rule == "matches":
        return column.str.contains(expectation.pattern).mean()
    good = pl.lit(value=True)
    if expectation.minimum is not None:
        good = good & (column >= expectation.minimum)
    if expectation.maximum is not None:
        good = good & (column <= expectation.maximum)
    return good.mean()


def _in_range(expectation: Expectation, rows: int) -> bool:
    low, high = expectation.minimum, expectation.maximum
    return (low is None or rows >= low) and (high is None or rows <= high)


def streamed(contract: Contract, registers: Mapping[str, pl.DataFrame], periods: Periods) -> int:
    """Number of expectations that hold, the snapshot read month by month and never held as a whole.

    The expectations of files and columns are left out: they cost nothing whoever checks them.
    """
    batches, names = Batches(contract), list[str]()
    good: dict[str, list[tuple[float, int]]] = {}
    keys: dict[str, list[pl.Series]] = {}
    months = []
    for period, own in periods:
        derived = contract.derive({**registers, **own}, [period])
        batches.add(period, own, derived)
        months.append(derived.pop(MONTHS))
        for name in derived.keys() - registers.keys():
            declared = [e for e in contract.of(name) if e.rule != "unique"]
            shares = derived[name].select(_good_share(e).alias(str(i)) for i, e in enumerate(declared)).row(0)
            for e, share in zip(declared, shares, strict=True):
                good.setdefault(e.name, []).append((1.0 if share is None else share, derived[name].height))
            for e in (e for e in contract.of(name) if e.rule == "unique"):
                keys.setdefault(e.name, []).append(row_hashes(derived[name], e.columns))
        names.append(period)
    small = {MONTHS: batches.measures(contract.compare(pl.concat(months)))}
    small |= contract.derive(registers, []) | batches.tables([table.name for table in contract.tables])
    left = set(broken(contract, small))
    left |= {e.name for e in contract.expectations if e.name in good and _share(good[e.name]) < e.share}
    left |= {name for name, hashes in keys.items() if pl.concat(hashes).is_duplicated().any()}
    return len(contract.expectations) - len(left)


def _share(parts: list[tuple[float, int]]) -> float:
    return sum(share * rows for share, rows in parts) / max(1, sum(rows for _, rows in parts))
