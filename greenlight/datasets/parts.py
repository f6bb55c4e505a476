"""Labelled months to what a model is trained and scored on: the same function for a stage's files and for a replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from greenlight.core.lookup import Lookup, Vocabulary
from greenlight.core.model import Feature
from greenlight.core.periods import Periods
from greenlight.core.training import Part
from greenlight.datasets import Dataset


@dataclass(frozen=True, eq=False)
class Parts:
    """What featurizing gives.

    Attributes
    ----------
    train, stop : Part
        Matrices and labels, each period with the lookups of its own start.
    holdout : DataFrame
        Request columns, ``label``, ``day``, ``period``.
    vocabulary : Vocabulary
        Categories of the periods trained on.
    lookups : mapping of str to Lookup
        As of the start of the holdout.
    features : tuple of Feature
    rows : mapping of str to int
        Labelled rows by part: ``train``, ``stop``, ``holdout``.
    unseen : mapping of str to mapping of str to int
        By part and feature, rows whose category training did not know.
    """

    train: Part
    stop: Part
    holdout: pl.DataFrame
    vocabulary: Vocabulary
    lookups: Mapping[str, Lookup]
    features: tuple[Feature, ...]
    rows: Mapping[str, int]
    unseen: Mapping[str, Mapping[str, int]]


def prepare(
    dataset: Dataset, periods: Periods, frames: Mapping[str, pl.DataFrame], registers: Mapping[str, pl.DataFrame]
) -> Parts:
    """Featurize the periods of one run.

    Parameters
    ----------
    frames : mapping of str to DataFrame
        Labelled rows of every period of the run, from `history.assemble`.
    registers : mapping of str to DataFrame
        The dataset's tables without a period.
    """
    vocabulary = dataset.history.vocabulary([frames[period] for period in periods.train])

    def as_of(period: str) -> dict[str, Lookup]:
        """The lookups as of the start of `period`: no row of it, or after it, goes in."""
        found: dict[str, Lookup] = dataset.history.lookups([frames[p] for p in periods.before(period)], registers)
        return found

    def part(its: Sequence[str]) -> tuple[Part, dict[str, int]]:
        matrices, unseen = [], dict[str, int]()
        for period in its:
            columns: dict[str, Any] = dataset.request.columns_of(frames[period])
            matrix, missing = dataset.features.row_features(columns, as_of(period), vocabulary)
            matrices.append(matrix)
            for name, n in missing.items():
                if n:
                    unseen[name] = unseen.get(name, 0) + n
        labels = np.concatenate([frames[p]["label"].to_numpy() for p in its])
        return Part(np.concatenate(matrices), labels), unseen

    final, holdout = as_of(periods.holdout), frames[periods.holdout]
    train, unseen_train = part(periods.train)
    stop, unseen_stop = part((periods.stop,))
    _, missing = dataset.features.row_features(dataset.request.columns_of(holdout), final, vocabulary)
    return Parts(
        train=train,
        stop=stop,
        holdout=holdout,
        vocabulary=vocabulary,
        lookups=final,
        features=dataset.features.FEATURES,
        rows={"train": len(train.label), "stop": len(stop.label), "holdout": holdout.height},
        unseen={
            "train": unseen_train,
            "stop": unseen_stop,
            "holdout": {name: n for name, n in missing.items() if n},
        },
    )
