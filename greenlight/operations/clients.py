"""Who may ask the edge: the clients and their keys."""

from __future__ import annotations

from greenlight.adapters.client_keys import VERSION, ClientKeys
from greenlight.adapters.edge import Edge
from greenlight.config import Settings


def keys(settings: Settings) -> ClientKeys:
    """The clients of this project's edge."""
    return ClientKeys(Edge(settings))


def note(settings: Settings) -> str:
    """What a person must know who just made a key: that the edge does not ask for any; else empty."""
    edge = Edge(settings)
    if not edge.is_up():
        wanted = "" if settings.client_keys else "; it will ask for keys with GREENLIGHT_CLIENT_KEYS=1"
        return f"the edge is down{wanted}"
    if edge.stats(VERSION):
        return ""
    return "note: the edge that runs asks nobody for a key; set GREENLIGHT_CLIENT_KEYS=1, then greenlight up"
