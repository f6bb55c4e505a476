"""An answer reaches the kernel in one write: over a real unix socket, with the loop and parser that serve."""

from __future__ import annotations

import asyncio
import http.client
import socket
from pathlib import Path
from typing import Any, ClassVar

import pytest
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bentos.classifier import one_write


class Counted:
    """The real transport, with what was written to it kept."""

    writes: ClassVar[list[bytes]] = []

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class CountedProtocol(one_write.OneWriteProtocol):
    def connection_made(self, transport: Any) -> None:
        super().connection_made(Counted(transport))  # type: ignore[arg-type]


class UnixConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.host)


async def _small(request: Request) -> Response:
    return JSONResponse({"got": len(await request.body())})


async def _pieces(_: Request) -> Response:
    async def parts() -> Any:
        for i in range(3):
            yield f"part {i}\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(parts())


async def _large(_: Request) -> Response:
    return Response(b"x" * 3_000_000)


APP = Starlette(routes=[Route("/small", _small, methods=["POST"]), Route("/pieces", _pieces), Route("/large", _large)])


def _asked(tmp_path: Path, requests: list[tuple[str, str, bytes, dict[str, str]]]) -> list[tuple[int, bytes]]:
    """Answers over one connection a request, from a server that ends with the test."""
    path = tmp_path / "s.sock"
    config = uvicorn.Config(APP, uds=str(path), http=CountedProtocol, log_level="warning", lifespan="off")

    def ask() -> list[tuple[int, bytes]]:
        answers = []
        for method, target, body, headers in requests:
            connection = UnixConnection(str(path))
            connection.request(method, target, body or None, headers)
            reply = connection.getresponse()
            answers.append((reply.status, reply.read()))
            connection.close()
        return answers

    async def run() -> list[tuple[int, bytes]]:
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            return await asyncio.wait_for(asyncio.to_thread(ask), 30)
        finally:
            server.should_exit = True
            await serving

    Counted.writes = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


@pytest.mark.parametrize("headers", [{}, {"connection": "close"}])
def test_head_and_body_are_one_write(tmp_path: Path, headers: dict[str, str]) -> None:
    assert _asked(tmp_path, [("POST", "/small", b"abc", headers)]) == [(200, b'{"got":3}')]
    assert len(Counted.writes) == 1
    assert Counted.writes[0].startswith(b"HTTP/1.1 200 OK")
    assert Counted.writes[0].endswith(b'{"got":3}')


def test_streams_and_large_answers_arrive_whole(tmp_path: Path) -> None:
    streamed, large = _asked(tmp_path, [("GET", "/pieces", b"", {}), ("GET", "/large", b"", {})])
    assert streamed == (200, b"part 0\npart 1\npart 2\n")
    assert large == (200, b"x" * 3_000_000)


def test_the_server_of_a_bento_uses_it() -> None:
    from uvicorn.importer import import_from_string

    from bentos.classifier import server

    source = Path(server.__file__).read_text()
    assert '"bentos.classifier.one_write:OneWriteProtocol"' in source
    assert import_from_string("bentos.classifier.one_write:OneWriteProtocol") is one_write.OneWriteProtocol
