"""The contract's value checks as plain Polars expressions: the yardstick for the engine's cost, and for its answers.

Reads the same declaration, so both check the same things; tests compare the two answers.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from greenlight.core.contract import Contract, Expectation


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
