"""The same quality, looked at one part of the holdout at a time.

A model may gain on the whole and lose an airport. Slices are measured whatever their size; which ones are large
enough to say something is the gates' business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenlight.core.metrics import Labels, Probabilities
from greenlight.core.paired import Clusters, auc_influence, clustered_se

MISSING = "(missing)"


def measure(
    label: Labels,
    scores: Mapping[str, Probabilities],
    columns: Mapping[str, NDArray[Any]],
    clusters: Clusters | None = None,
) -> list[dict[str, Any]]:
    """Measure every value of every column, with every model.

    Parameters
    ----------
    label : (n,) int8
        1 where the event happened.
    scores : mapping of (n,) float32
        Probabilities by model, such as ``candidate`` and ``champion``.
    columns : mapping of (n,) object
        What to slice by; None counts as a value of its own, ``(missing)``.
    clusters : Clusters, optional
        Rows that move together; without, each row is its own.

    Returns
    -------
    list of dict
        By column in the given order, then by value: ``column``, ``value``, and what `one` says.
    """
    found = []
    for column, values in columns.items():
        distinct, member = codes(values)
        for index, value in enumerate(distinct):
            rows = np.flatnonzero(member == index)
            found.append({"column": column, "value": value, **one(label, scores, rows, clusters)})
    return found


def codes(values: NDArray[Any]) -> tuple[list[str], NDArray[np.intp]]:
    """The distinct values of a column as text, sorted, and the position of each row's among them."""
    names = np.array([MISSING if value is None else str(value) for value in values.tolist()], dtype=object)
    distinct, member = np.unique(names.astype(str), return_inverse=True)
    return distinct.tolist(), member.astype(np.intp)


def one(
    label: Labels, scores: Mapping[str, Probabilities], rows: NDArray[np.intp], clusters: Clusters | None = None
) -> dict[str, Any]:
    """One slice.

    Returns
    -------
    dict
        ``rows``, ``positives``, ``roc_auc`` and ``mean_probability`` by model, and ``se``: the standard errors of the
        ROC AUC by model and, with two models, of their ``difference``; ``clusters``: how many they were counted over.
        What is not defined is NaN.
    """
    part = label[rows]
    its = _within(clusters, rows)
    areas, pulls = {}, {}
    for name, score in scores.items():
        finite = bool(np.isfinite(score[rows]).all())
        areas[name], pulls[name] = auc_influence(part, score[rows]) if finite else (math.nan, np.empty(0))
    se = {name: clustered_se(pull, its) if math.isfinite(areas[name]) else math.nan for name, pull in pulls.items()}
    if len(scores) > 1:
        both = all(math.isfinite(area) for area in areas.values())
        se["difference"] = clustered_se(pulls["candidate"] - pulls["champion"], its) if both else math.nan
    return {
        "rows": int(rows.size),
        "positives": int(part.sum()),
        "roc_auc": areas,
        "mean_probability": {name: float(score[rows].mean(dtype=np.float64)) for name, score in scores.items()},
        "se": se,
        "clusters": its.count,
    }


def _within(clusters: Clusters | None, rows: NDArray[np.intp]) -> Clusters:
    return Clusters.rows(rows.size) if clusters is None else Clusters.of(clusters.code[rows])
