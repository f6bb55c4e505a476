"""Stage ``evaluate``: score candidate and champion on the same holdout and write down how both did."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from greenlight import datasets
from greenlight.config import Params
from greenlight.core.evaluation import (
    Holdout,
    Looks,
    evaluation_document,
    feature_table,
    metrics_document,
    model_facts,
)
from greenlight.core.importance import total_gain
from greenlight.core.metrics import Probabilities, json_text, roc_auc
from greenlight.core.model import Model, Scores
from greenlight.core.slice_search import cuts_of
from greenlight.core.training import first_rounds, rounds_of
from greenlight.core.uncertainty import ranked
from greenlight.errors import ConfigError, StageFailed
from greenlight.stages.declared import Declared
from greenlight.stages.score import read_model, score

HOLDOUT = "holdout.parquet"
STOP = "stop.parquet"
Matrix = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Champion:
    """The model that serves: what the documents say of it, and its probabilities on the holdout."""

    facts: dict[str, Any]
    probability: Probabilities


def run(params: Params, root: Path) -> str:
    """Write metrics.json, and evaluation.json and scores.parquet in the evaluation's folder.

    ``scores.parquet``: one row per row of the holdout, in order: ``label``, ``day``, ``candidate``, ``champion`` (null
    where there is none) and the columns sliced by.

    Parameters
    ----------
    params : Params
        Reads ``dataset``, ``champion``, ``train.seed``, ``gates`` (``slices``, ``resamples``, ``behaviour``) and
        ``paths``.
    root : Path
        The workspace.

    Raises
    ------
    ConfigError
        A column to slice by is not in the holdout.
    StageFailed
        The features, the model or the champion's folder is not complete, or the champion's code failed.
    """
    paths = params.paths
    rows = _rows_of(root / paths.features / HOLDOUT)
    declared = Declared.of(datasets.load(params.dataset))
    holdout = holdout_of(rows, params.gates.slices.columns, declared)
    candidate = read_model(root / paths.model)
    matrix, scores = _score_candidate(params.dataset, candidate, rows)
    champion = _champion(params, root, rows)
    probability = {"candidate": scores.probability} | ({"champion": champion.probability} if champion else {})
    size = len(candidate.booster_bytes)
    models = {
        "candidate": model_facts(candidate.manifest.to_json(), _sha256(candidate.booster_bytes), size=size),
        "champion": champion.facts if champion else None,
    }
    features = feature_table(
        candidate.manifest.features,
        total_gain(candidate.booster_bytes),
        fit=(_array(root / paths.features / "train.npy"), _array(root / paths.features / "train_label.npy")),
        holdout=(matrix, holdout.label),
    )
    looks = looks_of(params, declared, holdout, candidate, rows, matrix, scores.decision)
    facts = {
        "time": _json(root / paths.features / "features.json").get("days"),
        "known_after": declared.known_after(candidate.manifest.features),
        "promised": _promised(params, root, declared, candidate, champion),
        "stability": stability(_twins(root / paths.twins), candidate, matrix, holdout.label),
        "behaviour": declared.behaviour(candidate, rows, params.gates.behaviour.rows),
    }
    metrics = metrics_document(holdout, probability, scores.unseen)
    document = evaluation_document(
        holdout, probability, dataset=params.dataset, models=models, features=features, facts=facts, looks=looks
    )
    folder = root / paths.evaluation
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json_text(document), encoding="utf-8")
    _scores_table(rows, probability, params.gates.slices.columns).write_parquet(
        folder / "scores.parquet", compression="zstd"
    )
    (root / paths.metrics).parent.mkdir(parents=True, exist_ok=True)
    (root / paths.metrics).write_text(json_text(metrics), encoding="utf-8")
    return _summary(metrics, champion)


def looks_of(
    params: Params,
    declared: Declared,
    holdout: Holdout,
    candidate: Model,
    rows: pl.DataFrame,
    matrix: Matrix,
    decision: np.ndarray[Any, np.dtype[np.bool_]],
) -> Looks:
    """What is looked at beside the metrics, by params.yaml and by what the dataset declares."""
    limits = params.gates.slices
    gain = total_gain(candidate.booster_bytes) if limits.search else {}
    return Looks(
        resamples=params.gates.resamples,
        seed=params.train.seed,
        cuts=cuts_of(holdout.columns, matrix, candidate.manifest.features, gain) if limits.search else (),
        min_rows=limits.min_rows,
        min_positives=limits.min_positives,
        protected=declared.protected,
        protected_columns={each.column: _objects(rows, each.column) for each in declared.protected},
        decision=decision,
    )


def stability(
    twins: Mapping[int, bytes], candidate: Model, matrix: Matrix, label: np.ndarray[Any, Any]
) -> list[dict[str, Any]]:
    """The ROC AUC of each twin on the holdout's rows, and of as many of the candidate's rounds."""

    def area(booster: bytes) -> float:
        about = replace(candidate.manifest, trees=rounds_of(booster))
        return roc_auc(label, Model.build(about, candidate.lookups, booster).score_matrix(matrix).probability)

    found = []
    for seed, booster in sorted(twins.items()):
        rounds = rounds_of(booster)
        mine = area(first_rounds(candidate.booster_bytes, rounds))
        found.append({"seed": seed, "rounds": rounds, "candidate": mine, "twin": area(booster)})
    return found


def _twins(folder: Path) -> dict[int, bytes]:
    return {int(path.stem): path.read_bytes() for path in folder.glob("*.ubj")}


def _rows_of(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, memory_map=False, glob=False)
    except (OSError, pl.exceptions.PolarsError) as exc:
        reason = str(exc).splitlines()[0]
        raise StageFailed(f"the rows to score cannot be read: {reason}", where=str(path), todo="run featurize") from exc


def holdout_of(rows: pl.DataFrame, slice_columns: list[str], declared: Declared) -> Holdout:
    """The holdout's labels, columns to slice by, and which of its rows move together."""
    unknown = [name for name in slice_columns if name not in rows.columns]
    if unknown:
        raise ConfigError(
            f"no column {', '.join(unknown)} to slice by; there are {', '.join(rows.columns)}",
            where="params.yaml: gates.slices.columns",
        )
    periods = rows["period"].unique().to_list()
    if len(periods) != 1:
        raise StageFailed(f"the holdout has rows of {len(periods)} periods, it must be one", todo="run featurize")
    return Holdout(
        period=str(periods[0]),
        label=rows["label"].to_numpy(),
        days=rows["day"].n_unique(),
        columns={name: _objects(rows, name) for name in slice_columns},
        design=declared.design(rows),
    )


