"""A real edge with small real servers behind it, whose conduct a test can change while they run."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import serving_kit as kit

from greenlight.adapters.edge import Edge, validate
from greenlight.adapters.waiting import wait_until
from greenlight.config import Settings

# The conduct is a file beside the socket: empty, ``fail`` (500), ``hang`` (20 s), ``slow`` (250 ms), ``drop``.
SERVER = textwrap.dedent("""
    import asyncio, json, os, sys
    path, version = sys.argv[1:]
    def conduct():
        try:
            return open(path + ".conduct").read()
        except FileNotFoundError:
            return ""
    async def serve(reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode().split("\\r\\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                does = "" if " /readyz" in head[0] else conduct()
                if " /readyz" not in head[0]:
                    with open(path + ".seen", "a") as seen:
                        seen.write(json.dumps({"line": head[0], **headers}) + "\\n")
                if does == "drop":
                    return
                await asyncio.sleep({"hang": 20, "slow": 0.25}.get(does, 0))
                content = f"{version} {len(body)}".encode()
                status = "500 Oops" if does == "fail" else "200 OK"
                writer.write((f"HTTP/1.1 {status}\\r\\nx-model-version: {version}\\r\\n"
                              f"content-length: {len(content)}\\r\\n\\r\\n").encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
    async def main():
        async with await asyncio.start_unix_server(serve, path, backlog=512, limit=2**20) as server:
            await server.serve_forever()
    asyncio.run(main())
""")


@dataclass
class World:
    """An edge that runs, and the servers behind it, one a version."""

    edge: Edge
    versions: Sequence[str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def socket(self, version: str) -> Path:
        return self.edge.paths.admin.parent / f"test-{version}.sock"

    def sockets(self) -> dict[str, list[Path]]:
        return {version: [self.socket(version)] for version in self.versions}

    def behave(self, version: str, conduct: str = "") -> None:
        """What the server does from now on."""
        Path(f"{self.socket(version)}.conduct").write_text(conduct)

    def seen(self, version: str) -> list[dict[str, str]]:
        """Every request that the server has read since it was forgotten."""
        try:
            lines = Path(f"{self.socket(version)}.seen").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def forget(self) -> None:
        for version in self.versions:
            Path(f"{self.socket(version)}.seen").unlink(missing_ok=True)

    def ask(
        self, count: int = 1, path: str = "/predict", body: bytes = b"{}", keys: Sequence[str] = (), **headers: str
    ) -> Answers:
        """Ask one after the other on one connection; with `keys` once for each."""
        answers = Answers()
        connection = http.client.HTTPConnection("127.0.0.1", self.edge.paths.port, timeout=40)
        for number in range(len(keys) or count):
            more = {"x-greenlight-key": keys[number]} if keys else {}
            connection.request("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()} | more)
            reply = connection.getresponse()
            answers.bodies.append(reply.read())
            answers.versions.append(reply.headers.get("x-model-version", ""))
            answers.statuses.append(reply.status)
        connection.close()
        return answers


class Load:
    """Clients that keep asking until they are told to end."""

    def __init__(self, world: World, clients: int = 2, pause_s: float = 0.002) -> None:
        self._world = world
        self._pause_s = pause_s
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        self.statuses: Counter[int] = Counter()
        self.versions: Counter[str] = Counter()
        self.errors: list[str] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self) -> None:
        while not self._end.is_set():
            try:
                found = self._world.ask(10)
            except (OSError, http.client.HTTPException) as exc:
                self.errors.append(repr(exc))
                continue
            self.statuses.update(found.statuses)
            self.versions.update(found.versions)
            self._end.wait(self._pause_s)


@dataclass
class Answers:
    """What came back, in order."""

    versions: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def by_version(self) -> dict[str, int]:
        return dict(Counter(self.versions))

    @property
    def by_status(self) -> dict[int, int]:
        return dict(Counter(self.statuses))

    def json(self) -> Any:
        return json.loads(self.bodies[-1])


@contextmanager
def world(
    home: Path, *versions: str, releases: Sequence[tuple[str, str]] = (), settings: Settings | None = None
) -> Iterator[World]:
    """An edge with nothing live that knows `versions`; of a home of its own, or that of `settings`."""
    made = World(Edge(settings or Settings(root=home, home=home, edge_port=kit.free_port())), versions)
    made.edge.prepare("", made.sockets(), releases)
    validate(made.edge.paths.bootstrap)
    for version in versions:
        command = [sys.executable, "-c", SERVER, str(made.socket(version)), version]
        made.processes[version] = subprocess.Popen(command)
    envoy = subprocess.Popen(made.edge.command(), stderr=subprocess.DEVNULL)
    try:
        assert wait_until(made.edge.is_up, 30, 0.05)
        for version in versions:
            made.edge.wait_healthy(version, 1)
        yield made
    finally:
        for process in (*made.processes.values(), envoy):
            process.kill()
            process.wait()
