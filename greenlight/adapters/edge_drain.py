"""Letting go of the traffic: what is under way is answered before Envoy is stopped."""

from __future__ import annotations

import time

from greenlight.adapters.edge import DRAIN_S, Edge, wait_until
from greenlight.adapters.edge_config import STAT_PREFIX


def drain(edge: Edge, timeout_s: float) -> int:
    """Take nothing new and wait for what is under way; does nothing where no edge answers.

    For `DRAIN_S` connections are still taken, and every answer closes its own; then the port is closed.

    Parameters
    ----------
    timeout_s : float
        The longest to wait, seconds.

    Returns
    -------
    int
        Requests still under way when the time was up.

    Raises
    ------
    EdgeError
        Envoy went away meanwhile.
    """
    if not edge.is_up():
        return 0
    edge.admin("POST", "/drain_listeners?graceful")
    begun = time.monotonic()

    def idle() -> bool:
        # A connection without a request may belong to a client that is about to send one.
        told = time.monotonic() - begun > DRAIN_S + 0.1
        return not _active(edge, "cx") or (told and not _active(edge, "rq"))

    return 0 if wait_until(idle, timeout_s, 0.05) else _active(edge, "rq")


def _active(edge: Edge, kind: str) -> int:
    stat = f"http.{STAT_PREFIX}.downstream_{kind}_active"
    return int(edge.stats(stat).get(stat, 0))
