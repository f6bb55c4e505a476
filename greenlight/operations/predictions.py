"""What is kept of predictions: how much, and making it compact."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import polars as pl

from greenlight.adapters.prediction_log import PredictionLog
from greenlight.config import Settings


def summary(settings: Settings) -> dict[str, Any]:
    """What is kept, by version and day.

    Returns
    -------
    dict
        ``days``: version, day, ``rows``, ``failed`` (requests without an answer), ``shadow``, ``played``,
        ``of_tables``, ``ms_p50``, ``ms_p99``; ``bytes`` and ``limit_mb`` of all together.
    """
    log = PredictionLog(settings.home)
    days = (
        log.scan(tables=True)
        .with_columns(pl.from_epoch("at", time_unit="us").dt.strftime("%Y-%m-%d").alias("day"))
        .group_by("version", "day")
        .agg(
            pl.len().alias("rows"),
            pl.col("probability").is_null().sum().alias("failed"),
            pl.col("shadow").sum(),
            pl.col("played").sum(),
            pl.col("bulk").sum().alias("of_tables"),
            pl.col("ms").quantile(0.5).alias("ms_p50"),
            pl.col("ms").quantile(0.99).alias("ms_p99"),
        )
        .sort("version", "day")
        .collect()
    )
    return {"days": days.to_dicts(), "bytes": log.bytes(), "limit_mb": settings.prediction_log_mb}


def compact(settings: Settings) -> dict[str, Any]:
    """Turn finished files into Parquet and keep the limit; may be killed and repeated at any time.

    Raises
    ------
    StorageFailed
        The disk is full or cannot be written.
    """
    # With the log off, what an earlier time kept is made compact, and nothing is deleted.
    limit = settings.prediction_log_mb or 10**9
    return asdict(PredictionLog(settings.home).compact(limit))
