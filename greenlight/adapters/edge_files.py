"""The files that Envoy watches: put in place by a rename, and waited for until Envoy says that it follows them.

It must not know what the files say.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenlight.adapters.desired import replace_file
from greenlight.adapters.waiting import wait_until
from greenlight.errors import EdgeError

ACK_TIMEOUT_S = 15.0
LOOK_S = 0.002
LOOKS = 16  # looks for the new version of a file, to one for whether it was refused

Stats = Callable[[str, str], dict[str, Any]]
"""Envoy's statistics of a kind whose name an expression is found in; see `greenlight.adapters.edge.Edge.stats`."""


def put(stats: Stats, file: Path, document: dict[str, Any], stat: str, stamp: str, mode: int = 0o666) -> None:
    """Write `document` to a watched file and wait until `stat` says `stamp`.

    Raises
    ------
    EdgeError
        Envoy refused the file or did not answer in time; what it did before stays.
    """
    prefix = stat.replace("version_text", "update_")
    try:
        before = _failures(stats, prefix)
    finally:
        write(file, document, mode)  # an edge that is down reads it when it comes back
    looks = itertools.count(1)

    def taken() -> bool:
        if stats(stat, "TextReadouts").get(stat) == stamp:
            return True
        # The thread of Envoy that answers is the one that takes the file, and looking through its counters takes it
        # some milliseconds: it is not kept busy with that.
        if next(looks) % LOOKS == 0 and _failures(stats, prefix) > before:
            raise EdgeError("Envoy refused a configuration, the one before it stays", where=str(file))
        return False

    if not wait_until(taken, ACK_TIMEOUT_S, LOOK_S):
        raise EdgeError(f"Envoy did not take a configuration within {ACK_TIMEOUT_S:.0f} s", where=str(file))


def write(path: Path, document: dict[str, Any], mode: int = 0o666) -> None:
    """Put `document` in the place of the file `path`, whole."""
    replace_file(path, json.dumps(document, indent=1).encode(), mode)


def stamp_now() -> str:
    """A version name that no earlier file had, even across restarts."""
    return f"{time.time_ns()}"


def _failures(stats: Stats, prefix: str) -> int:
    return sum(int(v) for k, v in stats(prefix, "Counters").items() if k.endswith(("_failure", "_rejected")))
