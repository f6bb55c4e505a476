"""Declared expectations and Polars frames in the form that Great Expectations takes: a suite, and a pandas frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from greenlight.core.conformity import row_hashes
from greenlight.core.contract import Expectation

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core import ExpectationSuite
    from great_expectations.expectations.expectation import Expectation as Compiled

SEVERITY = {"stop": "critical", "warn": "warning"}


def build(name: str, expectations: Sequence[Expectation], *, hashed: bool = False) -> ExpectationSuite:
    """The engine's suite of declared expectations; `hashed` when the rows have their ``key_columns``."""
    import great_expectations as gx

    return gx.ExpectationSuite(name=name, expectations=[compile_one(e, hashed=hashed) for e in expectations])


def compile_one(expectation: Expectation, *, hashed: bool = False) -> Compiled:
    """The engine's expectation of a declared one; its name, reason and owner travel in ``meta``."""
    import great_expectations.expectations as gxe

    column = expectation.columns[0] if expectation.columns else ""
    common: dict[str, Any] = {
        "meta": {"name": expectation.name, "reason": expectation.reason, "owner": expectation.owner},
        "severity": SEVERITY[expectation.severity],
        "description": f"{expectation.limit}: {expectation.reason}",
    }
    limits = {"min_value": expectation.minimum, "max_value": expectation.maximum}
    if expectation.rule == "rows":
        return gxe.ExpectTableRowCountToBeBetween(**limits, **common)
    if expectation.rule == "unique" and hashed:
        key = key_column(expectation)
        return gxe.ExpectColumnProportionOfUniqueValuesToBeBetween(column=key, min_value=1, **common)
    common["mostly"] = expectation.share
    if expectation.rule == "between":
        return gxe.ExpectColumnValuesToBeBetween(column=column, **limits, **common)
    if expectation.rule == "not_null":
        return gxe.ExpectColumnValuesToNotBeNull(column=column, **common)
    if expectation.rule == "one_of":
        return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(expectation.values), **common)
    if expectation.rule == "matches":
        return gxe.ExpectColumnValuesToMatchRegex(column=column, regex=expectation.pattern, **common)
    if len(expectation.columns) == 1:
        return gxe.ExpectColumnValuesToBeUnique(column=column, **common)
    return gxe.ExpectCompoundColumnsToBeUnique(column_list=list(expectation.columns), **common)


def key_column(expectation: Expectation) -> str:
    """The column that stands for those of a ``unique``, such as ``origin+time_hour``."""
    return "+".join(expectation.columns) + " "


def key_columns(expectations: Sequence[Expectation]) -> list[str]:
    """Columns that ``with_keys`` adds."""
    return [key_column(expectation) for expectation in expectations if expectation.rule == "unique"]


def with_keys(frame: pl.DataFrame, expectations: Sequence[Expectation]) -> pl.DataFrame:
    """`frame` with a hash per ``unique``: the engine's own SQL joins the table with itself, six times as slow."""
    unique = [expectation for expectation in expectations if expectation.rule == "unique"]
    return frame.with_columns(
        row_hashes(frame, expectation.columns).alias(key_column(expectation)) for expectation in unique
    )


def to_pandas(frame: pl.DataFrame, expectations: Sequence[Expectation]) -> pd.DataFrame:
    """The columns that `expectations` look at, made without pyarrow; text as categories, which compare faster."""
    import pandas as pd

    columns = dict.fromkeys(column for expectation in expectations for column in expectation.columns)
    return pd.DataFrame({name: _column(frame.get_column(name)) for name in columns}, index=range(frame.height))


def _column(series: pl.Series) -> Any:
    import pandas as pd

    if series.dtype in (pl.String, pl.Categorical, pl.Enum):
        text = series.cast(pl.String)
        vocabulary = text.drop_nulls().unique().sort()
        codes = text.cast(pl.Enum(vocabulary)).to_physical().cast(pl.Int32).fill_null(-1).to_numpy()
        return pd.Categorical.from_codes(codes, categories=pd.Index(vocabulary.to_list()))
    if series.dtype.is_numeric():
        return series.to_numpy() if series.null_count() == 0 else series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return series.to_numpy()  # instants and booleans
