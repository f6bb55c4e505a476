"""Have a release that nobody drives go on: the process ``release-watch`` of the stack.

It moves nothing itself. It looks whether a release stands without a driver, because it waited for requests or because
its driver died, and starts the flow `release` once somebody asks for predictions again. A flow run appears only when
there is something to learn, so the Prefect UI stays readable however long a release waits. A release that a person
paused is left alone.
"""

from __future__ import annotations

import logging
import time

from greenlight.adapters import locks
from greenlight.adapters.desired import DesiredState
from greenlight.adapters.edge import Edge
from greenlight.adapters.prefect_runs import start_run, unfinished
from greenlight.config import Settings
from greenlight.core.release import Desired
from greenlight.errors import GreenlightError
from greenlight.operations.release import turn_of
from greenlight.operations.serving import Log

DEPLOYMENT = "release/release"
TAG = "release-watch"
LOOK_S = 5.0
AGAIN_S = 600.0  # at least so long between two starts: a drive that ends at once is not begun every few seconds


class ReleaseWatch:
    """What was seen of a release that nobody drives.

    Parameters
    ----------
    settings : Settings
    log : callable
        Takes a line for each start, and for each new reason why there could be none.
    """

    def __init__(self, settings: Settings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._desired = DesiredState(settings.home)
        self._edge = Edge(settings)
        self._asked: int | None = None
        self._started: float | None = None
        self._trouble = ""

    def run(self) -> None:
        """Look until the process is ended."""
        while True:
            try:
                self.look(time.monotonic())
                self._trouble = ""
            except GreenlightError as exc:  # the edge, or Prefect, is away for a moment: the next look is soon
                if exc.what != self._trouble:
                    self._trouble = exc.what
                    self._log(exc.what)
            time.sleep(LOOK_S)

    def look(self, now: float) -> str:
        """One look, at `now` by a clock that never goes back; returns the flow run that it started, or nothing.

        Raises
        ------
        EdgeError, OrchestratorError
            Envoy or the Prefect server does not answer.
        """
        state = self._desired.load()
        if not _stands(state) or locks.is_held(turn_of(self._settings.home)):
            self._asked = None
            return ""
        # Whose turn it is needs no request to begin; what stands at a step is moved by requests alone.
        if state.rollout is not None and not self._asked_since():
            return ""
        if self._started is not None and now - self._started < AGAIN_S:
            return ""
        if unfinished(self._settings, DEPLOYMENT):
            return ""
        run = start_run(self._settings, DEPLOYMENT, {}, tags=[TAG])
        self._started, self._asked = now, None
        what = state.rollout.where if state.rollout else f"{state.next.version}, whose turn it is" if state.next else ""
        self._log(f"started {DEPLOYMENT} {run}: {what}")
        return run

    def _asked_since(self) -> bool:
        """Whether somebody asked for a prediction since the release was first seen without a driver."""
        asked = self._edge.asked()
        if self._asked is None or asked < self._asked:  # a new Envoy begins at nothing
            self._asked = asked
        return asked > self._asked


def _stands(state: Desired) -> bool:
    """Whether there is a release that could go on."""
    return not state.rollout.paused if state.rollout else state.next is not None


def main() -> None:
    """Watch, and write what is done into the process's log."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    ReleaseWatch(Settings.load(), logging.getLogger("greenlight").info).run()


if __name__ == "__main__":
    main()
