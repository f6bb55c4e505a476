"""The packed model, and scoring what several clients ask at the same moment in one call.

For one row the cost of a call to XGBoost and NumPy is nearly all overhead, so requests that are ready in the
same turn of the event loop are scored together. Nobody waits for a batch to fill: a lone request is scored at
once. A row's score does not depend on the rows beside it; a test and the preflight hold that to the last bit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bentos.classifier.cache import Cache, key_of
from greenlight import datasets
from greenlight.core.model import Model

UNBUILT = "unbuilt"
MODEL_FOLDER = Path("data/model")


@dataclass(frozen=True)
class Scored:
    """What one request's rows got.

    Attributes
    ----------
    probability : list of float
        One a row, in [0, 1]; each a float32 value exactly.
    decision : list of bool
        One a row: probability at or above the model's threshold.
    """

    probability: list[float]
    decision: list[bool]


@dataclass
class Scorer:
    """One model, ready to score rows of its dataset.

    Attributes
    ----------
    model : Model
        The packed model.
    dataset : Dataset
        The dataset that the model names.
    version : str
        Version of the bento, ``unbuilt`` outside of one.
    unseen : dict[str, int]
        How many values of each category were not known in training, since the start.
    cache : Cache or None
        Keeps scores of rows that were asked before; None for none.
    """

    model: Model
    dataset: datasets.Dataset
    version: str
    unseen: dict[str, int] = field(default_factory=dict)
    cache: Cache | None = None
    _waiting: list[tuple[Sequence[Any], asyncio.Future[Scored]]] = field(default_factory=list)

    @classmethod
    def load(cls, root: Path, threads: int = 1) -> Scorer:
        """Read the model under `root`, the folder that holds ``data/model``.

        Parameters
        ----------
        threads : int
            Threads that score; servers take one each, since processes are what uses the cores. 0 means all cores.

        Raises
        ------
        FileNotFoundError
            There is no model there.
        """
        folder = root / MODEL_FOLDER
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        model = Model.from_files(files, threads=threads)
        return cls(model, datasets.load(model.manifest.dataset), packed_version(root))

    def score(self, rows: Sequence[Any]) -> Scored:
        """Score checked rows now."""
        scores = self.model.score(self.dataset.request.columns(rows), self.dataset.features.row_features)
        for name, count in scores.unseen.items():
            self.unseen[name] = self.unseen.get(name, 0) + count
        return Scored(scores.probability.tolist(), scores.decision.tolist())

    async def submit(self, rows: Sequence[Any]) -> Scored:
        """Score checked rows together with whatever else arrives in this turn of the event loop."""
        return await (self._batched(rows) if self.cache is None else self._cached(self.cache, rows))

    async def _cached(self, cache: Cache, rows: Sequence[Any]) -> Scored:
        """Only what was not asked before is scored."""
        keys = [key_of(row) for row in rows]
        found = [cache.get(key) for key in keys]
        new = [i for i, kept in enumerate(found) if kept is None]
        if new:
            scored = await self._batched([rows[i] for i in new])
            for i, probability, decision in zip(new, scored.probability, scored.decision, strict=True):
                found[i] = (probability, decision)
                cache.put(keys[i], (probability, decision))
        whole = [kept for kept in found if kept is not None]
        return Scored([probability for probability, _ in whole], [decision for _, decision in whole])

    async def _batched(self, rows: Sequence[Any]) -> Scored:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Scored] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((rows, future))
        return await future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            scored = self.score([row for rows, _ in waiting for row in rows])
        except Exception as exc:  # noqa: BLE001 - every waiting client must get an answer, whatever went wrong
            for _, future in waiting:
                if not future.done():
                    future.set_exception(exc)
            return
        start = 0
        for rows, future in waiting:
            end = start + len(rows)
            if not future.done():
                future.set_result(Scored(scored.probability[start:end], scored.decision[start:end]))
            start = end


def packed_version(root: Path) -> str:
    """Version of the bento whose sources are in `root`, else ``unbuilt``."""
    try:
        text = (root.parent / "bento.yaml").read_text(encoding="utf-8")
    except FileNotFoundError:
        return UNBUILT
    for line in text.splitlines():
        if line.startswith("version:"):
            return line.partition(":")[2].strip().strip("'\"")
    return UNBUILT
