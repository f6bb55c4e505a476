"""The command that brings a version to the traffic, and steps in while that is under way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenlight.cli import complete
from greenlight.cli.options import Json
from greenlight.cli.terminal import answer_only, emit, say, show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from greenlight.config import Settings
    from greenlight.operations.serving import Serving


def release(
    version: Annotated[
        str,
        typer.Argument(
            help="The version, such as v3. Left out: drive on the release that is under way.",
            autocompletion=complete.versions,
            show_default=False,
        ),
    ] = "",
    strategy: Annotated[
        str,
        typer.Option(
            help="full, shadow, canary, ab, several with commas, or plan. Left out: what params.yaml says.",
            autocompletion=complete.strategies,
            show_default=False,
        ),
    ] = "",
    supersede: Annotated[
        bool, typer.Option("--supersede", help="End a release of another version first, instead of waiting for it.")
    ] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Hold the release: its traffic stays as it is.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Let it go on, and drive it.")] = False,
    advance: Annotated[bool, typer.Option("--advance", help="Take the next step now; from the last one, all.")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="All traffic back to the stable version, now.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a version to the traffic: at once, or by steps that must each show that it is no worse.

    By steps, nobody sees it fail: what it fails to answer the stable version answers, and a candidate that is worse is
    rolled back. Without traffic nothing passes: the release then ends as waiting, and the same command without a
    version drives it on; the stack does so too, once somebody asks for predictions. Ctrl-C leaves it at its step; so
    does a crash. Another strategy for the version whose release is under way takes the place of the first.

    ```sh
    greenlight release v3
    greenlight release v3 --strategy full        # all of it now, also while it waits at a step
    greenlight release v3 --strategy canary
    greenlight release v3 --strategy shadow,canary
    greenlight release               # drive on what is under way
    greenlight release --pause       # and --resume, --advance, --abort
    ```

    Exit status 1 where the version was rolled back, aborted or superseded; 0 where it serves, or waits.
    """
    from greenlight.config import Settings, require_repository
    from greenlight.errors import UsageError
    from greenlight.operations.step_in import ACTIONS

    chosen = [name for name, given in zip(ACTIONS, (pause, resume, advance, abort), strict=True) if given]
    with answer_only():
        settings = Settings.load()
        require_repository(settings.root)
        if len(chosen) > 1 or (chosen and (version or strategy or supersede)):
            raise UsageError(
                f"--{chosen[0]} stands alone", todo=f"greenlight release --{chosen[0]} is for what is under way"
            )
        found = _step_in(settings, chosen[0]) if chosen else _release(settings, version, strategy, supersede)
    emit(found) if as_json else show(_view(found))
    raise typer.Exit(
        1 if found.get("outcome") in ("rolled_back", "aborted", "superseded", "given_up") and not abort else 0
    )


def _release(settings: Settings, version: str, strategy: str, supersede: bool) -> dict[str, Any]:
    from greenlight.errors import UsageError
    from greenlight.operations import release as operation
    from greenlight.operations.rollout_end import none_under_way

    if version:
        report = operation.release(settings, version, strategy=strategy, supersede=supersede, log=say)
        return report.to_json() | {"ways_on": list(report.ways_on)}
    if strategy or supersede:
        raise UsageError("the version is missing", todo="greenlight release VERSION; greenlight runs lists them")
    report = operation.drive_on(settings, log=say)
    if report.outcome == "unchanged":
        raise none_under_way()
    return report.to_json() | {"ways_on": list(report.ways_on)}


def _step_in(settings: Settings, what: str) -> dict[str, Any]:
    from greenlight.operations import release as operation
    from greenlight.operations.serving import Serving
    from greenlight.operations.step_in import step_in
    from greenlight.wiring import open_project

    serving = Serving(open_project(settings, lenient=True), say)
    step_in(serving, what)
    if what == "abort" and (ended := serving.desired.load().last):
        return {"outcome": ended.outcome, "asked": ended.version, "reason": ended.reason, "version": ended.stable}
    if what == "resume":
        report = operation.drive_on(settings, log=say)
        return report.to_json() | {"ways_on": list(report.ways_on)}
    return _under_way(serving)


def _under_way(serving: Serving) -> dict[str, Any]:
    from greenlight.operations.evidence import status_of

    state = serving.desired.load()
    return {"version": state.live, "under_way": status_of(serving.settings.home, state)}


def _view(found: Mapping[str, Any]) -> RenderableType:
    from rich.text import Text

    from greenlight.cli.release_views import release_view, under_way_view

    if "under_way" in found:
        return under_way_view(found["under_way"]) or Text(f"{found['version']} serves all traffic", "green")
    return release_view(found)
