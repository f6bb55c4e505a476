"""A light closed-loop load generator: a few connections, each asking again as soon as it was answered.

Run in a process of its own (``python benchmarks/load.py``) so that it does not share an interpreter with what it
measures. Whether it decides the figures is told beside them, by asking the fastest peer with wrk too.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvloop

LAST_ANSWER_S = 60.0


class Client(asyncio.Protocol):
    """One connection.

    Parameters
    ----------
    requests : iterator of bytes
        Whole requests, head and body; one after the other.
    answers : list
        Takes ``(time, seconds, status, version)`` for every answer; status 0 is a broken connection.
    gap_s : float
        Pause between an answer and the next request; 0 for as fast as possible.
    """

    def __init__(self, requests: Iterator[bytes], answers: list[tuple[float, float, int, str]], gap_s: float) -> None:
        self.requests, self.answers, self.gap_s = requests, answers, gap_s
        self.buffer = b""
        self.sent = 0.0
        self.stopped = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """Send the request, or end when told so."""
        if self.stopped:
            self.transport.close()
            return
        self.sent = time.perf_counter()
        self.transport.write(next(self.requests))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Note the answer once it is whole, and ask again."""
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        start = head.find(b"content-length: ") + 16
        length = int(head[start:].split(b"\r\n", 1)[0])
        if len(self.buffer) < end + 4 + length:
            return
        now = time.perf_counter()
        place = head.find(b"x-model-version: ")
        version = head[place + 17 :].split(b"\r\n", 1)[0].decode() if place >= 0 else ""
        self.answers.append((time.time(), now - self.sent, int(head[9:12]), version))
        self.buffer = b""
        self.sent = 0.0
        if self.gap_s:
            asyncio.get_running_loop().call_later(self.gap_s, self.ask)
        else:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection that breaks with a request under way is a failed request."""
        if self.sent:
            self.answers.append((time.time(), time.perf_counter() - self.sent, 0, ""))
        if not self.closed.done():
            self.closed.set_result(None)


async def load(
    target: str, requests: Sequence[bytes], connections: int, seconds: float, gap_s: float
) -> list[tuple[float, float, int, str]]:
    """Ask for `seconds`, each connection all `requests` in turn; return every answer, the last ones included."""
    answers: list[tuple[float, float, int, str]] = []
    turns = itertools.count()
    clients = [
        await connect(target, lambda: Client(_turn(requests, next(turns)), answers, gap_s)) for _ in range(connections)
    ]
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        await asyncio.sleep(min(0.05, max(0.0, until - time.perf_counter())))
        for i, client in enumerate(clients):
            if client.closed.done():
                clients[i] = await connect(target, lambda: Client(_turn(requests, next(turns)), answers, gap_s))
    for client in clients:
        client.stopped = True
    # What was asked is waited for: a thousand rows may take longer than `seconds`.
    _, hanging = await asyncio.wait([client.closed for client in clients], timeout=LAST_ANSWER_S + gap_s)
    answers += [(time.time(), LAST_ANSWER_S, 0, "") for _ in hanging]
    return answers


async def connect(target: str, client: Callable[[], Client]) -> Client:
    """A connection to ``host:port``, or to a unix socket where `target` is a path."""
    loop = asyncio.get_running_loop()
    if target.startswith("/"):
        return (await loop.create_unix_connection(client, target))[1]
    host, _, port = target.rpartition(":")
    return (await loop.create_connection(client, host, int(port)))[1]


def _turn(requests: Sequence[bytes], begin: int) -> Iterator[bytes]:
    """All requests again and again, from another one for every connection."""
    begin %= len(requests)
    return itertools.cycle([*requests[begin:], *requests[:begin]])


def http_request(host: str, path: str, body: bytes) -> bytes:
    """The bytes of a request with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def main() -> None:
    """Ask, and write a summary (or with ``--raw`` every answer) as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--socket", default="", help="unix socket, in the place of host and port")
    parser.add_argument("--path", default="/predict")
    parser.add_argument("--body", type=Path, required=True, help="file with JSON bodies, one a line, asked in turn")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--gap", type=float, default=0, help="seconds between answer and next request")
    parser.add_argument("--raw", action="store_true")
    args = parser.parse_args()
    target = args.socket or f"{args.host}:{args.port}"
    host = "localhost" if args.socket else target
    requests = [http_request(host, args.path, body) for body in args.body.read_bytes().splitlines()]
    begun = time.time()
    answers = uvloop.run(load(target, requests, args.connections, args.seconds, args.gap))
    took = max((answer[0] for answer in answers), default=begun) - begun
    json.dump(answers if args.raw else summary(answers, took), sys.stdout)


def summary(answers: list[tuple[float, float, int, str]], seconds: float) -> dict[str, float]:
    """Requests a second, failures, and latency in milliseconds."""
    times = sorted(a[1] * 1000 for a in answers)
    return {
        "requests": len(answers),
        "per_second": round(len(answers) / seconds, 2),
        "failed": sum(1 for a in answers if a[2] != 200),
        "p50_ms": round(times[len(times) // 2], 2) if times else 0.0,
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 2) if times else 0.0,
    }


if __name__ == "__main__":
    main()
