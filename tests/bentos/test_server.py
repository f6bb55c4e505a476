"""What the server process adds around the application."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from bentos.classifier.server import settled


def test_what_is_loaded_at_the_start_is_not_looked_through_for_garbage_again() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append((message["type"], gc.get_freeze_count()))

    async def run() -> None:
        given = settled(send)
        await given({"type": "lifespan.startup.failed"})
        await given({"type": "lifespan.startup.complete"})

    gc.unfreeze()
    try:
        asyncio.run(run())
    finally:
        gc.unfreeze()

    assert [name for name, _ in sent] == ["lifespan.startup.failed", "lifespan.startup.complete"]
    assert sent[0][1] == 0
    assert sent[1][1] > 1000
