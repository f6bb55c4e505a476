"""The command that reads the whole memory: every object of every run, refs and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from greenlight.cli.terminal import answer_only, emit, say, show

if TYPE_CHECKING:
    from rich.text import Text


def register(app: typer.Typer) -> None:
    """Add the command to the others."""
    app.command(rich_help_panel="Recover")(fsck)


def fsck(
    mend: Annotated[bool, typer.Option("--mend", help="Put back what another copy makes good.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON, and nothing else.")] = False,
) -> None:
    """Read every object of every run, in the cache and in the remote, and look for deleted refs and moved tags.

    Changes nothing without `--mend`. Exit status 1 when something is wrong and was not mended.

    ```sh
    greenlight fsck
    greenlight fsck --mend
    greenlight fsck --json | jq '.findings[] | select(.mended | not)'
    ```
    """
    from greenlight.operations import fsck as operation
    from greenlight.wiring import open_project

    with answer_only():
        found = operation.fsck(open_project(), mend=mend, log=say)
    emit(found.to_json()) if as_json else show(_view(found.to_json()))
    raise typer.Exit(found.exit_code)


def _view(report: Mapping[str, Any]) -> Text:
    """What is not as it was left, and what to do about it."""
    from rich.text import Text

    looked = f"{report['runs']} runs, {report['objects']} objects, cache and remote"
    if not report["findings"]:
        return Text(f"everything is as it was left: {looked}", "green")
    text = Text(f"{len(report['findings'])} findings in {looked}\n")
    for finding in report["findings"]:
        text.append("mended  " if finding["mended"] else "wrong   ", "green" if finding["mended"] else "bold red")
        text.append(f"{finding['what']}\n        {finding['where']}\n")
        if finding["todo"]:
            text.append(f"        -> {finding['todo']}\n", "bold")
    return text
