"""Requests sent to the edge when they are due, whatever became of those before (an open loop), over kept connections.

Latency counts from the moment at which a request was due: a server that stalls is charged for all who would have asked
meanwhile, not for the one that waited (Tene, "How NOT to Measure Latency", 2013, on coordinated omission).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from greenlight.adapters import edge_client, tls
from greenlight.config import Settings

CONNECTIONS = 256
TIMEOUT_S = 30.0
MAX_LABELS = 1000  # in one request
STOP_S = 5.0  # for what is under way when somebody stops it

Label = tuple[float, str, bool]


@dataclass(frozen=True)
class Ask:
    """One request of one row.

    Attributes
    ----------
    due : float
        Seconds after the start.
    body : bytes
        JSON.
    headers : dict of str to str
    label : bool or None
        What turned out to be true; None where it never became known.
    """

    due: float
    body: bytes
    headers: dict[str, str]
    label: bool | None


@dataclass
class Tally:
    """What happened so far.

    Attributes
    ----------
    sent : int
    errors : Counter of str
        Requests without a good answer, by why.
    versions : Counter of str
        Good answers by the version that gave them.
    latency_ms, lag_ms : list of float
        Of each good answer, from when it was due; of each request, how late it left.
    labels : Counter of str
        ``posted``, and what the servers said of them: ``accepted``, ``known``, ``contradicting``.
    waiting : deque of (float, str, bool)
        Labels that are not posted yet, soonest first: when each is due, its prediction, its value.
    note : str
        Why labels are not posted any more.
    """

    sent: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    latency_ms: list[float] = field(default_factory=list)
    lag_ms: list[float] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    waiting: deque[Label] = field(default_factory=deque)
    note: str = ""

    @property
    def answered(self) -> int:
        """Good answers."""
        return len(self.latency_ms)


class OpenLoop:
    """Plays requests against the edge.

    Parameters
    ----------
    settings : Settings
        Where the edge is, and what it asks for.
    labels_after_s : float or None
        How long after its answer the label of a row is posted; None: never.
    """

    def __init__(self, settings: Settings, labels_after_s: float | None) -> None:
        self._settings, self._labels_after = settings, labels_after_s
        self.tally = Tally()
        self.stop = asyncio.Event()
        self.begun = 0.0

    async def play(self, asks: Iterator[Ask]) -> None:
        """Send each request when it is due; returns when all are answered and their labels posted, or after `stop`."""
        async with self._client() as client:
            labels = asyncio.create_task(self._post_labels(client))
            try:
                await self._send_all(client, asks)
                while self.tally.waiting and not self.tally.note and not self.stop.is_set():
                    await self._pause(0.2)
            finally:
                labels.cancel()
                await asyncio.gather(labels, return_exceptions=True)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        async with httpx.AsyncClient(
            base_url=self._settings.edge_url,
            headers={"content-type": "application/json", **edge_client.credentials(self._settings)},
            verify=tls.context(self._settings) or False,  # False where there is no TLS to verify
            timeout=TIMEOUT_S,
            limits=limits,
            trust_env=False,  # a proxy of the environment is not the way to this machine
        ) as client:
            yield client

    async def _send_all(self, client: httpx.AsyncClient, asks: Iterator[Ask]) -> None:
        self.begun = time.perf_counter()
        under_way: set[asyncio.Task[None]] = set()
        for ask in asks:
            await self._pause(self.begun + ask.due - time.perf_counter())
            if self.stop.is_set():
                break
            task = asyncio.create_task(self._send(client, ask))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        until = time.perf_counter() + TIMEOUT_S + 1
        while under_way:
            if self.stop.is_set():
                until = min(until, time.perf_counter() + STOP_S)
            await asyncio.wait(under_way, timeout=0.1)
            if time.perf_counter() > until:
                self.tally.errors["not answered when it was stopped"] += len(under_way)
                for task in under_way:
                    task.cancel()
                await asyncio.gather(*under_way, return_exceptions=True)

    async def _send(self, client: httpx.AsyncClient, ask: Ask) -> None:
        tally, due = self.tally, self.begun + ask.due
        tally.sent += 1
        tally.lag_ms.append((time.perf_counter() - due) * 1000)
        try:
            answer = await client.post("/predict", content=ask.body, headers=ask.headers)
        except httpx.HTTPError as exc:
            tally.errors[_reason(exc)] += 1
            return
        now = time.perf_counter()
        if answer.status_code != 200:
            tally.errors[f"status {answer.status_code}"] += 1
            return
        prediction = _prediction(answer.content)
        if not prediction:
            tally.errors["an answer without a probability"] += 1
            return
        tally.latency_ms.append((now - due) * 1000)
        tally.versions[answer.headers.get("x-model-version", "not named")] += 1
        if ask.label is not None and self._labels_after is not None and not tally.note:
            tally.waiting.append((now + self._labels_after, prediction, ask.label))

    async def _post_labels(self, client: httpx.AsyncClient) -> None:
        """Post what is due, again and again; a post that failed is repeated, since the same label counts once."""
        waiting = self.tally.waiting
        while not self.tally.note:
            soonest = itertools.islice(waiting, MAX_LABELS)
            batch = list(itertools.takewhile(lambda one: one[0] <= time.perf_counter(), soonest))
            if not (batch and await self._post(client, batch)):
                await asyncio.sleep(0.2)

    async def _post(self, client: httpx.AsyncClient, batch: list[Label]) -> bool:
        tally = self.tally
        body = {"labels": [{"prediction_id": name, "label": label} for _, name, label in batch]}
        try:
            answer = await client.post("/labels", content=json.dumps(body).encode())
            if answer.status_code == 404:
                tally.note = "what serves takes no labels (POST /labels answers 404), so none were posted"
            elif 400 <= answer.status_code < 500 and answer.status_code != 429:
                tally.note = f"POST /labels refused them: {answer.status_code} {answer.text[:200]}"
            if answer.status_code != 200:
                return False
            said = answer.json()
        except (httpx.HTTPError, ValueError):
            return False
        for _ in batch:
            tally.waiting.popleft()
        tally.labels["posted"] += len(batch)
        tally.labels["accepted"] += int(said.get("accepted", 0))
        tally.labels["known"] += int(said.get("known", 0))
        tally.labels["contradicting"] += len(said.get("contradicting", [])) + int(said.get("more", 0))
        return True

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until somebody stops it."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        try:
            await asyncio.wait_for(self.stop.wait(), seconds)
        except TimeoutError:
            return


def _prediction(content: bytes) -> str:
    """The id of the one prediction of an answer; empty where it has none, or no probability in [0, 1]."""
    try:
        found: dict[str, Any] = json.loads(content)["predictions"][0]
        return str(found["prediction_id"]) if 0 <= found["probability"] <= 1 else ""
    except (ValueError, KeyError, IndexError, TypeError):
        return ""


def _reason(exc: httpx.HTTPError) -> str:
    if isinstance(exc, httpx.ConnectError):
        return "no connection"
    return "no answer in time" if isinstance(exc, httpx.TimeoutException) else f"connection lost ({type(exc).__name__})"
