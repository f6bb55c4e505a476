"""Traces, when somebody wants them: each request's span, sent to an OpenTelemetry collector by OTLP over HTTP.

Off, none of this is imported and no request pays for it. On, a request keeps the trace that its ``traceparent`` names
(W3C Trace Context, level 1) or begins one, the answer says which in ``x-trace-id``, and the prediction log keeps it. A
span takes a dictionary and a queue; a thread sends what waits each second, as the JSON of OTLP, which every collector
takes and which needs no library: OpenTelemetry's own middleware costs as much as a prediction. What cannot be sent is
dropped.
"""

from __future__ import annotations

import http.client
import logging
import os
import re
import threading
import time
from collections import deque
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bentos.classifier.metrics import kind_of

HEADER = b"traceparent"
SEND_EVERY_S = 1.0
TIMEOUT_S = 5.0
BATCH = 500
MAX_WAITING = 10_000
SERVER, OK, ERROR = 2, 1, 2  # SpanKind and StatusCode of OTLP (opentelemetry-proto, trace.proto)
QUIET = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
_PARENT = re.compile(rb"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")


class Tracer:
    """An ASGI application around another one.

    Parameters
    ----------
    app : ASGI application
    endpoint : str
        Address of the collector; spans go to ``<endpoint>/v1/traces``.
    service, version : str
        What the spans say of who answered.
    """

    def __init__(self, app: ASGIApp, endpoint: str, service: str, version: str) -> None:
        self._app, self._endpoint = app, urlsplit(endpoint.rstrip("/") + "/v1/traces")
        about = {"service.name": service, "service.version": version, "process.pid": os.getpid()}
        self._resource = {"attributes": _attributes(about)}
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)  # beyond it the oldest go
        self._told = ""
        threading.Thread(target=self._run, name="tracing", daemon=True).start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, within a span of its own."""
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self._app(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = [one for one in scope["headers"] if one[0] != HEADER]
        trace, parent, flags = _parent(scope["headers"])
        span, status = os.urandom(8).hex(), 0
        headers.append((HEADER, f"00-{trace}-{span}-{flags:02x}".encode()))
        begun = time.time_ns()

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-trace-id", trace.encode())]
            await send(message)

        try:
            await self._app({**scope, "headers": headers}, receive, told)
        finally:
            if flags & 1:  # whoever began the trace wants it recorded
                self._waiting.append(_span(scope, trace, span, parent, begun, status))

    def _run(self) -> None:
        while True:
            time.sleep(SEND_EVERY_S)
            while self._waiting:
                spans = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                self._tell(self._send(spans))

    def _send(self, spans: list[dict[str, Any]]) -> str:
        """Hand spans to the collector; returns what was wrong."""
        scoped = [{"scope": {"name": "greenlight"}, "spans": spans}]
        body = orjson.dumps({"resourceSpans": [{"resource": self._resource, "scopeSpans": scoped}]})
        secure = self._endpoint.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._endpoint.netloc, timeout=TIMEOUT_S)
        try:
            connection.request("POST", self._endpoint.path, body, {"content-type": "application/json"})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as exc:
            return f"{exc}"
        finally:
            connection.close()
        return "" if status < 300 else f"status {status}"

    def _tell(self, what: str) -> None:
        """Say once what is wrong, and once that it is over."""
        if what != self._told:
            said = f"traces are lost: {what} ({self._endpoint.geturl()})" if what else "traces are sent again"
            logging.getLogger(__name__).warning(said)
            self._told = what


def _parent(headers: Any) -> tuple[str, str, int]:
    """Trace, span above and flags of a request; of a new trace, which is recorded, where it has none that holds."""
    found = [value for name, value in headers if name == HEADER]
    match = _PARENT.match(found[0]) if len(found) == 1 else None
    if match and match[1].strip(b"0") and match[2].strip(b"0"):
        return match[1].decode(), match[2].decode(), int(match[3], 16) & 1
    return os.urandom(16).hex(), "", 1


def _span(scope: Scope, trace: str, span: str, parent: str, begun: int, status: int) -> dict[str, Any]:
    given = dict(scope["headers"])
    about = {
        "http.request.method": scope["method"],
        "url.path": scope["path"],
        "http.response.status_code": status,
        "greenlight.request_id": given.get(b"x-request-id", b"").decode("latin-1"),
        "greenlight.kind": kind_of(scope["headers"]),
    }
    return {
        "traceId": trace,
        "spanId": span,
        **({"parentSpanId": parent} if parent else {}),
        "name": f"{scope['method']} {scope['path']}",
        "kind": SERVER,
        "startTimeUnixNano": str(begun),
        "endTimeUnixNano": str(time.time_ns()),
        "attributes": _attributes(about),
        "status": {"code": ERROR if status >= 500 or not status else OK},
    }


def _attributes(about: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in about.items()
    ]
