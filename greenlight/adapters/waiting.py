"""Waiting for something outside to hold."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], bool], timeout_s: float, pause_s: float) -> bool:
    """Ask `holds` every `pause_s` until it says yes or the time is up; return what it said last."""
    until = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() >= until:
            return False
        time.sleep(pause_s)
    return True
