"""The commands. Each reads its options, calls one operation, and shows the answer; ``--help`` teaches by example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from greenlight.cli import (
    compare,
    complete,
    fsck,
    predictions,
    proof,
    provenance,
    recover,
    render,
    score_table,
    traffic,
    validate,
)
from greenlight.cli import release as releases
from greenlight.cli.here import here
from greenlight.cli.options import Json, RunName
from greenlight.cli.terminal import Group, answer_only, console, emit, say, show, tell_faults

if TYPE_CHECKING:
    pass

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Retrain on a schedule, prove that the new model deserves to serve, release it, undo any of it by name.

**A first session**

```sh
greenlight doctor      # is everything here?
greenlight retrain     # train, judge, release; brings the stack up first
greenlight status      # what serves, and where
greenlight runs        # every run, with its outcome
greenlight rollback    # back to the version that served before
greenlight backup      # runs and data to where another machine finds them
```

Answers go to stdout, progress and errors to stderr. Exit status: 0 done, 1 failed, 2 asked for something that
cannot be, 3 the data broke its contract.
""",
)


@app.command(rich_help_panel="Serve")
def up(as_json: Json = False) -> None:
    """Start the stack, or whatever of it is missing: edge, model servers, Prefect with its UI and its worker.

    What runs is left alone, what died comes back, and the version that served serves again. It stays up until
    `greenlight down`. Ports are settings:

    ```sh
    greenlight up
    GREENLIGHT_EDGE_PORT=9000 GREENLIGHT_PREFECT_PORT=9001 greenlight up
    ```
    """
    from greenlight.cli.stack import bring_up
    from greenlight.cli.views import status_view

    with answer_only():
        status = bring_up(here()).to_json()
    emit(status) if as_json else show(status_view(status))


@app.command(rich_help_panel="Serve")
def down() -> None:
    """Stop the stack: everything that `greenlight up` started, and nothing else.

    What serves is remembered, so the next `greenlight up` serves it again.

    ```sh
    greenlight down
    ```
    """
    from greenlight.operations import stack

    with answer_only():
        stack.down(here(), log=say)


@app.command(rich_help_panel="Serve")
def status(as_json: Json = False) -> None:
    """Say which version is live, where to ask it, and what runs.

    ```sh
    greenlight status
    greenlight status --json | jq -r .live.version
    ```
    """
    from greenlight.cli.views import status_view
    from greenlight.operations import stack
    from greenlight.wiring import open_project

    with answer_only():
        settings = here()
        found = stack.status(settings).to_json()
        tell_faults(open_project(settings, lenient=True).registry.faults())
    emit(found) if as_json else show(status_view(found))


@app.command(rich_help_panel="Train")
def retrain(
    as_of: Annotated[
        str,
        typer.Option(
            help="The month to judge on, such as 2013-08, or `next`: the first after the champion's on which no "
            "candidate was refused. Left out: what params.yaml says.",
            show_default=False,
        ),
    ] = "",
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu or cuda. Left out: what params.yaml says.",
            autocompletion=complete.devices,
            show_default=False,
        ),
    ] = "",
    own: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another parameter for this run alone, with params.yaml's key; may be repeated.",
            show_default=False,
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Start it and return; do not follow it.")] = False,
    as_json: Json = False,
) -> None:
    """Train on the months before `as_of`, judge on `as_of`, and serve the model if it deserves to.

    Brings the stack up, starts the deployment `retrain/retrain` (the same that the schedule and the UI start) and
    follows it to its end. Ctrl-C stops following, not the run.

    ```sh
    greenlight retrain
    greenlight retrain --as-of 2013-08
    greenlight retrain --device cuda --detach
    greenlight retrain --set train.seed=7 --set gates.min_rows=100
    ```

    Ends as `Promoted`, `KeptChampion`, `Inconclusive`, `NothingNew` or `Joined` (exit 0), `DataRejected` (3), `Failed`
    (1), or `Crashed` (1) when its process was killed. Whatever it ends as, running it again is safe, and until a run is
    `Promoted` the champion serves on.
    """
    from greenlight.cli.retrain import run_retrain

    with answer_only():
        answer = run_retrain(as_of=as_of, device=device, detach=detach, own=own or ())
    if as_json:
        emit(answer.to_json())
    else:
        for part in answer.views():
            show(part)
    raise typer.Exit(answer.exit_code)


