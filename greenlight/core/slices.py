"""The same quality, looked at one part of the holdout at a time.

A model may gain on the whole and lose an airport. Slices are measured whatever their size; which ones are large
enough to say something is the gates' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenlight.core.metrics import Labels, Probabilities, roc_auc

MISSING = "(missing)"


def measure(
    label: Labels, scores: Mapping[str, Probabilities], columns: Mapping[str, NDArray[Any]]
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

    Returns
    -------
    list of dict
        By column in the given order, then by value: ``column``, ``value``, ``rows``, ``positives``, and
        ``roc_auc`` and ``mean_probability`` by model. A ROC AUC that is not defined is NaN.
    """
    found = []
    for column, values in columns.items():
        names = np.array([MISSING if value is None else str(value) for value in values.tolist()], dtype=object)
        distinct, member = np.unique(names.astype(str), return_inverse=True)
        for index, value in enumerate(distinct.tolist()):
            rows = np.flatnonzero(member == index)
            part = label[rows]
            found.append(
                {
                    "column": column,
                    "value": value,
                    "rows": int(rows.size),
                    "positives": int(part.sum()),
                    "roc_auc": {name: roc_auc(part, score[rows]) for name, score in scores.items()},
                    "mean_probability": {name: float(score[rows].mean()) for name, score in scores.items()},
                }
            )
    return found
