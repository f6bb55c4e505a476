"""``greenlight score``: a table's predictions, computed ahead of time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenlight.cli import complete
from greenlight.cli.options import Json
from greenlight.cli.terminal import answer_only, emit, say, show


def score(
    table: Annotated[
        Path, typer.Argument(help="A Parquet or CSV file of rows as a client sends them.", show_default=False)
    ],
    version: Annotated[
        str,
        typer.Option(
            help="The version to score with; left out: the one that serves.",
            autocompletion=complete.versions,
            show_default=False,
        ),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the answers, .parquet or .csv; left out: <TABLE>-scores here.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score every row of a table, with the code and the model of one version. Needs no server.

    Checks the rows as the service does (exit status 2 and the wrong values, if any; then nothing is written) and writes
    one prediction a row, in order: prediction_id, probability, decision, model_version.

    ```sh
    greenlight score flights.parquet
    greenlight score flights.csv --version v2 --out scores.parquet
    greenlight score flights.parquet --json | jq .rows
    ```
    """
    from greenlight.operations.score_table import score_table
    from greenlight.wiring import open_project

    with answer_only():
        found = score_table(open_project(), table, version=version, out=out, log=say)
    if as_json:
        emit(found.to_json())
        return
    show(f"{found.rows:,} rows scored by {found.version} in {found.seconds:g} s: {found.out}")
    if found.unseen:
        unseen = ", ".join(f"{feature} {count:,}" for feature, count in found.unseen.items())
        show(f"not seen in training, counted as missing: {unseen}", style="yellow")
