"""Kept predictions joined with the labels that have come: what a release is judged by when the truth is known late.

Always all of it and from both books, so that nothing has to be remembered between two looks: a label that comes twice,
before its prediction is written, or after that was compacted counts once.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from greenlight.adapters.label_book import LabelBook
from greenlight.adapters.prediction_log import PredictionLog

ID = "prediction_id"


class LabelledPredictions:
    """The predictions and labels of a home.

    Parameters
    ----------
    home : Path
        Greenlight's work state.
    """

    def __init__(self, home: Path) -> None:
        self._log = PredictionLog(home)
        self._book = LabelBook(home)

    def answers(self, versions: tuple[str, str], since_us: int, until_us: int) -> pl.LazyFrame:
        """Answers of two versions that came in [since_us, until_us), each with its label where that has come.

        Requests that failed, and those that named their version, are left out: nobody drew a version for them.

        Returns
        -------
        pl.LazyFrame
            Columns of the prediction log, with ``label`` (0, 1, or null) and ``labelled_at``.
        """
        frames = [self._log.scan(version, since_us, until_us) for version in versions]
        drawn = pl.concat(frames).filter(pl.col("probability").is_not_null() & ~pl.col("pinned"))
        labels = self._book.scan(since_us).rename({"at": "labelled_at"})
        return drawn.join(labels, on=ID, how="left")
