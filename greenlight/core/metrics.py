"""How good a set of probabilities is: numbers and curves, nothing about limits.

Ranking (ROC AUC, average precision) and calibration (log loss, Brier, calibration error) are kept apart on purpose:
a shift of the base rate ruins the second and leaves the first as it was, and the remedy differs.
Metrics that are not defined (one class only, a probability that is not a number) are NaN, never an error and never
a flattering default: the gates read NaN as "not passed".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int8]
Probabilities = NDArray[np.float32]

CALIBRATION_BINS = 10
CURVE_POINTS = 200
DECIMALS = 6


def binary_metrics(label: Labels, probability: Probabilities) -> dict[str, float]:
    """Ranking and calibration of `probability` as a forecast of `label`.

    Parameters
    ----------
    label : (n,) int8
        1 where the event happened, else 0.
    probability : (n,) float32, 0 to 1
        What was forecast.

    Returns
    -------
    dict
        ``roc_auc``, ``average_precision``, ``average_precision_lift`` (divided by the share of positives),
        ``log_loss``, ``log_loss_ratio`` (divided by the loss of always answering the share of positives), ``brier``,
        ``calibration_error``, ``mean_probability`` and ``calibration_gap`` (mean probability minus share of
        positives). All NaN where one class is missing or a probability is not a number.

    Raises
    ------
    ValueError
        The two arrays differ in length.

    Source
    ------
    scikit-learn's metrics of the same names; ratios and lift are ours, so that one limit fits months whose base
    rates differ by a factor of two.
    """
    if label.shape != probability.shape:
        raise ValueError(f"{label.shape[0]} labels for {probability.shape[0]} probabilities")
    base_rate = float(label.mean()) if label.size else math.nan
    if not (0 < base_rate < 1) or not np.isfinite(probability).all():
        return dict.fromkeys(NAMES, math.nan)
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss

    wide = probability.astype(np.float64)
    average_precision = float(average_precision_score(label, wide))
    loss = float(log_loss(label, wide, labels=[0, 1]))
    return {
        "roc_auc": roc_auc(label, wide),
        "average_precision": average_precision,
        "average_precision_lift": average_precision / base_rate,
        "log_loss": loss,
        "log_loss_ratio": loss / _entropy(base_rate),
        "brier": float(brier_score_loss(label, wide)),
        "calibration_error": calibration_error(label, wide),
        "mean_probability": float(wide.mean()),
        "calibration_gap": float(wide.mean()) - base_rate,
    }


NAMES = (
    "roc_auc",
    "average_precision",
    "average_precision_lift",
    "log_loss",
    "log_loss_ratio",
    "brier",
    "calibration_error",
    "mean_probability",
    "calibration_gap",
)


def roc_auc(label: NDArray[Any], score: NDArray[Any]) -> float:
    """Area under the ROC curve, 0 to 1; NaN where one class is missing or a score is not a number."""
    if not label.size or label.min() == label.max() or not np.isfinite(score).all():
        return math.nan
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, score))


def calibration_bins(
    label: NDArray[Any], probability: NDArray[Any], bins: int = CALIBRATION_BINS
) -> dict[str, list[float]]:
    """What was forecast and what happened, in bins of (nearly) equal count by rising probability.

    Rows of equal probability keep their order, so two bins may share a probability at their border.

    Returns
    -------
    dict
        ``forecast`` (mean probability), ``observed`` (share of positives) and ``rows``, one entry a bin; fewer
        bins than asked for where there are fewer rows.
    """
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if part.size]
    return {
        "forecast": [float(probability[part].mean(dtype=np.float64)) for part in parts],
        "observed": [float(label[part].mean(dtype=np.float64)) for part in parts],
        "rows": [int(part.size) for part in parts],
    }


def calibration_error(label: NDArray[Any], probability: NDArray[Any], bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error over bins of equal count: sum over bins of (rows / n) * |forecast - observed|.

    Returns
    -------
    float
        0 (what is forecast happens as often as forecast) to 1; NaN without rows.

    Source
    ------
    The sum: Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    Bins of equal count instead of equal width: Nixon et al., "Measuring Calibration in Deep Learning", CVPR
    workshops 2019; probabilities of rare events crowd into two of ten bins of equal width.
    """
    if not label.size:
        return math.nan
    table = calibration_bins(label, probability, bins)
    rows = np.asarray(table["rows"], dtype=np.float64)
    gaps = np.abs(np.asarray(table["forecast"]) - np.asarray(table["observed"]))
    return float((rows * gaps).sum() / rows.sum())


def curves(label: Labels, probability: Probabilities, points: int = CURVE_POINTS) -> dict[str, Any] | None:
    """ROC and precision-recall curve, thinned, and the calibration bins, as lists for a picture.

    Returns
    -------
    dict or None
        ``roc`` (``false_positive_rate``, ``true_positive_rate``), ``precision_recall`` (``recall``, ``precision``)
        with at most `points` points each, and ``calibration``; None where the curves are not defined.
    """
    if not label.size or label.min() == label.max() or not np.isfinite(probability).all():
        return None
    positives = int(label.sum())
    order = np.argsort(-probability, kind="stable")
    ranked = probability[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # a threshold takes all rows of equal score
    true = np.cumsum(label[order], dtype=np.int64)[ends]
    taken = ends + 1
    recall = true / positives
    false_rate = (taken - true) / (label.size - positives)
    keep = _spread(recall + false_rate, points - 1)
    return {
        "roc": {
            "false_positive_rate": [0.0, *false_rate[keep].tolist()],
            "true_positive_rate": [0.0, *recall[keep].tolist()],
        },
        "precision_recall": {
            "recall": recall[keep].tolist(),
            "precision": (true / taken)[keep].tolist(),
        },
        "calibration": calibration_bins(label, probability),
    }


def _spread(along: NDArray[np.float64], points: int) -> NDArray[np.intp]:
    """Indices of at most `points` entries, evenly spread along a rising quantity; first and last included."""
    targets = np.linspace(along[0], along[-1], points)
    found = np.clip(np.searchsorted(along, targets), 0, along.size - 1)
    return np.unique(np.append(found, along.size - 1))[-points:] if points > 1 else found[-1:]


def _entropy(rate: float) -> float:
    """Log loss, in nats, of always forecasting `rate` where it is the share of positives."""
    return -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))


def plain(value: Any) -> Any:
    """The same value as JSON can hold it: floats to six decimals, NaN and infinities as None, tuples as lists.

    Six decimals are far finer than any limit and coarser than what another processor's order of summation changes,
    so that a reproduced run gives the same bytes.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return round(float(value), DECIMALS) if math.isfinite(value) else None
    if isinstance(value, (Sequence, np.ndarray)):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def json_text(value: Any) -> str:
    """`value` as JSON that is the same text whenever it is the same value; ends with a newline."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