def _objects(rows: pl.DataFrame, name: str) -> np.ndarray[Any, np.dtype[np.object_]]:
    return np.array(rows[name].to_list(), dtype=object)


def _score_candidate(dataset: str, model: Model, rows: pl.DataFrame) -> tuple[Matrix, Scores]:
    """The matrix too: the power of single features is measured on it."""
    found = datasets.load(dataset)
    columns = found.request.columns_of(rows)
    matrix, unseen = found.features.row_features(columns, model.lookups, model.manifest.vocabulary)
    return matrix, model.score_matrix(matrix, unseen)


def _champion(params: Params, root: Path, rows: pl.DataFrame) -> Champion | None:
    """The champion's scores, by its own code wherever that differs from this one; None where there is no champion.

    Its manifest is read as plain JSON: one written by an older version is still to be understood.
    """
    folder = root / params.paths.champion
    about = _json(folder / "champion.json")
    version = about.get("version", "")
    if version != params.champion.version:
        named = params.champion.version
        raise StageFailed(
            f"the workspace holds champion {version or '(none)'}, params.yaml names {named or '(none)'}",
            where=str(folder),
            todo="prepare the workspace anew",
        )
    if not version:
        return None
    manifest = _json(folder / "model" / "model.json")
    try:
        facts = model_facts(
            manifest,
            _sha256((folder / "model" / "model.ubj").read_bytes()),
            version=version,
            run=about.get("run", ""),
        )
    except (OSError, KeyError) as exc:
        raise StageFailed(f"the champion's model is not complete: {exc!r}", where=str(folder)) from exc
    return Champion(facts, _champion_scores(params, root, rows, HOLDOUT))


def _champion_scores(params: Params, root: Path, rows: pl.DataFrame, file: str) -> Probabilities:
    """The champion's probabilities of `rows`, which stand in a file of the features."""
    folder = root / params.paths.champion
    if _json(folder / "model" / "model.json").get("code") == datasets.load(params.dataset).code_hash():
        probability = score(read_model(folder / "model"), rows).probability
    else:
        from greenlight.adapters.champion import score as score_with_own_code

        probability = score_with_own_code(folder / "code", folder / "model", root / params.paths.features / file)
    if probability.shape != (rows.height,):
        raise StageFailed(f"the champion answered {probability.shape[0]} rows of {rows.height}", where=str(folder))
    return probability


def _promised(
    params: Params, root: Path, declared: Declared, candidate: Model, champion: Champion | None
) -> dict[str, Any]:
    """How well each model ranks the month that stopped the training; None for a champion that has seen that month.

    The candidate's features are those of `featurize`, as of the start of that month.
    """
    features = root / params.paths.features
    rows, period = _rows_of(features / STOP), candidate.manifest.stop
    label, clusters = rows["label"].to_numpy(), declared.design(rows).clusters
    mine = candidate.score_matrix(np.asarray(_array(features / "stop.npy"))).probability
    unseen = champion is not None and max(champion.facts["stopped_on"], *champion.facts["trained_on"]) < period
    theirs = _champion_scores(params, root, rows, STOP) if unseen else None
    return {
        "period": period,
        "clusters": clusters.count,
        "candidate": ranked(label, mine, clusters),
        "champion": None if theirs is None else ranked(label, theirs, clusters),
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise StageFailed(f"{path.name} cannot be read: {exc}", where=str(path)) from exc
    if not isinstance(found, dict):
        raise StageFailed(f"{path.name} is no JSON object", where=str(path))
    return found


def _array(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise StageFailed(f"the features cannot be read: {exc}", where=str(path), todo="run featurize") from exc


def _scores_table(rows: pl.DataFrame, probability: dict[str, Probabilities], columns: list[str]) -> pl.DataFrame:
    nothing = pl.lit(None, dtype=pl.Float32)
    return rows.select(
        "label",
        "day",
        candidate=pl.Series(probability["candidate"]),
        champion=pl.Series(probability["champion"]) if "champion" in probability else nothing,
        **{name: pl.col(name) for name in columns},
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _summary(metrics: dict[str, Any], champion: Champion | None) -> str:
    said = f"{metrics['holdout']['rows']:,} rows of {metrics['holdout']['period']}"
    said += f", ROC AUC {metrics['candidate']['roc_auc']:.4f}"
    if champion:
        said += f", champion {champion.facts['version']} {metrics['champion']['roc_auc']:.4f}"
    return said
