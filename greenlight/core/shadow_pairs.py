"""Both versions' answers to the same requests, joined from their prediction logs.

The edge drops what the shadow answers, so that the comparison is a join of two logs by request id and row. It must not
know what is too large a difference (`greenlight.core.shadow`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from greenlight.core.rate_bound import Rate
from greenlight.errors import UsageError

KEY = ("request_id", "row")
COLUMNS = {
    "request_id": pl.String,
    "row": pl.Int32,
    "probability": pl.Float32,
    "decision": pl.Boolean,
    "ms": pl.Float32,
    "status": pl.Int32,
    "row_json": pl.String,
}
FAILED = 500  # statuses from here on


@dataclass(frozen=True, eq=False)
class Pairs:
    """What both versions said.

    Attributes
    ----------
    rows : DataFrame
        One line per row that both answered: `KEY`, ``stable``, ``candidate`` (probabilities), ``difference`` (candidate
        minus stable), ``flip`` (the decisions differ), ``to_yes`` (the candidate's decision), ``row_json``, ``code``
        (0 to the number of requests - 1).
    requests : DataFrame
        One line per request that is in both logs: ``request_id``, ``stable_failed``, ``candidate_failed``,
        ``stable_ms``, ``candidate_ms``. A candidate that answered another number of rows has failed.
    only_stable, only_candidate : int
        Requests that are in one log only.
    ambiguous : int
        Requests left out because a log has one of their rows twice: a client used a request id again, and which answer
        belongs to which is not known.
    """

    rows: pl.DataFrame
    requests: pl.DataFrame
    only_stable: int
    only_candidate: int
    ambiguous: int

    def rate(self, event: NDArray[np.bool_], among: NDArray[np.bool_] | None = None) -> Rate:
        """How often something happened to a row, with requests as trials: those of one request move together.

        Parameters
        ----------
        event : (rows,) bool
        among : (rows,) bool, optional
            The rows that count; a request without any is no trial.
        """
        code = self.rows["code"].to_numpy()
        counts = np.ones(code.size) if among is None else among.astype(np.float64)
        size = np.bincount(code, counts)
        happened = np.bincount(code, counts * event)
        tried = size > 0
        # Sums of fractions may come out a hair above their number.
        trials = int(tried.sum())
        return Rate(trials, min(float((happened[tried] / size[tried]).sum()), trials))


def join(stable: pl.DataFrame, candidate: pl.DataFrame) -> Pairs:
    """Join two frames of the prediction log.

    Parameters
    ----------
    stable, candidate : DataFrame
        Rows of one version each, with the columns of `COLUMNS` at least. A request that failed is one line without a
        probability.

    Raises
    ------
    UsageError
        A column is missing or of another kind.
    """
    mine, its = _read(candidate, "candidate"), _read(stable, "stable")
    twice = pl.concat([_twice(mine), _twice(its)]).unique()
    mine, its = (frame.join(twice, on="request_id", how="anti") for frame in (mine, its))
    by_request = _requests(its, "stable").join(_requests(mine, "candidate"), on="request_id", how="full", coalesce=True)
    other_rows = ~pl.col("stable_failed") & (pl.col("candidate_rows") != pl.col("stable_rows"))
    in_both = (
        by_request.drop_nulls(["stable_failed", "candidate_failed"])
        .with_columns(candidate_failed=pl.col("candidate_failed") | other_rows)
        .sort("request_id")
    )
    answered = pl.col("answered")
    rows = (
        its.filter(answered)
        .select(*KEY, "row_json", stable="probability", said="decision")
        .join(mine.filter(answered).select(*KEY, candidate="probability", says="decision"), on=KEY, how="inner")
        .with_columns(
            difference=pl.col("candidate").cast(pl.Float64) - pl.col("stable").cast(pl.Float64),
            flip=pl.col("said") != pl.col("says"),
            to_yes=pl.col("says"),
            code=pl.col("request_id").rank("dense").cast(pl.Int64) - 1,
        )
        .drop("said", "says")
        .sort(KEY)
    )
    return Pairs(
        rows,
        in_both,
        only_stable=by_request["candidate_failed"].null_count(),
        only_candidate=by_request["stable_failed"].null_count(),
        ambiguous=twice.height,
    )


def _read(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise UsageError(f"the {name}'s log has no column {', '.join(missing)}")
    try:
        typed = frame.select(pl.col(column).cast(kind) for column, kind in COLUMNS.items())
    except pl.exceptions.PolarsError as exc:
        raise UsageError(f"the {name}'s log has a column of another kind: {exc}") from exc
    # An answer is a probability and a decision; NaN, 1.2 or a 5xx is none.
    answered = pl.col("probability").is_between(0, 1) & (pl.col("status") < FAILED) & pl.col("decision").is_not_null()
    return typed.with_columns(answered=answered.fill_null(False))


def _twice(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.struct(KEY).is_duplicated()).select("request_id").unique()


def _requests(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """One line per request: whether any of its rows has no answer, and how long it took."""
    return frame.group_by("request_id").agg(
        (~pl.col("answered")).any().alias(f"{name}_failed"),
        pl.col("ms").max().alias(f"{name}_ms"),
        pl.len().alias(f"{name}_rows"),
    )


def quantiles(values: Any, at: tuple[float, ...]) -> dict[str, float]:
    """Quantiles by name, such as ``p99``; empty where there is no value."""
    its = np.asarray(values, dtype=np.float64)
    its = its[np.isfinite(its)]
    if not its.size:
        return {}
    return {f"p{100 * q:g}": float(v) for q, v in zip(at, np.quantile(its, at), strict=True)}
