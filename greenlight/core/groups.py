"""How alike groups of people are treated: rates of decisions and errors by protected group, with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenlight.core.metrics import Labels, Probabilities
from greenlight.core.paired import Clusters, clustered_se
from greenlight.core.slices import codes

RATES = ("decision_rate", "true_positive_rate", "false_positive_rate")
MEASURES = (*RATES, "calibration_gap")


@dataclass(frozen=True)
class Protected:
    """A column of the holdout that names a group of people.

    Attributes
    ----------
    column : str
        Of the holdout; it need not be a feature, and better is none.
    measures : tuple of str
        Which of `MEASURES` must be alike. Not all can be at once where base rates differ (Kleinberg, Mullainathan,
        Raghavan, "Inherent Trade-Offs in the Fair Determination of Risk Scores", ITCS 2017), so it is a choice.
    """

    column: str
    measures: tuple[str, ...] = MEASURES


def measure(
    label: Labels,
    probability: Probabilities,
    decision: NDArray[np.bool_],
    protected: Sequence[Protected],
    columns: Mapping[str, NDArray[Any]],
    clusters: Clusters,
    *,
    min_rows: int,
) -> list[dict[str, Any]]:
    """Every protected column: its groups, and how far the two that lie furthest apart are.

    Returns
    -------
    list of dict
        ``column``; ``groups``: by value ``rows``, ``positives`` and each measure; ``not_tested``: groups with fewer
        than `min_rows` rows; ``apart``: by measure ``difference``, ``se``, and between which two; NaN where it is not
        defined.

    Source
    ------
    Decision rate: demographic parity; true and false positive rate: equalised odds (Hardt, Price, Srebro, NIPS 2016);
    calibration within groups (Pleiss et al., NIPS 2017). Standard errors are those of the paired difference by cluster.
    """
    found = []
    for each in protected:
        names, member = codes(columns[each.column])
        sizes = np.bincount(member, minlength=len(names))
        large = [index for index in range(len(names)) if sizes[index] >= min_rows]
        pulls = {m: [_pull(m, member == i, label, probability, decision) for i in large] for m in each.measures}
        found.append(
            {
                "column": each.column,
                "groups": [
                    {
                        "value": names[i],
                        "rows": int(sizes[i]),
                        "positives": int(label[member == i].sum()),
                        **{m: pulls[m][at][0] for m in each.measures},
                    }
                    for at, i in enumerate(large)
                ],
                "not_tested": [names[i] for i in range(len(names)) if i not in large],
                "apart": {m: _apart(pulls[m], [names[i] for i in large], clusters) for m in each.measures},
            }
        )
    return found


def _pull(
    name: str,
    group: NDArray[np.bool_],
    label: Labels,
    probability: Probabilities,
    decision: NDArray[np.bool_],
) -> tuple[float, NDArray[np.float64]]:
    """A measure of one group, and how much each row of the holdout pulls at it."""
    if name == "calibration_gap":
        among, value = group, probability.astype(np.float64) - label
    else:
        kept = {"decision_rate": group, "true_positive_rate": group & (label == 1)}
        among, value = kept.get(name, group & (label == 0)), decision.astype(np.float64)
    count = int(among.sum())
    if not count:
        return math.nan, np.zeros(label.size)
    rate = float(value[among].mean())
    return rate, np.where(among, (value - rate) * (label.size / count), 0.0)


def _apart(
    pulls: Sequence[tuple[float, NDArray[np.float64]]], names: Sequence[str], clusters: Clusters
) -> dict[str, Any]:
    """The two groups that lie furthest apart."""
    if any(math.isnan(rate) for rate, _ in pulls):
        return {"difference": math.nan, "se": math.nan, "between": [], "pairs": 0}
    pairs = list(combinations(range(len(pulls)), 2))
    if not pairs:
        return {"difference": 0.0, "se": 0.0, "between": [], "pairs": 0}
    first, second = max(pairs, key=lambda pair: abs(pulls[pair[0]][0] - pulls[pair[1]][0]))
    difference = abs(pulls[first][0] - pulls[second][0])
    se = clustered_se(pulls[first][1] - pulls[second][1], clusters)
    return {"difference": difference, "se": se, "between": [names[first], names[second]], "pairs": len(pairs)}
