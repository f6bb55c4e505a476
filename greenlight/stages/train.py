"""Train the candidate and write its model folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from greenlight import datasets
from greenlight.config import Params, share_cores
from greenlight.core import training
from greenlight.core.lookup import Vocabulary
from greenlight.core.model import Feature, Golden, Manifest, Model, lookups_from_bytes
from greenlight.core.periods import plan
from greenlight.errors import StageFailed


def run(params: Params, root: Path) -> str:
    """Write the model folder (`greenlight.core.model` says which files), and beside it the twins of other seeds.

    Parameters
    ----------
    params : Params
        Reads ``dataset``, ``data``, ``train``, ``decision``, ``gates.stability.seeds`` and ``paths``.
    root : Path
        The workspace.

    Raises
    ------
    ConfigError
        The device is not there, or XGBoost refuses the parameters.
    StageFailed
        The features folder is not complete.
    """
    share_cores()
    device = _device(params.train.device)
    folder = root / params.paths.features
    about = _about(folder)
    features = tuple(Feature(**f) for f in about["features"])
    trained = training.train(
        _part(folder, "train"),
        _part(folder, "stop"),
        features,
        params.train.booster,
        seed=params.train.seed,
        max_rounds=params.train.max_rounds,
        early_stopping_rounds=params.train.early_stopping_rounds,
        device=device,
        twins=params.gates.stability.seeds,
    )
    _write(root / params.paths.twins, {f"{seed}.ubj": booster for seed, booster in trained.twins.items()})
    manifest = manifest_of(params, about, trained, device)
    model = Model.build(manifest, lookups_from_bytes((folder / "lookups.json").read_bytes()), trained.booster)
    files = _with_golden(model, folder / "holdout.parquet", params).to_files()
    _write(root / params.paths.model, files)
    return f"{trained.trees} trees on {device}, log loss {trained.stop_log_loss:.4f} on {manifest.stop}"


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """A folder of just these files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _device(wanted: str) -> str:
    """``cpu`` or ``cuda``; a demand for the CPU needs no look at the hardware."""
    if wanted == "cpu":
        return wanted
    from greenlight.adapters.device import resolve

    return resolve(wanted).kind


def _about(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "features.json").read_bytes())
    except (OSError, ValueError) as exc:
        raise StageFailed(f"the features cannot be read: {exc}", where=str(folder), todo="run featurize") from exc
    return found


def _part(folder: Path, name: str) -> training.Part:
    try:
        matrix = np.load(folder / f"{name}.npy", allow_pickle=False)
        label = np.load(folder / f"{name}_label.npy", allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise StageFailed(f"the features cannot be read: {exc}", where=str(folder), todo="run featurize") from exc
    return training.Part(matrix, label)


def manifest_of(params: Params, about: dict[str, Any], trained: training.Trained, device: str) -> Manifest:
    """What a model folder says of itself: periods, rows and features it learnt from, and how."""
    periods = plan(params.data.as_of, params.data.window_months)
    return Manifest(
        dataset=params.dataset,
        as_of=periods.holdout,
        train=periods.train,
        stop=periods.stop,
        features=tuple(Feature(**f) for f in about["features"]),
        vocabulary=Vocabulary.from_json(about["vocabulary"]),
        threshold=params.decision.threshold,
        trees=trained.trees,
        stop_log_loss=trained.stop_log_loss,
        rows=about["rows"],
        device=device,
        seed=params.train.seed,
        booster=params.train.booster,
        code=datasets.load(params.dataset).code_hash(),
        xgboost=trained.version,
    )


def _with_golden(model: Model, holdout: Path, params: Params) -> Model:
    """`model` with rows of the holdout and their answers, scored the offline way: many rows, from columns."""
    import polars as pl

    dataset = datasets.load(params.dataset)
    rows = pl.read_parquet(holdout, memory_map=False, glob=False)
    chosen = rows[training.golden_sample(rows.height, params.decision.golden_rows, params.train.seed)]
    scores = model.score(dataset.request.columns_of(chosen), dataset.features.row_features)
    answers = zip(dataset.request.records(chosen), scores.probability.tolist(), scores.decision.tolist(), strict=True)
    golden = [Golden(request, probability, decision) for request, probability, decision in answers]
    return Model.build(model.manifest, model.lookups, model.booster_bytes, golden=golden)
