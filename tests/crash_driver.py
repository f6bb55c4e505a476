"""A retrain that kills at one point; run by crash_matrix.py as a process of its own.

``python crash_driver.py <victim> <boundary> <note> <arguments as JSON>``. The functions on both sides of a boundary are
wrapped in this process only; an empty boundary lets the retrain run to its end. `note` is written just before the kill.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

# What lies before and after each boundary: module, owner, function, and on which side of it the kill comes.
WRAPPED = {
    "after push": ("greenlight.adapters.dvc", "Pipeline", "push", "after"),
    "after save": ("greenlight.adapters.git", "Repository", "snapshot", "after"),
    "after record": ("greenlight.operations.retrain", "Run", "record", "after"),
    "after tag": ("greenlight.operations.retrain", "Run", "register", "after"),
    "after build": ("greenlight.operations.retrain", "Run", "build", "after"),
    "in preflight": ("greenlight.operations.probes", "", "golden_answers", "before"),
    "before switch": ("greenlight.operations.serving", "Serving", "start", "after"),
    "in switch": ("greenlight.adapters.edge", "Edge", "set_live", "before"),
    "after switch": ("greenlight.adapters.edge", "Edge", "set_live", "after"),
    "before drain": ("greenlight.operations.serving", "Serving", "retire", "before"),
    "after release": ("flows.ends", "", "promoted", "before"),
}
BUILD = ["-m", "bentos.classifier.build"]


class Killer:
    """Kills the victim, once."""

    def __init__(self, victim: str, note: Path) -> None:
        self.victim = victim
        self.note = note

    def kill(self, stage: psutil.Process | None = None) -> None:
        """SIGKILL, now."""
        if self.note.exists():
            return
        self.note.write_text(f"{time.time()}")
        if self.victim == "stage":
            assert stage is not None
            stage.kill()
            return
        if self.victim in ("server", "tree"):
            for process in self._stack():
                try:
                    process.kill()
                except psutil.Error:
                    continue
        if self.victim in ("flow", "tree"):
            os.kill(os.getpid(), signal.SIGKILL)

    def _stack(self) -> list[psutil.Process]:
        from greenlight.adapters import processes
        from greenlight.config import Settings

        # The supervisor first, or it restarts what dies.
        found = [psutil.Process(pid) for pid in processes.marked_pids(Settings.load().home)]
        found.sort(key=lambda process: process.create_time())
        if self.victim == "tree":
            return found
        return [p for p in found if "server" in p.cmdline() or "prefect.server.api.server:create_app" in p.cmdline()]


def wrap(killer: Killer, boundary: str) -> None:
    """Have the kill come at the boundary."""
    side, _, what = boundary.partition(" ")
    if boundary == "in build":
        watch(killer, BUILD, 0.3)
    elif boundary in WRAPPED:
        module, owner, name, at = WRAPPED[boundary]
        scope = importlib.import_module(module)
        around(getattr(scope, owner) if owner else scope, name, killer, at, lambda _: True)
    elif side == "in":
        watch(killer, ["-m", "greenlight.stages", what], 0.2)
    elif side in ("before", "after"):
        from greenlight.operations.retrain import Run

        around(Run, "stage", killer, side, lambda args: args[1] == what)


def around(owner: Any, name: str, killer: Killer, at: str, wanted: Callable[[tuple[Any, ...]], bool]) -> None:
    """Replace a function by one that kills before or after it."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if at == "before" and wanted(args):
            killer.kill()
        result = original(*args, **kwargs)
        if at == "after" and wanted(args):
            killer.kill()
        return result

    setattr(owner, name, wrapped)


def watch(killer: Killer, command: list[str], seconds: float) -> None:
    """Kill when a process of this command has run below this one for a moment."""

    def look() -> None:
        while True:
            for process in psutil.Process().children(recursive=True):
                try:
                    if process.cmdline()[1 : 1 + len(command)] == command:
                        time.sleep(seconds)
                        killer.kill(process)
                        return
                except psutil.Error:
                    continue
            time.sleep(0.02)

    threading.Thread(target=look, daemon=True).start()


def main(victim: str, boundary: str, note: str, arguments: str) -> None:
    """Run the flow."""
    if boundary:
        wrap(Killer(victim, Path(note)), boundary)
    from flows.retrain import retrain

    state = retrain(**json.loads(arguments), return_state=True)
    print("END", json.dumps({"name": state.name, "message": state.message}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
