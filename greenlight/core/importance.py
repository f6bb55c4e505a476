"""What single features are worth: how much the booster used each, and how well each does alone.

The second is what finds a leak: a column that is only known afterwards predicts alone what an honest model needs
all its features for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 32
FIT_ROWS = 60_000
PRIOR_ROWS = 20.0


def total_gain(booster: bytes) -> dict[str, float]:
    """Loss that the splits on each feature saved in training, by feature; features without a split are left out.

    Parameters
    ----------
    booster : bytes
        UBJ, as XGBoost saves it.
    """
    from greenlight.core.booster import xgboost

    loaded = xgboost().Booster()
    loaded.load_model(bytearray(booster))
    return {str(name): float(gain) for name, gain in loaded.get_score(importance_type="total_gain").items()}


def gain_shares(total_gain: Mapping[str, float], names: Sequence[str]) -> list[float]:
    """Share of all the loss that the booster's splits saved, by feature; 0 for one it never split on.

    Parameters
    ----------
    total_gain : mapping
        From `total_gain`.
    names : sequence of str
        The features in the model's order.
    """
    total = sum(float(total_gain.get(name, 0.0)) for name in names)
    return [float(total_gain.get(name, 0.0)) / total if total else 0.0 for name in names]


def power_alone(
    fit: tuple[NDArray[np.float32], NDArray[Any]],
    holdout: tuple[NDArray[np.float32], NDArray[Any]],
    kinds: Sequence[str],
) -> list[float]:
    """ROC AUC on the holdout of each feature by itself.

    The scorer of a feature is the share of positives per bin of the training rows: 32 bins of equal count for a
    quantity, one bin a code for a category, one for missing, each drawn towards the base rate as by 20 more rows.
    Unlike ``|AUC - 0.5|`` of the raw values it sees a leak of any shape (the middle of a scale, a set of codes) and
    works for categories; fitted on other rows than it is scored on, it cannot flatter a feature with many values.
    At most 60,000 training rows, evenly spread, are used: the bins are a few thousand rows each already.

    Parameters
    ----------
    fit : ((m, k) float32, (m,) labels)
        Training matrix, NaN where missing.
    holdout : ((n, k) float32, (n,) labels)
        The same features of the holdout.
    kinds : sequence of str
        ``q`` or ``c`` a feature.

    Returns
    -------
    list of float
        k values of 0 to 1; 0.5 is no power, NaN where a side has one class only.
    """
    step = max(1, math.ceil(fit[0].shape[0] / FIT_ROWS))
    matrix, label = fit[0][::step], fit[1][::step].astype(bool)
    if not label.size or label.all() or not label.any():
        return [math.nan] * len(kinds)
    known = holdout[1].astype(bool)
    return [
        _column_power((matrix[:, j], label), (holdout[0][:, j], known), category=kind == "c")
        for j, kind in enumerate(kinds)
    ]


def _column_power(
    fit: tuple[NDArray[np.float32], NDArray[np.bool_]],
    holdout: tuple[NDArray[np.float32], NDArray[np.bool_]],
    *,
    category: bool,
) -> float:
    edges = _edges(fit[0], category=category)
    size = edges.size + 2
    learnt = _bins(fit[0], edges)
    rows = np.bincount(learnt, minlength=size)
    positives = np.bincount(learnt[fit[1]], minlength=size)
    rate = (positives + PRIOR_ROWS * fit[1].mean()) / (rows + PRIOR_ROWS)
    _, rank = np.unique(rate, return_inverse=True)
    score = rank[_bins(holdout[0], edges)]
    return _counted_auc(np.bincount(score[holdout[1]], minlength=size), np.bincount(score[~holdout[1]], minlength=size))


def _edges(values: NDArray[np.float32], *, category: bool) -> NDArray[np.float32]:
    """Borders between bins: halfway between the codes of a category, quantiles of a quantity."""
    known = values[~np.isnan(values)]
    if not known.size:
        return np.empty(0, dtype=np.float32)
    if category:
        return np.arange(known.min() + 0.5, known.max(), dtype=np.float32)
    return np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]).astype(np.float32))


def _bins(values: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.intp]:
    """The bin of each value; missing ones share the last."""
    found = np.searchsorted(edges, values, side="right")
    found[np.isnan(values)] = edges.size + 1
    return found


def _counted_auc(positives: NDArray[np.intp], negatives: NDArray[np.intp]) -> float:
    """ROC AUC from counts by rising score: the chance that a positive outranks a negative, ties half."""
    pairs = float(positives.sum()) * float(negatives.sum())
    if not pairs:
        return math.nan
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + 0.5 * negatives)).sum() / pairs)
