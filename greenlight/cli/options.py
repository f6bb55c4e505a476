"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from greenlight.cli import complete

Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, and nothing else, on stdout.")]
RunName = Annotated[
    str,
    typer.Argument(
        help="A run's name, the beginning of one, or a version such as v2.",
        autocompletion=complete.runs_and_versions,
        show_default=False,
    ),
]
