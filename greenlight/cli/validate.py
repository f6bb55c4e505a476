"""``greenlight validate``: does a file keep the contract, before it is handed in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from greenlight.cli.options import Json
from greenlight.cli.terminal import answer_only, emit, show

if TYPE_CHECKING:
    from greenlight.operations.contract_file import FileAnswer


def validate(
    path: Annotated[Path, typer.Argument(help="A Parquet or CSV file of one table and month.", show_default=False)],
    table: Annotated[
        str, typer.Option(help="The table that it is; left out: recognised by its columns.", show_default=False)
    ] = "",
    period: Annotated[
        str, typer.Option(help="Its month, YYYY-MM; left out: by its name, or by its rows.", show_default=False)
    ] = "",
    report: Annotated[
        Path | None, typer.Option(help="Write a page with pictures and example rows here.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a file against the dataset's contract, before it is handed in. Changes nothing.

    Looks at the file itself, and sets it beside the months that the source has before it: volume, distributions, nulls,
    rows that were there before. Exit status 3 when it breaks the contract, 2 when it cannot be read at all.

    ```sh
    greenlight validate delivery/flights-2013-08.parquet
    greenlight validate flights.csv --period 2013-08 --report flights.html
    greenlight validate flights.csv --json | jq '.failures[].expectation'
    ```
    """
    from greenlight.operations import contract_file
    from greenlight.wiring import open_project

    with answer_only():
        found = contract_file.validate(open_project(), path, table=table, period=period, page=report)
    if as_json:
        emit(found.to_json())
    else:
        _show(found)
    raise typer.Exit(found.exit_code)


def _show(found: FileAnswer) -> None:
    from greenlight.core.contract_report import report_text

    show(found.about)
    show(report_text(found.report), style="" if found.report.passed else "red")
    if found.not_checked:
        show(f"not checked: {found.not_checked}", style="yellow")
    if found.page:
        show(f"report: {found.page}")
