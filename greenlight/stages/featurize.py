"""Build training matrices, lookups, vocabularies and the holdout's rows from a snapshot that keeps its contract."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from greenlight import datasets
from greenlight.config import Params
from greenlight.core.lookup import Lookup, Vocabulary
from greenlight.core.model import lookups_to_bytes, to_bytes
from greenlight.core.periods import Periods, plan
from greenlight.errors import DataRejected, StageFailed


@dataclass(frozen=True)
class _Rows:
    """Labelled rows per period, and the registers they are joined with."""

    periods: Periods
    frames: Mapping[str, pl.DataFrame]
    registers: Mapping[str, pl.DataFrame]


def run(params: Params, root: Path) -> str:
    """Write the features folder.

    ``train.npy``, ``train_label.npy``, ``stop.npy``, ``stop_label.npy``: (n, k) float32 matrices and (n,) int8 labels.
    ``features.json``: features, vocabulary, rows per part, categories unseen and first and last
    day per part. ``lookups.json``: as of the
    holdout. ``holdout.parquet``, ``stop.parquet``: request columns, ``label``, ``day``, ``period``.

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
    rows = _read(dataset, plan(params.data.as_of, params.data.window_months), root / params.paths.snapshot)
    periods = rows.periods
    vocabulary = dataset.history.vocabulary([rows.frames[p] for p in periods.train])
    final = _lookups(dataset, rows, periods.holdout)
    folder = root / params.paths.features
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    unseen = {}
    for part, its in (("train", periods.train), ("stop", (periods.stop,))):
        unseen[part] = _write_part(dataset, rows, its, vocabulary, folder / part)
    holdout = rows.frames[periods.holdout]
    columns = dataset.request.columns_of(holdout)
    _, missing = dataset.features.row_features(columns, final, vocabulary)
    unseen["holdout"] = {name: n for name, n in missing.items() if n}
    holdout.write_parquet(folder / "holdout.parquet", compression="zstd")
    rows.frames[periods.stop].write_parquet(folder / "stop.parquet", compression="zstd")
    (folder / "lookups.json").write_bytes(lookups_to_bytes(final))
    counts = {
        "train": sum(rows.frames[p].height for p in periods.train),
        "stop": rows.frames[periods.stop].height,
        "holdout": holdout.height,
    }
    about = {
        "features": [asdict(f) for f in dataset.features.FEATURES],
        "vocabulary": vocabulary.to_json(),
        "rows": counts,
        "unseen": unseen,
        "days": {
            "train": _days([rows.frames[p] for p in periods.train]),
            "stop": _days([rows.frames[periods.stop]]),
            "holdout": _days([holdout]),
        },
    }
    (folder / "features.json").write_bytes(to_bytes(about, indent=1))
    return f"{counts['train']:,} rows to train on, {counts['stop']:,} to stop, {counts['holdout']:,} held out"


def _days(frames: list[pl.DataFrame]) -> dict[str, str]:
    """The first and the last day among the rows, as ISO 8601; empty where there are no rows."""
    days = pl.concat([frame["day"] for frame in frames])
    return {"first": str(days.min() or ""), "last": str(days.max() or "")}


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


def _read(dataset: datasets.Dataset, periods: Periods, folder: Path) -> _Rows:
    source, frames = dataset.source, {}
    for period in periods.all:
        tables = {table: _parquet(folder / table / f"{period}.parquet") for table in source.TABLES}
        frames[period] = dataset.history.assemble(tables, period)
    registers = {name: _parquet(folder / f"{name}.parquet") for name in source.REGISTERS}
    return _Rows(periods, frames, registers)


def _parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, memory_map=False, glob=False)
    except (OSError, pl.exceptions.PolarsError) as exc:
        reason = str(exc).splitlines()[0]
        raise StageFailed(f"a snapshot file cannot be read: {reason}", where=str(path), todo="run snapshot") from exc


def _lookups(dataset: datasets.Dataset, rows: _Rows, period: str) -> dict[str, Lookup]:
    """The lookups as of the start of `period`: no row of it, or after it, goes in."""
    past = [rows.frames[p] for p in rows.periods.before(period)]
    found: dict[str, Lookup] = dataset.history.lookups(past, rows.registers)
    return found


def _write_part(
    dataset: datasets.Dataset, rows: _Rows, periods: tuple[str, ...], vocabulary: Vocabulary, path: Path
) -> dict[str, int]:
    """Write ``<path>.npy`` and ``<path>_label.npy``; each period with the lookups of its own start."""
    matrices, unseen = [], dict[str, int]()
    for period in periods:
        columns: dict[str, Any] = dataset.request.columns_of(rows.frames[period])
        matrix, missing = dataset.features.row_features(columns, _lookups(dataset, rows, period), vocabulary)
        matrices.append(matrix)
        for name, n in missing.items():
            if n:
                unseen[name] = unseen.get(name, 0) + n
    np.save(f"{path}.npy", np.concatenate(matrices), allow_pickle=False)
    labels = np.concatenate([rows.frames[p]["label"].to_numpy() for p in periods])
    np.save(f"{path}_label.npy", labels, allow_pickle=False)
    return unseen
