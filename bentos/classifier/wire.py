"""Bodies in and answers out, for the endpoints that are bare ASGI applications."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

from starlette.types import Receive, Scope, Send

from bentos.classifier.problems import JSON, Problem

MAX_BODY_BYTES = 8 * 1024 * 1024
Headers = Iterable[tuple[bytes, bytes]]
# zlib's wbits: a gzip header, a zlib header (which is what "deflate" means, RFC 9110, 8.4.1.2).
_WINDOWS = {b"gzip": 31, b"deflate": 15}


class Disconnected(Exception):
    """The client went away before its request was whole."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """Value of the header `name`, which is given in small letters; None where there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def body(receive: Receive) -> bytes:
    """The whole body.

    Raises
    ------
    Problem
        413: it has more than `MAX_BODY_BYTES`.
    Disconnected
        The client went away.
    """
    message: Any = await receive()
    parts = [message.get("body", b"")]
    size = len(parts[0])
    while message.get("more_body") and size <= MAX_BODY_BYTES:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if message["type"] == "http.disconnect":
        raise Disconnected
    if size > MAX_BODY_BYTES:
        raise _too_large()
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def plain_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body, unpacked where the client says that it is packed (gzip, deflate).

    Raises
    ------
    Problem
        As `body`, for what is unpacked as well; 415: packed another way; 400: not what it is said to be.
    Disconnected
        The client went away.
    """
    coding = (header(scope, b"content-encoding") or b"identity").strip().lower()
    content = await body(receive)
    if coding in (b"identity", b""):
        return content
    if coding not in _WINDOWS:
        raise Problem(415, f"Content-Encoding is {coding.decode('latin-1')[:40]!r}, wanted gzip, deflate or none")
    unpacker = zlib.decompressobj(_WINDOWS[coding])
    try:
        plain = unpacker.decompress(content, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise Problem(400, f"the body is not packed with {coding.decode()}, as Content-Encoding says") from None
    if len(plain) > MAX_BODY_BYTES:
        raise _too_large()
    if not unpacker.eof:
        raise Problem(400, f"the body packed with {coding.decode()} breaks off")
    return plain


async def answer(send: Send, status: int, content: bytes, version: bytes, more: Headers = (), kind: str = JSON) -> None:
    """Send a whole answer that says which version it is from."""
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(content)).encode()),
        (b"x-model-version", version),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def allow(problem: Problem) -> Headers:
    """The header that names the possible method, where the wrong one was used (RFC 9110, 15.5.6)."""
    return [(b"allow", problem.allow.encode())] if problem.allow else ()


def _too_large() -> Problem:
    return Problem(413, f"the body has more than {MAX_BODY_BYTES:,} bytes; send fewer rows at once")
