"""Our own way to the edge: as a client like any other, with the key and the certificate that the settings ask for."""

from __future__ import annotations

import http.client

from greenlight.adapters import tls
from greenlight.adapters.client_keys import ClientKeys
from greenlight.adapters.edge import Edge
from greenlight.config import Settings


def credentials(settings: Settings) -> dict[str, str]:
    """The header that lets us in; none where no key is asked for."""
    key = ClientKeys(Edge(settings)).own() if settings.client_keys else ""
    return {"authorization": f"Bearer {key}"} if key else {}


def connect(settings: Settings, timeout_s: float) -> http.client.HTTPConnection:
    """A connection to the edge, opened with its first request."""
    context = tls.context(settings)
    if context is None:
        return http.client.HTTPConnection(settings.host, settings.edge_port, timeout=timeout_s)
    return http.client.HTTPSConnection(settings.host, settings.edge_port, timeout=timeout_s, context=context)
