"""Score a file with the packed model: ``python -m bentos.classifier.score_table TABLE OUT`` in the bento's src.

TABLE and OUT are Parquet, or CSV where the name ends so. Rows are checked as the service checks them; nothing is under
the name OUT before the last row is scored. On stdout a line of JSON: what was written, or what is wrong (status 1).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from bentos.classifier import tables
from bentos.classifier.frames import RowCheck
from bentos.classifier.problems import Problem
from bentos.classifier.scorer import Scorer

NO_LIMIT = sys.maxsize


def main() -> None:
    """Score, and say how it went."""
    parser = argparse.ArgumentParser(description="Score a table with the model that is packed here.")
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=0, help="threads that score; 0 means all cores")
    args = parser.parse_args()
    said, status = _run(args.table, args.out, args.threads)
    sys.stdout.write(json.dumps(said) + "\n")
    sys.exit(status)


def _run(table: Path, out: Path, threads: int) -> tuple[dict[str, Any], int]:
    try:
        return score_file(Path.cwd(), table, out, threads), 0
    except Problem as problem:
        return {"error": problem.error, "details": problem.details, "more": problem.more}, 1
    except OSError as exc:
        return {"error": f"{exc.strerror or exc} ({exc.filename or out})", "errno": exc.errno}, 1


def score_file(root: Path, table: Path, out: Path, threads: int = 0) -> dict[str, Any]:
    """Score the rows of `table` with the model under `root`, and write the answers to `out`.

    Returns
    -------
    dict
        ``version``, ``name`` (the prediction of row i is ``<name>-<i>``), ``rows``, ``unseen`` and ``seconds``, of
        which the model's loading is none.

    Raises
    ------
    Problem
        The table cannot be read, its columns are not the row's, or a value is wrong.
    OSError
        `out` cannot be written.
    """
    scorer = Scorer.load(root, threads)
    check = RowCheck(scorer.dataset.request.Row)
    begun = time.perf_counter()
    text = _is_csv(table)
    pieces = tables.csv_pieces(table) if text else tables.parquet_pieces(table, NO_LIMIT)
    found = tables.TableScores(uuid.uuid4().hex, scorer.version)
    answers = found.pass_on(tables.scored(scorer, check, pieces, max_rows=NO_LIMIT, text=text))
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        (tables.write_csv if _is_csv(out) else tables.write_parquet)(answers, part)
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    seconds = time.perf_counter() - begun
    return {
        "version": found.version,
        "name": found.name,
        "rows": found.rows,
        "unseen": found.unseen,
        "seconds": round(seconds, 3),
    }


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".txt")


if __name__ == "__main__":
    main()