@app.command(rich_help_panel="Look")
def runs(
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="Only the newest so many; 0 means all.")] = 0,
    as_json: Json = False,
) -> None:
    """List every run, newest first: outcome, version, main metrics.

    ```sh
    greenlight runs
    greenlight runs -n 5
    greenlight runs --json | jq -r '.[0].name'
    ```
    """
    from greenlight.cli.views import runs_view
    from greenlight.operations.runs import list_runs
    from greenlight.wiring import open_project

    with answer_only():
        project = open_project()
        found = [record.to_json() for record in list_runs(project)]
        tell_faults(project.registry.faults())
    found = found[:last] if last else found
    emit(found) if as_json else show(runs_view(found, console().width))


@app.command(name="show", rich_help_panel="Look")
def show_run(run: RunName, as_json: Json = False) -> None:
    """Show everything that is recorded of a run: verdict with evidence, data, parameters, device, seconds.

    ```sh
    greenlight show v1
    greenlight show 2013-08-1f3a
    greenlight show v1 --json | jq .verdict.checks
    ```
    """
    from greenlight.cli.views import run_views
    from greenlight.operations.runs import get_run
    from greenlight.wiring import open_project

    with answer_only():
        project = open_project()
        found = get_run(project, run)
    if as_json:
        emit(found)
        return
    for part in run_views(found, project):
        show(part)


app.command(rich_help_panel="Look")(compare.reproduce)
app.command(rich_help_panel="Look")(compare.diff)
app.command(rich_help_panel="Look")(validate.validate)
app.command(rich_help_panel="Look")(provenance.verify)
app.command(rich_help_panel="Serve")(provenance.sign)
app.command(rich_help_panel="Serve")(score_table.score)
app.command(rich_help_panel="Serve")(releases.release)
app.command(rich_help_panel="Serve")(render.render)


@app.command(rich_help_panel="Serve")
def rollback(
    to: Annotated[
        str, typer.Option(help="The version to serve again.", autocompletion=complete.versions, show_default=False)
    ] = "",
    to_run: Annotated[
        str,
        typer.Option(help="The run whose version to serve again.", autocompletion=complete.runs, show_default=False),
    ] = "",
    as_json: Json = False,
) -> None:
    """Put an earlier version back in front of the traffic; by default the one that served before.

    Works without Prefect, loses no request, and is a release like any other: preflight, switch, ledger, drain. While a
    release by steps is under way it ends that one, which leaves the version that served before.

    ```sh
    greenlight rollback
    greenlight rollback --to v1
    greenlight rollback --to-run 2013-07-0b1c2d
    ```
    """
    from greenlight.cli.release_views import release_view
    from greenlight.operations import rollback as operation

    with answer_only():
        found = operation.rollback(here(), to=to, to_run=to_run, log=say).to_json()
    emit(found) if as_json else show(release_view(found))


@app.command(rich_help_panel="Look")
def doctor(as_json: Json = False) -> None:
    """Look at what Greenlight needs on this machine, and say what to do about what is missing.

    Exit status 1 when something required is not there.

    ```sh
    greenlight doctor
    greenlight doctor --json | jq '.checks[] | select(.state != "ok")'
    ```
    """
    from greenlight.cli.views import doctor_view
    from greenlight.operations.doctor import examine

    with answer_only():
        found = examine()
    emit(found.to_json()) if as_json else show(doctor_view(found.to_json()))
    raise typer.Exit(found.exit_code)


fsck.register(app)
recover.register(app)
proof.register(app)
traffic.register(app)
predictions.register(app)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        show(f"greenlight {version('greenlight')}")
        raise typer.Exit


@app.callback()
def _options(
    # Eager: told before a command is found missing.
    version: Annotated[
        bool, typer.Option("--version", help="Say which one.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None: ...
