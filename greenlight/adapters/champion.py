"""The champion's own code: scores rows as the commit of the champion's run would, in a process of its own.

Features may have changed since. Scoring the champion with today's features would compare the candidate with a model
that never served.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from greenlight.adapters import scratch
from greenlight.errors import StageFailed

TIMEOUT_S = 1800
ENTRY = Path("greenlight/stages/score.py")


def score(code: Path, model: Path, rows: Path) -> npt.NDArray[np.float32]:
    """Probabilities of the model in a folder, by the code in another.

    Parameters
    ----------
    code : Path
        Folder that holds the package ``greenlight`` as of the champion's commit.
    model : Path
        The champion's model folder.
    rows : Path
        Parquet file with the columns of a request, n rows.

    Returns
    -------
    (n,) float32
        0 to 1.

    Raises
    ------
    StageFailed
        The code is not there, ends with an error, takes longer than half an hour, or answers no probabilities.
    """
    if not (code / ENTRY).is_file():  # an installed greenlight would otherwise answer in its place
        raise StageFailed("the champion's code is missing", where=str(code / ENTRY), todo="prepare the workspace anew")
    with scratch.passing("champion") as folder:
        out = folder / "scores.parquet"
        command = [
            sys.executable,
            "-m",
            "greenlight.stages.score",
            *(str(p.resolve()) for p in (model, rows)),
            str(out),
        ]
        try:
            ended = subprocess.run(command, cwd=code, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise StageFailed(f"the champion's code did not answer within {TIMEOUT_S} s", where=str(code)) from None
        if ended.returncode != 0:
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            raise StageFailed(f"the champion's code ended with {ended.returncode}: {last}", where=str(code))
        try:
            return pl.read_parquet(out, memory_map=False, glob=False)["probability"].cast(pl.Float32).to_numpy()
        except (OSError, pl.exceptions.PolarsError) as exc:
            raise StageFailed(f"the champion's code left no probabilities: {exc}", where=str(code)) from exc
