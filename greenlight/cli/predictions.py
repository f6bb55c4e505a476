"""The commands about answers that were given: what is kept of them, where one came from, and what turned out true."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenlight.cli.options import Json
from greenlight.cli.terminal import Group, answer_only, emit, show
from greenlight.errors import UsageError

ABOUT = """What is kept of predictions: by version and day, and how much room it takes.

```sh
greenlight predictions
greenlight predictions compact    # finished files become Parquet; the oldest go beyond the limit
```
"""
kept = typer.Typer(cls=Group, rich_markup_mode="markdown", help=ABOUT)


def register(app: typer.Typer) -> None:
    """Add the commands to the others."""
    app.command(rich_help_panel="Look")(trace)
    app.command(rich_help_panel="Serve")(labels)
    app.add_typer(kept, name="predictions", rich_help_panel="Look")


def trace(
    prediction_id: Annotated[str, typer.Argument(help="As POST /predict handed it out.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Say where a prediction came from: version, run, commit, parameters, data, contract, verdict, feature values.

    The row is scored once more by the code and the model that served it; exit status 1 if that gives another answer.

    ```sh
    greenlight trace 1f5d0d76313248f8a41539b94124852b-0
    greenlight trace 1f5d0d76313248f8a41539b94124852b-0 --json | jq .features
    ```
    """
    from greenlight.cli.prediction_views import trace_views
    from greenlight.operations import trace as operation
    from greenlight.wiring import open_project

    with answer_only():
        found = operation.trace(open_project(), prediction_id).to_json()
    if as_json:
        emit(found)
    else:
        for part in trace_views(found):
            show(part)
    raise typer.Exit(1 if found["rescored"].get("same") is False else 0)


def labels(
    path: Annotated[
        Path | None, typer.Argument(help="A CSV or Parquet file with the column `label`.", show_default=False)
    ] = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="How many predictions have their label, by version and day.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take what turned out to be true, from a file; or say how much of it is known.

    Beside `label` (true or false, 1 or 0) stands `prediction_id`, or `key` (the header `x-greenlight-key`), or columns
    of the request: then every prediction that a row fits is labelled. May be repeated. The first label of a prediction
    counts; one that says the opposite is reported, not applied (exit status 1). Servers take labels too: POST /labels.

    ```sh
    greenlight labels truth.csv
    greenlight labels landed.parquet --json | jq .unmatched
    greenlight labels --coverage
    ```
    """
    from greenlight.cli.prediction_views import coverage_view, labelled_view
    from greenlight.operations import labels as operation
    from greenlight.wiring import open_project

    if (path is None) is not coverage:
        raise UsageError("name a file, or ask for --coverage", todo="greenlight labels --help shows both")
    if path is None:
        with answer_only():
            found = operation.coverage(open_project())
        emit(found) if as_json else show(coverage_view(found))
        return
    with answer_only():
        taken = operation.take_file(open_project(), path)
    emit(taken.to_json()) if as_json else show(labelled_view(taken.to_json()))
    raise typer.Exit(taken.exit_code)


@kept.callback(invoke_without_command=True)
def predictions(context: typer.Context, as_json: Json = False) -> None:
    """Show what is kept."""
    from greenlight.cli.prediction_views import summary_view
    from greenlight.config import Settings, require_repository
    from greenlight.operations import predictions as operation

    if context.invoked_subcommand:
        return
    with answer_only():
        settings = Settings.load()
        require_repository(settings.root)
        found = operation.summary(settings)
    emit(found) if as_json else show(summary_view(found))


@kept.command()
def compact(as_json: Json = False) -> None:
    """Turn the finished files of the log into Parquet, and delete the oldest beyond GREENLIGHT_PREDICTION_LOG_MB.

    Servers go on writing meanwhile. May be interrupted and repeated: no row is lost, none counted twice.

    ```sh
    greenlight predictions compact
    ```
    """
    from greenlight.cli.prediction_views import compaction_view
    from greenlight.config import Settings, require_repository
    from greenlight.operations import predictions as operation

    with answer_only():
        settings = Settings.load()
        require_repository(settings.root)
        found = operation.compact(settings)
    emit(found) if as_json else show(compaction_view(found))
