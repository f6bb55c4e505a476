"""``greenlight reproduce`` and ``greenlight diff``: does a run come back, and what changed between two."""

from __future__ import annotations

from typing import Annotated

import typer

from greenlight.cli import complete
from greenlight.cli.options import Json, RunName
from greenlight.cli.terminal import answer_only, emit, say, show


def reproduce(
    run: Annotated[
        str,
        typer.Argument(
            help="A run's name, the beginning of one, or a version such as v2; left out with `--all`.",
            autocompletion=complete.runs_and_versions,
            show_default=False,
        ),
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="Every run, one after the other.")] = False,
    as_json: Json = False,
) -> None:
    """Execute a run again in a clean clone and compare every output's hash.

    Needs no stack and no source. Says `identical`, `equivalent` (within tolerance, such as with other threads) or
    `different` (exit status 1), naming the first file that differs and what differs in inputs and environment.

    ```sh
    greenlight reproduce v1
    greenlight reproduce v1 --json | jq -r .verdict
    greenlight reproduce --all
    ```
    """
    from greenlight.cli.run_views import reproduce_views, sweep_views
    from greenlight.errors import UsageError
    from greenlight.operations import sweep
    from greenlight.wiring import open_project

    every = every or run == sweep.EVERY
    if (not every and not run) or (every and run not in ("", sweep.EVERY)):
        what = "a run and --all were asked for" if run else "no run was named"
        raise UsageError(what, todo="greenlight reproduce v1, or greenlight reproduce --all")
    with answer_only():
        found = sweep.reproduce_named(open_project(), sweep.EVERY if every else run, log=say)
    if as_json:
        emit(found.to_json())
    else:
        for part in (sweep_views if every else reproduce_views)(found.to_json()):
            show(part)
    raise typer.Exit(found.exit_code)


def diff(run: RunName, other: RunName, as_json: Json = False) -> None:
    """Say what changed from one run to another: code, parameters, rows, environment, metrics, verdict.

    Only files of the snapshot that differ are fetched. Exit status 0, whatever changed.

    ```sh
    greenlight diff v1 v2
    greenlight diff v2 2013-09-1f3a
    greenlight diff v1 v2 --json | jq .params
    ```
    """
    from greenlight.cli.run_views import diff_views
    from greenlight.operations import diff as operation
    from greenlight.wiring import open_project

    with answer_only():
        found = operation.diff(open_project(), run, other).to_json()
    if as_json:
        emit(found)
        return
    for part in diff_views(found):
        show(part)
