"""The commands that put the gates to the proof: over history, against injected faults, against a published test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenlight.cli.options import Json
from greenlight.cli.terminal import answer_only, emit, say, show

PANEL = "Prove"


def register(app: typer.Typer) -> None:
    """Add the commands to the others."""
    for command in (replay, selftest, scorecard):
        app.command(rich_help_panel=PANEL)(command)


def replay(
    first: Annotated[str, typer.Option("--from", metavar="MONTH", help="The first month, such as 2013-07.")],
    last: Annotated[str, typer.Option("--to", metavar="MONTH", help="The last month, such as 2013-12.")],
    own: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE[,KEY=VALUE]",
            help="A further policy with parameters of its own, gated or with `never:` or `always:` before it; "
            "may be repeated.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the report. Left out: below `.greenlight/replays/`.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run policies over history, month by month, knowing only what was known then, and compare what they served.

    Never retrain, always deploy and gated run side by side, with every policy that `--set` adds. Says what served in
    each month and how well, what every decision saved or cost, and how far the best choice in hindsight is. Writes
    `replay.html` and `replay.json`. Trains in memory: no run is recorded, nothing is released, no stack is needed.

    ```sh
    greenlight replay --from 2013-07 --to 2013-12
    greenlight replay --from 2013-07 --to 2013-12 --set data.window_months=3 --set always:data.window_months=3
    greenlight replay --from 2013-10 --to 2013-12 --set gates.champion.max_roc_auc_drop=0.02,train.seed=7 --json
    ```
    """
    from greenlight.cli.proof_views import replay_views
    from greenlight.proof import replay as operation
    from greenlight.wiring import open_project

    with answer_only():
        project = open_project()
        found = operation.replay(project, first, last, own or (), log=say)
        page = operation.write(project, found, out)
    if as_json:
        emit(found | {"report": str(page)})
        return
    for part in replay_views(found):
        show(part)
    show(f"\nreport: {page}")


def selftest(
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="FAULT", help="Only this fault; shell patterns; may be repeated.", show_default=False
        ),
    ] = None,
    month: Annotated[
        str,
        typer.Option(
            "--as-of", help="The holdout. Left out: the first month with a whole window before.", show_default=False
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Put faults into real data and models, one at a time, and show which check says no to each.

    Every fault goes through the real contract and the real gates, against a champion that is as good as the candidate
    without the fault. Exit status 1 if one is not caught, is caught by another check than the one that is there for it,
    or if the candidate without a fault is not let through. Nothing is recorded or released.

    ```sh
    greenlight selftest
    greenlight selftest --only 'label*' --only 'half of the trees'
    greenlight selftest --json | jq '.faults[] | {name, caught, by}'
    ```
    """
    from greenlight.cli.proof_views import selftest_views
    from greenlight.proof import selftest as operation
    from greenlight.wiring import open_project

    with answer_only():
        found = operation.selftest(open_project(), only or (), month=month, log=say)
    if as_json:
        emit(found.to_json())
    else:
        for part in selftest_views(found.to_json()):
            show(part)
    raise typer.Exit(found.exit_code)


def scorecard(
    run: Annotated[bool, typer.Option("--run", help="Also run the tests that count as evidence (minutes).")] = False,
    as_json: Json = False,
) -> None:
    """Score this repository by the ML Test Score (Breck et al. 2017): 28 tests, each with its evidence.

    A point for what runs by itself, half a point for what is done by hand and written down or by machine in part;
    the score is the smallest of the four sections' sums. The evidence (tests, gates, stages, files) is looked up each
    time: what is not there counts nothing.

    ```sh
    greenlight scorecard
    greenlight scorecard --run
    greenlight scorecard --json | jq '.tests[] | select(.points == 0) | .title'
    ```
    """
    from greenlight.cli.proof_views import scorecard_views
    from greenlight.proof import scorecard as operation
    from greenlight.wiring import open_project

    with answer_only():
        found = operation.scorecard(open_project(), run=run, log=say)
    if as_json:
        emit(found)
        return
    for part in scorecard_views(found):
        show(part)
