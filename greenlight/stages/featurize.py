"""Build training matrices, lookups, vocabularies and the holdout's rows from a snapshot that keeps its contract."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from greenlight import datasets
from greenlight.config import Params
from greenlight.core.model import lookups_to_bytes, to_bytes
from greenlight.core.periods import Periods, plan
from greenlight.datasets.parts import prepare
from greenlight.errors import DataRejected, StageFailed

Frames = dict[str, pl.DataFrame]


def run(params: Params, root: Path) -> str:
    """Write the features folder.

    ``train.npy``, ``train_label.npy``, ``stop.npy``, ``stop_label.npy``: (n, k) float32 matrices and (n,) int8 labels.
    ``features.json``: features, vocabulary, rows per part, categories unseen per part. ``lookups.json``: as of the
    holdout. ``holdout.parquet``: request columns, ``label``, ``day``, ``period``.

    Parameters
    ----------
    params : Params
        Reads ``dataset``, ``data`` and ``paths``; ``data.as_of`` is a month.
    root : Path
        The workspace.

    Raises
    ------
    DataRejected
        The contract said no.
    StageFailed
        The contract's report or a file of the snapshot is missing.
    """
    _require_contract(root / params.paths.validation)
    dataset = datasets.load(params.dataset)
    periods = plan(params.data.as_of, params.data.window_months)
    frames, registers = _read(dataset, periods, root / params.paths.snapshot)
    parts = prepare(dataset, periods, frames, registers)
    folder = root / params.paths.features
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, part in (("train", parts.train), ("stop", parts.stop)):
        np.save(folder / f"{name}.npy", part.matrix, allow_pickle=False)
        np.save(folder / f"{name}_label.npy", part.label, allow_pickle=False)
    parts.holdout.write_parquet(folder / "holdout.parquet", compression="zstd")
    (folder / "lookups.json").write_bytes(lookups_to_bytes(parts.lookups))
    about = {
        "features": [asdict(f) for f in parts.features],
        "vocabulary": parts.vocabulary.to_json(),
        "rows": dict(parts.rows),
        "unseen": parts.unseen,
    }
    (folder / "features.json").write_bytes(to_bytes(about, indent=1))
    counts = parts.rows
    return f"{counts['train']:,} rows to train on, {counts['stop']:,} to stop, {counts['holdout']:,} held out"


def _require_contract(path: Path) -> None:
    try:
        report = json.loads(path.read_bytes())
        passed = report["passed"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise StageFailed(
            f"the contract's report cannot be read: {exc!r}", where=path.name, todo="run the stage validate"
        ) from exc
    if passed is not True:
        raise DataRejected(
            "the snapshot breaks its contract",
            where=path.name,
            todo="correct the data named in the report, run again",
        )


def _read(dataset: datasets.Dataset, periods: Periods, folder: Path) -> tuple[Frames, Frames]:
    """Labelled rows by period, and the registers they are joined with."""
    source, frames = dataset.source, {}
    for period in periods.all:
        tables = {table: _parquet(folder / table / f"{period}.parquet") for table in source.TABLES}
        frames[period] = dataset.history.assemble(tables, period)
    return frames, {name: _parquet(folder / f"{name}.parquet") for name in source.REGISTERS}


def _parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, memory_map=False)
    except (OSError, pl.exceptions.PolarsError) as exc:
        reason = str(exc).splitlines()[0]
        raise StageFailed(f"a snapshot file cannot be read: {reason}", where=str(path), todo="run snapshot") from exc
