"""Bodies in and answers out, for the endpoints that are bare ASGI applications."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Any

from starlette.types import Receive, Scope, Send

from bentos.classifier.codings import Unpacker
from bentos.classifier.problems import JSON, Problem

MAX_BODY_BYTES = 8 * 1024 * 1024
Headers = Iterable[tuple[bytes, bytes]]
CODING = b"content-encoding"


class Disconnected(Exception):
    """The client went away before its request was whole."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """Value of the header `name`, which is given in small letters; None where there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def body(receive: Receive, coding: bytes = b"") -> bytes:
    """The whole body, unpacked.

    Parameters
    ----------
    coding : bytes
        Value of ``Content-Encoding``.

    Raises
    ------
    Problem
        413: it has, or unpacks to, more than `MAX_BODY_BYTES`; 415: it is packed in an unknown way; 400: it is not
        packed as it is said to be.
    Disconnected
        The client went away.
    """
    unpacker = Unpacker(coding) if coding else None
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
    content = parts[0] if len(parts) == 1 else b"".join(parts)
    return _unpacked(unpacker, content) if unpacker else content


def _unpacked(unpacker: Unpacker, content: bytes) -> bytes:
    plain = bytearray()
    for piece in unpacker.pieces(content):
        plain += piece
        if len(plain) > MAX_BODY_BYTES:
            raise _too_large()
    unpacker.end()
    return bytes(plain)


async def body_of(scope: Scope, receive: Receive) -> bytes:
    """The whole body of a request, as `body`, unpacked as its headers say."""
    return await body(receive, header(scope, CODING) or b"")


def text(content: bytes) -> bytes:
    """`content` without the mark that some tools write before UTF-8; a reader of JSON may ignore it (RFC 8259, 8.1)."""
    return content.removeprefix(codecs.BOM_UTF8)


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
