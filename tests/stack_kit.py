"""The serving half of a real stack, and clients that ask it all the time."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import serving_kit as kit

from greenlight.config import Settings
from greenlight.operations.release import ReleaseReport, release
from greenlight.operations.serving import Serving
from greenlight.wiring import open_project

BODY = json.dumps({"rows": kit.requests(1)}).encode()
JSON = {"content-type": "application/json"}


class Stack:
    """The serving half of a stack, with versions v1 to v3 registered and built."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lines: list[str] = []

    @property
    def serving(self) -> Serving:
        return Serving(open_project(self.settings), self.lines.append)

    def up(self) -> None:
        serving = self.serving
        serving.supervisor.start({})
        with serving.desired.changing("test"):
            serving.edge_up()
            serving.heal()

    def release(self, version: str, **how: Any) -> ReleaseReport:
        return release(self.settings, version, log=self.lines.append, **how)

    def ask(self) -> tuple[int, str, bytes]:
        request = urllib.request.Request(f"{self.settings.edge_url}/predict", BODY, JSON)
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status, reply.headers["x-model-version"], reply.read()
        except urllib.error.HTTPError as error:
            return error.code, "", error.read()

    def version(self) -> str:
        return self.ask()[1]

    def rows_counted(self) -> float:
        with urllib.request.urlopen(f"{self.settings.edge_url}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("greenlight_rows_total{"))

    def champion(self) -> str:
        champion = open_project(self.settings).registry.champion()
        return champion.name if champion else ""

    def models(self) -> set[str]:
        return set(self.serving.servers.versions())


class Load:
    """Clients that keep asking on connections of their own; notes every answer that is not a 200."""

    def __init__(self, settings: Settings, clients: int = 3) -> None:
        self._settings = settings
        self._end = threading.Event()
        self.answers: list[tuple[float, str]] = []
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self.failed_at: list[float] = []
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(20)

    def silence(self, since: float) -> dict[str, float]:
        """Seconds from `since` until the last failure was over, and how many requests failed after it."""
        failed = [at for at in self.failed_at if at >= since]
        over = [at for at, _ in self.answers if not failed or at > max(failed)]
        back = min((at for at in over if at >= since), default=float("inf"))
        return {"back_s": round(back - since, 2) if failed else 0.0, "failed_after": len(failed)}

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._settings.host, self._settings.edge_port, timeout=10)
        while not self._end.is_set():
            begun = time.monotonic()
            try:
                connection.request("POST", "/predict", BODY, JSON)
                reply = connection.getresponse()
                content = reply.read()
            except (OSError, http.client.HTTPException) as exc:
                self._failed(repr(exc))
                connection.close()
            else:
                self.seconds.append(time.monotonic() - begun)
                if reply.status == 200:
                    self.answers.append((time.time(), reply.headers.get("x-model-version", "")))
                else:
                    self._failed(f"{reply.status} {content[:120]!r}")
            time.sleep(0.004)

    def _failed(self, how: str) -> None:
        self.failed_at.append(time.time())
        self.failures.append(how)
