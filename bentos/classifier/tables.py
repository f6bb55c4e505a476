"""Whole tables scored a piece at a time: by the bulk endpoint, and by ``greenlight score``.

The endpoint keeps five bytes of a scored row and answers when all are checked, so its answer is whole or an error; the
command writes as it goes, to a file that takes its place at the end. Either takes the memory of a few pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from bentos.classifier.columns import ANSWERED
from bentos.classifier.frames import RowCheck
from bentos.classifier.problems import Problem
from bentos.classifier.scorer import Scorer
from greenlight.core.model import Scores

PIECE = 65_536  # rows scored at once
ANSWER: dict[str, Any] = dict(zip(ANSWERED, (pl.String, pl.Float32, pl.Boolean, pl.String), strict=True))


@dataclass
class TableScores:
    """What the rows of a table got, in their order.

    Attributes
    ----------
    name : str
        The prediction of row i is called ``<name>-<i>``.
    version : str
        Version that scored.
    rows : int
        Rows scored.
    unseen : dict of str to int
        Values per feature that training had not seen.
    """

    name: str
    version: str
    rows: int = 0
    unseen: dict[str, int] = field(default_factory=dict)
    _kept: list[Scores] = field(default_factory=list)

    def keep(self, pieces: Iterable[Scores]) -> None:
        """Take the scores of all rows."""
        for scores in pieces:
            self._kept.append(scores)
            self._note(scores)

    def answers(self) -> Iterator[pl.DataFrame]:
        """The answer's rows (`ANSWER`) to what was kept, a piece at a time; one without rows where there were none."""
        first = 0
        for scores in self._kept or [Scores(np.empty(0, np.float32), np.empty(0, np.bool_), {})]:
            yield self._answer(scores, first)
            first += len(scores.probability)

    def kept(self) -> Iterator[Scores]:
        """The scores that were kept, a piece at a time."""
        yield from self._kept

    def pass_on(self, pieces: Iterable[Scores]) -> Iterator[pl.DataFrame]:
        """The answer's rows as they are scored; nothing is kept of them."""
        for scores in pieces:
            yield self._answer(scores, self.rows)
            self._note(scores)

    def _note(self, scores: Scores) -> None:
        self.rows += len(scores.probability)
        for feature, count in scores.unseen.items():
            self.unseen[feature] = self.unseen.get(feature, 0) + count

    def _answer(self, scores: Scores, first: int) -> pl.DataFrame:
        count = len(scores.probability)
        return pl.DataFrame(
            {
                "prediction_id": f"{self.name}-" + pl.int_range(first, first + count, eager=True).cast(pl.String),
                "probability": pl.Series(scores.probability, dtype=pl.Float32),
                "decision": pl.Series(scores.decision, dtype=pl.Boolean),
                "model_version": pl.repeat(self.version, count, dtype=pl.String, eager=True),
            }
        )


def scored(
    scorer: Scorer, check: RowCheck, pieces: Iterable[pl.DataFrame], *, max_rows: int, text: bool = False
) -> Iterator[Scores]:
    """Check and score every row, piece by piece; the next piece is checked while XGBoost scores the last one.

    Parameters
    ----------
    pieces : iterable of DataFrame
        At least one, which may be without rows.
    max_rows : int
        Most rows.
    text : bool
        Every column came as text.

    Raises
    ------
    Problem
        422: the columns are not the row's, or values are wrong; 413: too many rows.
    """
    request, features = scorer.dataset.request, scorer.dataset.features
    lookups, vocabulary = scorer.model.lookups, scorer.model.manifest.vocabulary
    rows = 0
    with ThreadPoolExecutor(max_workers=1) as booster:
        waiting: Future[Scores] | None = None
        for number, piece in enumerate(pieces):
            if number == 0:
                check.require_schema(piece.schema, text=text)
            require_rows(rows + piece.height, max_rows)
            if not piece.height:
                continue
            matrix, unseen = features.row_features(request.columns_of(check.checked(piece, rows)), lookups, vocabulary)
            rows += piece.height
            if waiting:
                yield waiting.result()
            waiting = booster.submit(scorer.model.score_matrix, matrix, unseen)
        if waiting:
            yield waiting.result()


def require_rows(rows: int, most: int) -> None:
    """Refuse more rows than `most`."""
    if rows > most:
        raise Problem(413, f"the table has more than {most:,} rows; send it in parts")


def parquet_pieces(path: Path, max_rows: int) -> Iterator[pl.DataFrame]:
    """The rows of a Parquet file, piece by piece; the first comes even without rows.

    Raises
    ------
    Problem
        400: no Parquet; 413: too many rows.
    """
    try:
        table = pl.scan_parquet(path, glob=False)
        # Of what a small file can unpack to, its own count is read first.
        require_rows(table.select(pl.len()).collect().item(), max_rows)
        yield pl.DataFrame(schema=table.collect_schema())
        yield from table.collect_batches(chunk_size=PIECE, maintain_order=True)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as exc:
        raise Problem(400, f"this is not a Parquet file: {_line(exc)}") from None


def csv_pieces(path: Path) -> Iterator[pl.DataFrame]:
    """The rows of a CSV file with a head, piece by piece, every column as text and nothing as null.

    Raises
    ------
    Problem
        400: it cannot be read.
    """
    try:
        table = pl.scan_csv(path, glob=False, infer_schema=False, try_parse_dates=False)
        yield pl.DataFrame(schema=table.collect_schema())
        yield from table.collect_batches(chunk_size=PIECE, maintain_order=True)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as exc:
        raise Problem(400, f"the file cannot be read as CSV: {_line(exc)}") from None


def write_parquet(answers: Iterable[pl.DataFrame], path: Path) -> None:
    """Write answers to a Parquet file, a row group a piece."""

    def pieces(*_: Any) -> Iterator[pl.DataFrame]:
        yield from answers

    register_io_source(pieces, schema=ANSWER).sink_parquet(path, row_group_size=PIECE)


def write_csv(answers: Iterable[pl.DataFrame], path: Path) -> None:
    """Write answers to a CSV file with a head."""
    with path.open("wb") as file:
        for number, answer in enumerate(answers):
            answer.write_csv(file, include_header=number == 0)


def _line(exc: BaseException) -> str:
    return (str(exc).splitlines() or ["?"])[0][:160]
