"""Score rows with a model folder in a process of its own: ``python -m greenlight.stages.score MODEL ROWS OUT``.

The champion is scored with the code of its own commit, in a process whose working directory holds that code. This
command line is what both sides agree on, so it must stay: three paths, exit status 0, and in OUT (Parquet) one row per
row of ROWS, in order: ``probability`` (Float32) and ``decision`` (Boolean). ROWS has the columns of a request; others
are ignored.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from greenlight import datasets
from greenlight.config import share_cores
from greenlight.core.model import FILES, Model, Scores
from greenlight.errors import GreenlightError, UsageError


def read_model(folder: Path, *, threads: int = 0) -> Model:
    """The model in a folder.

    Raises
    ------
    GreenlightError
        A file is missing or cannot be read.
    """
    share_cores()
    found = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    return Model.from_files(found, threads=threads)


def score(model: Model, rows: pl.DataFrame) -> Scores:
    """Answers for `rows`, which have the columns of a request, with the code of this process."""
    dataset = datasets.load(model.manifest.dataset)
    return model.score(dataset.request.columns_of(rows), dataset.features.row_features)


def run(model: Path, rows: Path, out: Path) -> str:
    """Score the rows in one file and write the answers to another.

    Raises
    ------
    GreenlightError
        The model folder or the rows cannot be read.
    """
    try:
        frame = pl.read_parquet(rows, memory_map=False, glob=False)
    except (OSError, pl.exceptions.PolarsError) as exc:
        raise GreenlightError(f"the rows cannot be read: {str(exc).splitlines()[0]}", where=str(rows)) from exc
    scores = score(read_model(model), frame)
    pl.DataFrame({"probability": scores.probability, "decision": scores.decision}).write_parquet(out)
    return f"{frame.height:,} rows"


def main(argv: list[str]) -> int:
    """Run the command line."""
    try:
        if len(argv) != 3:
            raise UsageError(f"{len(argv)} arguments, 3 are needed", todo="score MODEL_FOLDER ROWS OUT")
        sys.stderr.write(f"[score] {run(*map(Path, argv))}\n")
    except GreenlightError as exc:
        sys.stderr.write(f"[score] {exc}\n")
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
