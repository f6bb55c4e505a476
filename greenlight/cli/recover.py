"""The commands for what can happen: back up, restore, free room, hold what must stay, drill."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from greenlight.cli import complete
from greenlight.cli.terminal import Group, answer_only, emit, say, show

if TYPE_CHECKING:
    from greenlight.operations.gc_plan import GcPlan, Wish
    from greenlight.wiring import Project

PANEL = "Recover"
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, and nothing else, on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
DRILLS = """Rehearse an emergency, and measure it.

```sh
greenlight drill rollback --yes
```
"""
drills = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode="markdown", help=DRILLS)


def register(app: typer.Typer) -> None:
    """Add the commands to the others."""
    for command in (backup, restore, gc, hold):
        app.command(rich_help_panel=PANEL)(command)
    app.add_typer(drills, name="drill", rich_help_panel=PANEL)


def backup(as_json: Json = False) -> None:
    """Push what the remotes lack: data and labels to the DVC remote, then runs, versions and releases to `origin`.

    `greenlight doctor` says whether there is something to push. Your branch is yours to push.

    ```sh
    greenlight backup
    greenlight doctor --json | jq '.checks[] | select(.name | startswith("backup"))'
    ```
    """
    from greenlight.cli.recover_views import backup_view
    from greenlight.operations import backup as operation
    from greenlight.wiring import open_project

    with answer_only():
        found = operation.back_up(open_project(lenient=True), say)
    emit(found.to_json()) if as_json else show(backup_view(found.to_json()))
    raise typer.Exit(found.exit_code)


def restore(as_json: Json = False) -> None:
    """Bring history, labels and the live version back on a machine that has the clone and nothing else.

    Fetches runs, versions and what served when from `origin`, verifies the version that the ledger names, pulls its
    model from the DVC remote, builds its bento, brings the stack up and releases it. May be repeated; a stack that
    serves the right version is left alone.

    ```sh
    git clone <repository> greenlight && cd greenlight && make setup
    greenlight restore
    greenlight restore --json | jq .seconds
    ```
    """
    from greenlight.cli.recover_views import restore_view
    from greenlight.config import Settings, require_repository
    from greenlight.operations import restore as operation

    with answer_only():
        settings = Settings.load()
        require_repository(settings.root)
        found = operation.restore(settings, log=say).to_json()
    emit(found) if as_json else show(restore_view(found))


def gc(
    keep: Annotated[int, typer.Option(min=0, help="So many of the newest runs stay.", show_default=False)],
    older_than: Annotated[float, typer.Option(min=0, help="Drop only runs older than so many days.")] = 0,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Drop the runs for good: from the list, here and in `origin`, and their data from the DVC remote.",
        ),
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Free room: show what would go and how much that frees; drop it with `--yes`, or when you say so.

    Never goes: what a version, a held run (`greenlight hold`), a run under way or one of the newest needs. Without
    `--forget` only this machine's copies go, and every run still reproduces from the DVC remote.

    ```sh
    greenlight gc --keep 20
    greenlight gc --keep 20 --older-than 90 --yes
    greenlight gc --keep 20 --forget
    greenlight gc --keep 20 --json | jq .frees_bytes
    ```
    """
    from greenlight.cli.recover_views import gc_view
    from greenlight.operations.gc_plan import Wish, plan
    from greenlight.wiring import open_project

    with answer_only():
        project, wish = open_project(), Wish(keep, older_than, forget)
        found = plan(project, wish) if not yes else _collect(project, wish, None)
    done = yes
    if not as_json:
        show(gc_view(found.to_json(), done=done))
        if not done and not found.empty and sys.stdin.isatty() and typer.confirm("Drop it?", err=True):
            with answer_only():
                found = _collect(project, wish, found)
            show(gc_view(found.to_json(), done=True))
    else:
        emit({"done": done, **found.to_json()})


def _collect(project: Project, wish: Wish, agreed: GcPlan | None) -> GcPlan:
    from greenlight.operations.gc import collect

    return collect(project, wish, agreed=agreed, log=say)


def hold(
    run: Annotated[
        str,
        typer.Argument(
            help="A run's name, the beginning of one, or a version; left out: list what is held.",
            autocompletion=complete.runs_and_versions,
            show_default=False,
        ),
    ] = "",
    release: Annotated[bool, typer.Option("--release", help="Hold it no longer.")] = False,
    as_json: Json = False,
) -> None:
    """Keep a run from `greenlight gc`, however old it gets; without a name, list the runs that are held.

    ```sh
    greenlight hold 2013-08-1f3a
    greenlight hold 2013-08-1f3a --release
    greenlight hold
    ```
    """
    from greenlight.errors import UsageError
    from greenlight.operations import holds
    from greenlight.wiring import open_project

    with answer_only():
        project = open_project(lenient=True)
        if release and not run:
            raise UsageError("--release needs the run that is to be let go", todo="greenlight hold lists them")
        if run:
            name = holds.let_go(project, run) if release else holds.hold(project, run)
        held = sorted(holds.held(project))
    if as_json:
        emit({"held": held})
    elif run:
        show(f"{name} is {'not held any more' if release else 'held'}.")
    else:
        show("\n".join(held) or "No run is held.")


@drills.command()
def rollback(yes: Yes = False, as_json: Json = False) -> None:
    """Measure the time to safety: roll back under light load, forwards again, and say how long both took.

    It moves real traffic, loses no request, and ends with the version live that was live before. The ledger grows by
    two entries. The figures are kept below `.greenlight/drills`.

    ```sh
    greenlight drill rollback --yes
    greenlight drill rollback --yes --json | jq .back.switched_s
    ```
    """
    from greenlight.cli.recover_views import drill_view
    from greenlight.config import Settings, require_repository
    from greenlight.errors import UsageError
    from greenlight.operations.drill import drill_rollback

    with answer_only():
        settings = Settings.load()
        require_repository(settings.root)
        ask = sys.stdin.isatty() and not as_json
        if not yes and not (ask and typer.confirm("Roll real traffic back and forwards again?", err=True)):
            raise UsageError(
                "the drill moves real traffic and was not agreed to", todo="greenlight drill rollback --yes"
            )
        found = drill_rollback(settings, log=say)
    emit(found.to_json()) if as_json else show(drill_view(found.to_json()))
    raise typer.Exit(found.exit_code)
