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
    for command in (replay,):
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
    from greenlight.operations import replay as operation
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
