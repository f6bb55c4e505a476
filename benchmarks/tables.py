"""Whole tables: rows a second of ``greenlight score`` and ``POST /bulk``, as a share of a bare loop.

The bare loop reads the same Parquet file, computes the features and asks the booster, a piece at a time, with as many
threads as what it is compared with: no row is checked, no answer is written. Part of ``make bench-serving``.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl

from greenlight.adapters import table_scorer
from greenlight.adapters.sockets import UnixHttp
from greenlight.config import Settings

ROWS = 200_000
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
SCORE, BULK_ARROW, BULK_PARQUET = "greenlight score", "/bulk, Arrow", "/bulk, Parquet"
BARE = """
import sys, time
from pathlib import Path
import polars as pl
from bentos.classifier.scorer import Scorer
scorer = Scorer.load(Path.cwd(), int(sys.argv[2]))
model, dataset = scorer.model, scorer.dataset
begun = time.perf_counter()
table, rows = pl.read_parquet(sys.argv[1]), 0
for piece in table.iter_slices(65_536):
    columns = dataset.request.columns_of(piece)
    matrix, _ = dataset.features.row_features(columns, model.lookups, model.manifest.vocabulary)
    rows += len(model.score_matrix(matrix).probability)
print(rows / (time.perf_counter() - begun))
"""


def table_of(requests: list[dict[str, Any]], rows: int) -> pl.DataFrame:
    """`rows` rows, of the types that a table has where JSON has text."""
    frame = pl.DataFrame(requests, infer_schema_length=None).with_columns(
        pl.col("scheduled_departure").str.to_datetime(), pl.col("scheduled_arrival").str.to_time()
    )
    return pl.concat([frame] * (rows // frame.height + 1)).head(rows)


class Tables:
    """Measures one version.

    Parameters
    ----------
    settings : Settings
    sources : Path
        ``src`` of its bento.
    folder : Path
        For the tables.
    socket : str
        Of a server of that version.
    table : DataFrame
        Rows as a client has them.
    """

    def __init__(self, settings: Settings, sources: Path, folder: Path, socket: str, table: pl.DataFrame) -> None:
        self._settings, self._sources, self._folder, self._socket = settings, sources, folder, socket
        self._rows = table.height
        self._file = folder / "table.parquet"
        table.write_parquet(self._file)
        stream = io.BytesIO()
        table.write_ipc_stream(stream, compat_level=pl.CompatLevel.oldest())
        self._bodies = {ARROW: stream.getvalue(), PARQUET: self._file.read_bytes()}

    def measure(self, rounds: int) -> dict[str, dict[str, list[float]]]:
        """Rows a second of each way in each round, and their share of the bare loop's in that round."""
        found: dict[str, dict[str, list[float]]] = {}
        ways = ((SCORE, 0, self._score), (BULK_ARROW, 1, self._arrow), (BULK_PARQUET, 1, self._parquet))
        self._arrow()  # the process that scores tables starts with the first one
        for _ in range(rounds):
            bare = {threads: self._bare(threads) for threads in (0, 1)}
            for name, threads, way in ways:
                rate = way()
                one = found.setdefault(name, {"per_second": [], "bare": [], "share": []})
                for key, value in (("per_second", rate), ("bare", bare[threads]), ("share", rate / bare[threads])):
                    one[key].append(round(value, 3))
        return found

    def _bare(self, threads: int) -> float:
        count = str(threads or os.cpu_count() or 1)
        env = {**os.environ, "OMP_NUM_THREADS": count, "POLARS_MAX_THREADS": count, "PYTHONPATH": str(self._sources)}
        command = [sys.executable, "-c", BARE, str(self._file), str(threads)]
        return float(subprocess.run(command, cwd=self._sources, env=env, capture_output=True, check=True).stdout)

    def _score(self) -> float:
        out = self._folder / "scores.parquet"
        found = table_scorer.score(self._settings, self._sources.parent, self._file, out)
        return float(found["rows"] / found["seconds"])

    def _arrow(self) -> float:
        return self._bulk(ARROW)

    def _parquet(self) -> float:
        return self._bulk(PARQUET)

    def _bulk(self, kind: str) -> float:
        begun = time.perf_counter()
        with UnixHttp(Path(self._socket), timeout_s=130) as client:
            answer = client.request("POST", "/bulk", self._bodies[kind], {"content-type": kind})
        took = time.perf_counter() - begun
        read = pl.read_ipc_stream if kind == ARROW else pl.read_parquet
        if answer.status != 200 or read(io.BytesIO(answer.body)).height != self._rows:
            raise SystemExit(f"/bulk answered {answer.status}: {answer.body[:300]!r}")
        return self._rows / took
