"""The order of runs does not hang on a clock that somebody may set: none is recorded before one that is there already.

Versions and the release ledger go by their numbers anyway.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from greenlight.adapters.git import Repository

REFS = "refs/exps/"
SLACK_S = 60  # machines that share a repository differ by seconds, whatever keeps their clocks
TODO = "set the clock (timedatectl status); runs keep their order meanwhile"


def next_moment(repository: Repository) -> int:
    """When a run is recorded, seconds since 1970: now, or a second after the newest one if the clock is behind it."""
    return max(int(time.time()), repository.latest(REFS) + 1)


def fault(repository: Repository) -> str:
    """What is wrong with this machine's clock, seen from the recorded runs; empty if it is not behind them."""
    now, newest = time.time(), repository.latest(REFS)
    if newest <= now + SLACK_S:
        return ""
    return (
        f"the clock says {moment(now)}, and the newest run was recorded at {moment(newest)}, "
        f"{newest - now:,.0f} s later: it jumped back now, or stood wrong then"
    )


def moment(seconds: float) -> str:
    """ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
