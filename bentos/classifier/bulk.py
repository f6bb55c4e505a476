"""``POST /bulk``: a table in, one prediction a row out, as an Arrow stream or a Parquet file.

Only bytes pass here; `bulk_worker` reads, checks and scores them in a process of its own, which is started for the
first table and ends when none came for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope, Send

from bentos.classifier import wire
from bentos.classifier.codings import Unpacker
from bentos.classifier.metrics import TABLE
from bentos.classifier.predict import Predict
from bentos.classifier.problems import Problem, require_method
from greenlight.core import prediction_record

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
MAX_BODY_BYTES = 512 * 1024 * 1024
MAX_ROWS = 2_000_000
TIMEOUT_S = 120
WAITING = 4  # tables that may wait for the one that is being scored
IDLE_S = 60
_CHUNK = 1024 * 1024
# What a pipe to a process that has ended raises; uvloop says RuntimeError where asyncio says ConnectionError.
_GONE = (ConnectionError, RuntimeError, json.JSONDecodeError)
_BROKE = (
    "the table could not be processed: it unpacks to more than 2 GiB, or is damaged; "
    "send fewer rows, or smaller row groups"
)


class Bulk:
    """The endpoint.

    Parameters
    ----------
    predict : Predict
        Whose model and counters are used.
    root : Path
        The folder that holds ``data/model`` and the code.
    """

    def __init__(self, predict: Predict, root: Path) -> None:
        self._predict, self._root = predict, root
        self._worker: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._idle: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count it."""
        begun, rows, more = time.perf_counter(), 0, list[tuple[bytes, bytes]]()
        sending = False
        arrived = asyncio.Event()
        try:
            asked = _asked(scope)
            unpacker = Unpacker(wire.header(scope, wire.CODING) or b"")
            if self._waiting > WAITING:
                more.append((b"retry-after", b"10"))
                raise Problem(503, f"{self._waiting} tables are being scored or wait already; ask again later")
            self._waiting += 1
            try:
                async with self._turn, asyncio.timeout(TIMEOUT_S):
                    head, parts = await self._ask(asked, _unpacked(unpacker, receive), arrived)
                    status, rows = 200, head["rows"]
                    sending = True
                    await _stream(send, parts, asked["answer"], self._predict.version.encode())
                    await self._note()
            except BaseException:
                if not isinstance(sys.exception(), Problem) or sending:
                    self._end()  # whatever it is at now is of no use any more
                raise
            finally:
                self._waiting -= 1
                self._rest()
        except TimeoutError:
            if sending:
                raise
            status = 413 if arrived.is_set() else 408
            late = f"scoring took more than {TIMEOUT_S} s; send fewer rows"
            slow = f"the table did not arrive within {TIMEOUT_S} s of its turn; send it faster, or fewer rows"
            await self._refuse(send, Problem(status, late if arrived.is_set() else slow), more)
        except Problem as exc:
            if sending:
                raise
            status = exc.status
            await self._refuse(send, exc, [*more, *wire.allow(exc)])
        except wire.Disconnected:
            return
        self._predict.counters.count(status, time.perf_counter() - begun, rows, self._predict.scorer, kind=TABLE)

    async def close(self) -> None:
        """End the worker, for good."""
        worker = self._worker
        self._end()
        if worker:
            await worker.wait()

    async def _refuse(self, send: Send, problem: Problem, more: wire.Headers) -> None:
        await wire.answer(send, problem.status, problem.body(), self._predict.version.encode(), more)

    async def _ask(
        self, asked: dict[str, Any], body: AsyncIterator[bytes], arrived: asyncio.Event
    ) -> tuple[dict[str, Any], AsyncIterator[bytes]]:
        """Hand the body on; returns what the worker says first, and the chunks behind it."""
        worker = await self._started()
        assert worker.stdin
        assert worker.stdout
        too_large = False
        try:
            worker.stdin.write(json.dumps(asked).encode() + b"\n")
            size = 0
            async for part in body:
                size += len(part)
                # The rest is read and dropped, so that the client hears the answer.
                too_large = too_large or size > MAX_BODY_BYTES
                if not too_large and part:
                    worker.stdin.write(struct.pack("<I", len(part)) + part)
                    await worker.stdin.drain()
                if size > 2 * MAX_BODY_BYTES:
                    break
            if too_large:
                raise Problem(413, f"the body has more than {MAX_BODY_BYTES:,} bytes; send it in parts")
            arrived.set()
            worker.stdin.write(struct.pack("<I", 0))
            await worker.stdin.drain()
            head = json.loads(await worker.stdout.readline())
        except _GONE:
            self._end()
            raise Problem(413, _BROKE) from None
        except Problem:
            self._end()  # it has a part of a table that nothing follows
            raise
        if head["status"] != 200:
            await worker.stdout.readexactly(4)
            raise Problem(head["status"], head["error"], tuple(head["details"]), head["more"])
        scorer = self._predict.scorer
        for feature, count in head["unseen"].items():
            scorer.unseen[feature] = scorer.unseen.get(feature, 0) + count
        return head, _chunks(worker.stdout)

    async def _note(self) -> None:
        """Count what the worker kept of the answer in the prediction log; the client has its answer by then."""
        assert self._worker
        assert self._worker.stdout
        noted = json.loads(await self._worker.stdout.readline())
        counters = self._predict.counters
        if noted["kept"]:
            counters.written(noted["kept"])
        if noted["lost"]:
            counters.dropped("disk", noted["lost"])

    async def _started(self) -> asyncio.subprocess.Process:
        if self._idle:
            self._idle.cancel()
            self._idle = None
        if self._worker and self._worker.returncode is None:
            return self._worker
        self._worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bentos.classifier.bulk_worker",
            cwd=self._root,
            # One thread, as the servers have; memory that is free goes back to the system.
            env={**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=4 * _CHUNK,
        )
        assert self._worker.stdout
        if not await self._worker.stdout.readline():
            self._end()
            raise Problem(503, "the process that scores tables did not start; the server's log says why")
        return self._worker

    def _rest(self) -> None:
        """End the worker when no table comes for a while."""
        if self._worker and not self._waiting:
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._end)

    def _end(self) -> None:
        worker, self._worker = self._worker, None
        if self._idle:
            self._idle.cancel()
            self._idle = None
        if worker and worker.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()


