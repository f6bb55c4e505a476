"""The command line: what a person asks for, and how the answer looks in a terminal.

Every command is one call of an operation; nothing is decided here. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import os


def main() -> None:
    """Entry point of the `greenlight` script."""
    # Looking for plug-ins of Pydantic's reads the metadata of every package, on every start; none is in use here.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from greenlight.cli.app import app

    app(prog_name="greenlight")
