"""The worst slices that nobody declared: every pair of a declared column with another, or with a range of a feature.

What is looked at is counted, because looking at a thousand slices finds a bad one by chance; the gate corrects for all
of them and not only for those shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenlight.core import slices
from greenlight.core.metrics import Labels, Probabilities
from greenlight.core.model import Feature
from greenlight.core.paired import Clusters

RANGES = 4  # of a feature: quarters of the holdout
SCORE_BINS = 256  # of the screening; the slices that are shown are measured exactly
SHOWN = 10
FEATURES = 12  # those that the candidate uses most


@dataclass(frozen=True, eq=False)
class Cut:
    """One way to cut the holdout into parts: what each is called, and which part each row is in (-1: in none)."""

    names: list[str]
    member: NDArray[np.intp]


def search(
    label: Labels,
    scores: Mapping[str, Probabilities],
    cuts: Sequence[Cut],
    *,
    clusters: Clusters,
    min_rows: int,
    min_positives: int,
) -> dict[str, Any]:
    """The slices where the candidate is worst: beside the champion, or, without one, by itself.

    Parameters
    ----------
    cuts : sequence of Cut
        From `cuts_of`.
    min_rows, min_positives : int
        Smaller slices are not looked at; as many negatives are needed as positives. Nor is one that lies within a
        single cluster: it has no standard error.

    Returns
    -------
    dict
        ``looked_at``: how many slices were large enough; ``rows``: the ten worst, ``name`` and what `slices.one` says.

    Notes
    -----
    Screened by the ROC AUC from counts of scores, weighted with the square root of the slice's scarcer class so that a
    small slice needs a larger loss. After Chung et al., "Automated data slicing for model validation", TKDE 32, 2020.
    """
    finite = all(np.isfinite(score).all() for score in scores.values())
    binned = {name: _score_bins(score) for name, score in scores.items()} if finite else {}
    found: list[tuple[float, str, int, int]] = []
    looked_at = 0
    for which, cut in enumerate(cuts):
        areas = {name: _areas(label, bins, cut) for name, bins in binned.items()}
        if not areas:
            break
        rows, positives = _sizes(label, cut)
        scarce = np.minimum(positives, rows - positives)
        large = np.flatnonzero((rows >= min_rows) & (scarce >= min_positives) & _spans(cut, clusters))
        looked_at += large.size
        loss = areas["champion"] - areas["candidate"] if "champion" in areas else 0.5 - areas["candidate"]
        weighed = loss * np.sqrt(scarce) if "champion" in areas else loss
        found += [(-float(weighed[part]), cut.names[part], which, int(part)) for part in large]
    worst = sorted(found)[:SHOWN]
    return {
        "looked_at": looked_at,
        "rows": [
            {"name": name, **slices.one(label, scores, np.flatnonzero(cuts[which].member == part), clusters)}
            for _, name, which, part in worst
        ],
    }


def cuts_of(
    columns: Mapping[str, NDArray[Any]],
    matrix: NDArray[np.float32],
    features: Sequence[Feature],
    importance: Mapping[str, float],
) -> list[Cut]:
    """Every pair of declared columns, each feature's quarters, and each declared column within them.

    Parameters
    ----------
    columns : mapping of (n,) object
        Declared slices; alone they have gates of their own.
    matrix : (n, k) float32
        The candidate's features of the holdout, in the order of `features`.
    importance : mapping of str to float
        By feature; the 12 numbers with the largest take part.
    """
    declared = [column(name, values) for name, values in columns.items()]
    numbers = [(j, f) for j, f in enumerate(features) if f.kind == "q" and f.name not in columns]
    ranked = sorted((-importance.get(f.name, 0.0), j) for j, f in numbers)
    quarters = [ranges(features[j].name, matrix[:, j]) for _, j in ranked[:FEATURES]]
    pairs = [*combinations(declared, 2), *((part, its) for part in declared for its in quarters)]
    return [*quarters, *(_both(*pair) for pair in pairs)]


def column(name: str, values: NDArray[Any]) -> Cut:
    """A part for every value of a column; None is one of its own."""
    distinct, member = slices.codes(values)
    return Cut([f"{name} {value}" for value in distinct], member)


def ranges(name: str, values: NDArray[np.floating[Any]]) -> Cut:
    """Quarters of a number; missing by itself."""
    known = values[~np.isnan(values)]
    if not known.size:
        return Cut([f"{name} {slices.MISSING}"], np.zeros(values.size, dtype=np.intp))
    edges = np.unique(np.quantile(known, np.arange(1, RANGES) / RANGES).astype(values.dtype))
    member = np.searchsorted(edges, values, side="right").astype(np.intp)
    member[np.isnan(values)] = edges.size + 1
    return Cut([*_range_names(name, edges), f"{name} {slices.MISSING}"], member)


def _range_names(name: str, edges: NDArray[np.floating[Any]]) -> Iterator[str]:
    shown = [f"{edge:.4g}" for edge in edges.tolist()]
    yield f"{name} < {shown[0]}"
    for low, high in pairwise(shown):
        yield f"{name} {low} to {high}"
    yield f"{name} >= {shown[-1]}"


def _both(first: Cut, second: Cut) -> Cut:
    names = [f"{a} & {b}" for a in first.names for b in second.names]
    return Cut(names, first.member * len(second.names) + second.member)


def _score_bins(score: Probabilities) -> NDArray[np.intp]:
    edges = np.unique(np.quantile(score, np.arange(1, SCORE_BINS) / SCORE_BINS))
    return np.searchsorted(edges, score, side="right").astype(np.intp)


def _sizes(label: Labels, cut: Cut) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    parts = len(cut.names)
    return np.bincount(cut.member, minlength=parts), np.bincount(cut.member[label.astype(bool)], minlength=parts)


def _spans(cut: Cut, clusters: Clusters) -> NDArray[np.bool_]:
    """Which parts lie in more than one cluster."""
    inside = cut.member >= 0
    member, code = cut.member[inside], clusters.code[inside]
    lowest = np.full(len(cut.names), clusters.count, dtype=np.intp)
    highest = np.full(len(cut.names), -1, dtype=np.intp)
    np.minimum.at(lowest, member, code)
    np.maximum.at(highest, member, code)
    return lowest < highest


def _areas(label: Labels, bins: NDArray[np.intp], cut: Cut) -> NDArray[np.float64]:
    """ROC AUC of each part, from counts."""
    parts, positive = len(cut.names), label.astype(bool)
    at = cut.member * SCORE_BINS + bins
    size = parts * SCORE_BINS
    won = np.bincount(at[positive], minlength=size).reshape(parts, -1).astype(np.float64)
    lost = np.bincount(at[~positive], minlength=size).reshape(parts, -1).astype(np.float64)
    below = np.cumsum(lost, axis=1) - lost / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float64] = (won * below).sum(axis=1) / (won.sum(axis=1) * lost.sum(axis=1))
    return found
