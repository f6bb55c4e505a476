"""Bring the stack up from the command line."""

from __future__ import annotations

from greenlight.adapters.prefect_runs import bury_dead_runs
from greenlight.cli.terminal import say
from greenlight.config import Settings
from greenlight.operations import leftovers, stack
from greenlight.wiring import open_project


def bring_up(settings: Settings) -> stack.StackStatus:
    """Start what is missing, and end the flow runs that an earlier crash left behind.

    Raises
    ------
    ServerError
        A port is taken, or a process does not come up.
    """
    leftovers.sweep(open_project(settings, lenient=True), lambda line: say(f"  {line}", style="dim"))
    status = stack.up(settings, log=lambda line: say(f"  {line}", style="dim"))
    for name in bury_dead_runs(settings):
        say(f"  the flow run {name} had died with the machine or its worker; it is marked Crashed now")
    return status
