"""A candidate in memory: trained from parts, scored beside the champion. The stages do the same between files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from greenlight import datasets
from greenlight.config import Params
from greenlight.core import training
from greenlight.core.evaluation import Holdout, evaluation_document, feature_table, metrics_document, model_facts
from greenlight.core.importance import total_gain
from greenlight.core.lookup import Vocabulary
from greenlight.core.metrics import Probabilities
from greenlight.core.model import Feature, Manifest, Model
from greenlight.core.periods import plan
from greenlight.datasets.parts import Parts


@dataclass(frozen=True, eq=False)
class Serving:
    """A model and the name of the version that it serves as."""

    model: Model
    version: str
    run: str = ""


def fit(params: Params, parts: Parts, *, device: str = "cpu") -> Model:
    """Train the candidate of a run; the booster's bytes are those that the stage ``train`` writes.

    Parameters
    ----------
    params : Params
        ``data.as_of`` is a month; reads ``dataset``, ``data``, ``train`` and ``decision``.
    parts : Parts
        Of that run.

    Raises
    ------
    GreenlightError
        A part has no rows, or one class only.
    """
    trained = training.train(
        parts.train,
        parts.stop,
        parts.features,
        params.train.booster,
        seed=params.train.seed,
        max_rounds=params.train.max_rounds,
        early_stopping_rounds=params.train.early_stopping_rounds,
        device=device,
    )
    about = manifest(params, parts.features, parts.vocabulary, parts.rows, trained, device)
    return Model.build(about, parts.lookups, trained.booster)


def manifest(
    params: Params,
    features: Sequence[Feature],
    vocabulary: Vocabulary,
    rows: Mapping[str, int],
    trained: training.Trained,
    device: str,
) -> Manifest:
    """What the model folder says of a candidate.

    Parameters
    ----------
    rows : mapping of str to int
        Labelled rows by part.
    device : str
        ``cpu`` or ``cuda``: what it was trained on.
    """
    periods = plan(params.data.as_of, params.data.window_months)
    return Manifest(
        dataset=params.dataset,
        as_of=periods.holdout,
        train=periods.train,
        stop=periods.stop,
        features=tuple(features),
        vocabulary=vocabulary,
        threshold=params.decision.threshold,
        trees=trained.trees,
        stop_log_loss=trained.stop_log_loss,
        rows=rows,
        device=device,
        seed=params.train.seed,
        booster=params.train.booster,
        code=datasets.load(params.dataset).code_hash(),
        xgboost=trained.version,
    )


def documents(
    params: Params,
    fitted: training.Part,
    holdout: pl.DataFrame,
    candidate: Model,
    champion: Serving | None,
    *,
    altered: Mapping[str, Probabilities] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """metrics.json and evaluation.json of a candidate, as the stage ``evaluate`` writes them, unrounded.

    Parameters
    ----------
    fitted : Part
        What the candidate was trained on.
    holdout : DataFrame
        Request columns, ``label``, ``day``, ``period``.
    champion : Serving or None
        None where nothing serves yet.
    altered : mapping of str to (n,) float32, optional
        Probabilities to judge instead of a model's own, by ``candidate`` or ``champion``: what a fault after training
        would make of them.
    """
    dataset = datasets.load(params.dataset)
    columns = dataset.request.columns_of(holdout)
    matrix, unseen = dataset.features.row_features(columns, candidate.lookups, candidate.manifest.vocabulary)
    scores = candidate.score_matrix(matrix, unseen)
    probability = {"candidate": scores.probability}
    if champion:
        probability["champion"] = champion.model.score(columns, dataset.features.row_features).probability
    probability |= altered or {}
    rows = Holdout(
        period=str(holdout["period"][0]),
        label=holdout["label"].to_numpy(),
        days=holdout["day"].n_unique(),
        columns={name: np.array(holdout[name].to_list(), dtype=object) for name in params.gates.slices.columns},
    )
    facts = model_facts(candidate.manifest.to_json(), sha256(candidate))
    theirs = (
        model_facts(
            champion.model.manifest.to_json(), sha256(champion.model), version=champion.version, run=champion.run
        )
        if champion
        else None
    )
    features = feature_table(
        candidate.manifest.features,
        total_gain(candidate.booster_bytes),
        fit=(fitted.matrix, fitted.label),
        holdout=(matrix, rows.label),
    )
    models = {"candidate": facts, "champion": theirs}
    evaluation = evaluation_document(rows, probability, dataset=params.dataset, models=models, features=features)
    return metrics_document(rows, probability, scores.unseen), evaluation


def sha256(model: Model) -> str:
    """Of the booster's bytes: equal for the same model."""
    return hashlib.sha256(model.booster_bytes).hexdigest()
