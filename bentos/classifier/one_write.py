"""An answer leaves the process whole or not at all.

uvicorn hands the head and the body of an answer to the kernel in two writes. A process that is killed between them has
begun an answer that the edge can no longer ask elsewhere: its retries end where the first byte arrives, and the client
sees a torn answer. In one write, a killed process has sent everything or nothing, and a retry costs the client nothing;
it also saves a system call a request. A unix socket takes one write of up to about 200 kB at once (Linux,
``net.core.wmem_default``), which is an answer of 1,400 rows; a longer one can still be torn.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol on a transport that joins writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put the joining transport in the place of the real one."""
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]


class JoinedWrites:
    """A transport that hands what is written in one turn of the event loop to the real one in one piece.

    Parameters
    ----------
    transport : asyncio.Transport
        The real one; everything but writing goes to it as it is.
    loop : asyncio.AbstractEventLoop
        Its turns are what counts.
    """

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep `data` until the end of this turn."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Send what is kept, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
