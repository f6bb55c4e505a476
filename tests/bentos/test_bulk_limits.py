"""What happens to a table that takes too long, or is one too many: the endpoint in this process, with the real process that scores."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import serving_kit as kit

from bentos.classifier import bulk
from bentos.classifier.api import create_app


def packed(rows: int) -> bytes:
    row = kit.DATASET.request.Row
    buffer = io.BytesIO()
    checked = [row.model_validate(one).model_dump() for one in kit.requests(rows)]
    pl.DataFrame(checked, infer_schema_length=None).write_ipc_stream(buffer)
    return buffer.getvalue()


def test_limits_of_time_and_of_the_queue_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(kit.workspace(tmp_path, kit.small_model()))
    content, heads = packed(20), list[Any]()

    async def ask(endpoint: bulk.Bulk, *parts: bytes) -> tuple[int, str]:
        waiting, sent = list(parts), list[Any]()

        async def receive() -> dict[str, Any]:
            if not waiting:
                await asyncio.Event().wait()  # the rest never comes
            part = waiting.pop(0)
            return {"type": "http.request", "body": part, "more_body": part != content[100:]}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", bulk.ARROW.encode())]
        await endpoint({"type": "http", "method": "POST", "path": "/bulk", "headers": headers}, receive, send)
        heads.append(sent[0]["headers"])
        return sent[0]["status"], "" if sent[0]["status"] == 200 else json.loads(sent[1]["body"])["error"]

    async def all_of_it() -> None:
        async with app.router.lifespan_context(app):
            endpoint = app.state.direct("/bulk")
            assert (await ask(endpoint, content[:100], content[100:]))[0] == 200
            monkeypatch.setattr(bulk, "TIMEOUT_S", 1)
            os.kill(endpoint._worker.pid, signal.SIGSTOP)
            status, said = await ask(endpoint, content[:100], content[100:])
            assert (status, said) == (413, "scoring took more than 1 s; send fewer rows")
            status, said = await ask(endpoint, content[:100])
            assert (status, said[:42]) == (408, "the table did not arrive within 1 s of its")
            monkeypatch.setattr(bulk, "TIMEOUT_S", 120)
            assert (await ask(endpoint, content[:100], content[100:]))[0] == 200

            # One is at work and four wait; none of their bodies ends.
            tasks = [asyncio.create_task(ask(endpoint, content[:100])) for _ in range(bulk.WAITING + 1)]
            await asyncio.sleep(0.01)
            status, said = await ask(endpoint, content[:100], content[100:])
            assert (status, said) == (503, "5 tables are being scored or wait already; ask again later")
            assert (b"retry-after", b"10") in heads[-1]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (await ask(endpoint, content[:100], content[100:]))[0] == 200

    asyncio.run(all_of_it())
