"""Letting go of the traffic: what is under way is answered before Envoy is stopped."""

from __future__ import annotations

import time

from greenlight.adapters.edge import DRAIN_S, Edge
from greenlight.adapters.edge_config import STAT_PREFIX

# How long after its drain Envoy may take to close the port.
CLOSING_S = 0.1
SETTLE_S = 0.5


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
    # Until the port is closed, a moment without a connection says nothing: the next one may just be opening.
    until = time.monotonic() + timeout_s
    time.sleep(min(DRAIN_S + CLOSING_S, timeout_s))
    quiet_since = time.monotonic()
    while time.monotonic() < until and _active(edge, "cx"):
        # A connection without a request may belong to a client that is about to ask.
        if _active(edge, "rq"):
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > SETTLE_S:
            break
        time.sleep(0.02)
    return _active(edge, "rq")


def _active(edge: Edge, kind: str) -> int:
    stat = f"http.{STAT_PREFIX}.downstream_{kind}_active"
    return int(edge.stats(stat).get(stat, 0))