def _asked(scope: Scope) -> dict[str, Any]:
    """What the worker is asked: the format of the body, that of the answer, and the name of the predictions."""
    require_method(scope["method"], "POST", "tables are scored with POST /bulk")
    said = (wire.header(scope, b"content-type") or b"").decode("latin-1")
    kind = said.partition(";")[0].strip().lower()
    if kind not in (ARROW, PARQUET):
        raise Problem(415, f"Content-Type is {said[:80]!r}, wanted {ARROW} or {PARQUET}")
    accepted = (wire.header(scope, b"accept") or b"").decode("latin-1").lower()
    other = PARQUET if kind == ARROW else ARROW
    answer = other if other in accepted and kind not in accepted else kind
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in scope["headers"]
        if name in prediction_record.WANTED
    ]
    return {"format": kind, "answer": answer, "name": uuid.uuid4().hex, "headers": headers}


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise wire.Disconnected
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def _unpacked(unpacker: Unpacker, receive: Receive) -> AsyncIterator[bytes]:
    """The body, unpacked; others are answered between two pieces."""
    async for packed in _body(receive):
        for piece in unpacker.pieces(packed):
            yield piece
            await asyncio.sleep(0)
    unpacker.end()


async def _chunks(source: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        (size,) = struct.unpack("<I", await source.readexactly(4))
        if not size:
            return
        yield await source.readexactly(size)


async def _stream(send: Send, parts: AsyncIterator[bytes], kind: str, version: bytes) -> None:
    headers = [(b"content-type", kind.encode()), (b"x-model-version", version)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
