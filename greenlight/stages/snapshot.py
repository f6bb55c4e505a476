"""Fetch the periods of the run from the dataset's source and from what was handed in; one Parquet file per period."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from greenlight import datasets
from greenlight.config import Params
from greenlight.core.periods import plan
from greenlight.datasets.supply import INCOMING, Supply
from greenlight.errors import GreenlightError

if TYPE_CHECKING:
    import polars as pl


def run(params: Params, root: Path) -> str:
    """Write the snapshot.

    Parameters
    ----------
    params : Params
        Reads ``dataset``, ``data`` and ``paths.snapshot``; ``data.as_of`` is a month.
    root : Path
        The workspace; files handed in are looked for in its ``data/incoming``.

    Raises
    ------
    NotFound
        A period of the run is neither at the source nor handed in.
    GreenlightError
        The source cannot be read; or what was written is not what the run's fingerprint was taken of.
    """
    supply = Supply(datasets.load(params.dataset).source, root / INCOMING)
    periods = plan(params.data.as_of, params.data.window_months).all
    folder = root / params.paths.snapshot
    shutil.rmtree(folder, ignore_errors=True)
    size = 0
    for period in periods:
        for table, rows in supply.fetch(period).items():
            size += _write(rows, folder / table / f"{period}.parquet")
    for register, rows in supply.fetch_registers().items():
        size += _write(rows, folder / f"{register}.parquet")
    if params.data.source and supply.fingerprint(periods) != params.data.source:
        raise GreenlightError(
            "what was handed in, or the source, is not what this run was planned with",
            where=str(root / INCOMING),
            todo="let no file change while a run starts, then retrain again",
        )
    return f"{len(periods)} months, {periods[0]} to {periods[-1]}, {size / 1e6:.1f} MB"


def _write(rows: pl.DataFrame | Path, path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, Path):
        shutil.copyfile(rows, path)
    else:
        rows.write_parquet(path, compression="zstd")
    return path.stat().st_size
