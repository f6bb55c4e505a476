"""A release whose process kills itself at the next moment at which nothing killed it before; run as a process.

``python save_killer.py <root> <edge port> <workers> <file of moments> drive|release [version]``. Moments are before and
after each save of the desired state, and after the edge was told; each is known by what the save was for, so that a
release which is started again and again dies once at each of them.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from greenlight.adapters.desired import DesiredState
from greenlight.adapters.edge import Edge
from greenlight.config import Settings
from greenlight.operations import rollout
from greenlight.operations.release import release
from greenlight.operations.serving import Serving
from greenlight.wiring import open_project


class Killer:
    """Remembers in a file at which moments a process died."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.reason = "nothing was saved yet"

    def at(self, side: str) -> None:
        """Die here, unless one did before."""
        moment = f"{side} {self.reason}"
        seen = self.file.read_text().splitlines() if self.file.exists() else []
        if moment in seen:
            return
        with self.file.open("a") as file:
            file.write(f"{moment}\n")
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Be there at every save, and whenever the edge was told."""
        save = DesiredState.save

        @functools.wraps(save)
        def saved(desired: DesiredState, state: Any, reason: str) -> Any:
            # What was counted differs from run to run, and says nothing of where the release is.
            self.reason = re.sub(r" (passed|waits|rolled back): .*| (did not start again).*", r" \1\2", reason)
            self.at("before")
            result = save(desired, state, reason)
            self.at("after")
            return result

        DesiredState.save = saved  # type: ignore[method-assign]
        told = Edge.set_traffic

        @functools.wraps(told)
        def followed(edge: Edge, traffic: Any) -> float:
            result = told(edge, traffic)
            self.at("edge told after")
            return result

        Edge.set_traffic = followed  # type: ignore[method-assign]


def main(root: str, port: str, workers: str, moments: str, how: str, version: str = "") -> None:
    """Go on until the next moment, or to the end."""
    settings = Settings(root=Path(root), edge_port=int(port), workers=int(workers))
    Killer(Path(moments)).watch()
    if how == "release":
        print(release(settings, version).outcome)
        return
    serving = Serving(open_project(settings))
    state = serving.desired.load()
    if state.rollout:
        state = rollout.Drive(serving, state.rollout).run()
    print(state.last.outcome if state.last else "")


if __name__ == "__main__":
    main(*sys.argv[1:])
