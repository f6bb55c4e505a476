"""What the foreign protocols have in common: rows in another shape become the service's own, and are scored like them.

Both speak of a model by name and version; this process holds one version of one model. Which version a label stands
for is known at the edge alone: it says so with ``x-model-pin``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from bentos.classifier import wire
from bentos.classifier.predict import MAX_ROWS, Asked, Predict, fault
from bentos.classifier.problems import JSON, Problem
from bentos.classifier.scorer import Scored

_NUMBERED = re.compile(r"v([1-9][0-9]*)")


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes
    ----------
    content : bytes
    headers : iterable of (bytes, bytes)
        Beyond those of every answer.
    kind : str
        Content type.
    """

    content: bytes
    headers: wire.Headers = ()
    kind: str = JSON


class Protocol:
    """An application that answers in another protocol's words; `reply` is what differs.

    Parameters
    ----------
    predict : Predict
        The endpoint whose checks, model and counters are used.
    """

    def __init__(self, predict: Predict) -> None:
        self.predict = predict

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; count it, and keep it, where rows were asked."""
        begun, status, asked = time.perf_counter(), 200, Asked(scope["headers"])
        try:
            reply = await self.reply(asked, scope, receive)
        except Problem as problem:
            status, reply = problem.status, Reply(self.refusal(problem), headers=wire.allow(problem))
        except wire.Disconnected:
            return
        except Exception:  # noqa: BLE001 - as POST /predict does
            status, reply = 500, Reply(self.refusal(fault(asked)))
        version = self.predict.version.encode()
        await wire.answer(send, status, reply.content, version, reply.headers, reply.kind)
        if scope["method"] == "POST":
            self.predict.note(asked, status, time.perf_counter() - begun)

    async def reply(self, asked: Asked, scope: Scope, receive: Receive) -> Reply:
        """The answer to a request that can be answered.

        Raises
        ------
        Problem
            It cannot.
        """
        raise NotImplementedError

    def refusal(self, problem: Problem) -> bytes:
        """An error as both protocols write it: one sentence under ``error``."""
        return orjson.dumps({"error": problem.error})

    async def score(self, asked: Asked, rows: Sequence[Mapping[str, Any]] | Any) -> Scored:
        """Check and score rows as ``POST /predict`` does; `rows` is whatever stands in the place of its ``rows``."""
        try:
            content = orjson.dumps({"rows": rows})
        except TypeError:  # nested more than 254 deep
            raise Problem(422, "a value is nested too deeply") from None
        return await self.predict.score(asked, content)

    def require(self, name: str, version: str | None) -> None:
        """Refuse another model, and a version that is not this process's (``v3`` and ``3`` are the same)."""
        if name != self.model:
            raise Problem(404, f"there is no model {name[:80]!r} here; this server holds {self.model!r}")
        if version is not None and version not in (self.predict.version, self.number):
            held = self.predict.version
            raise Problem(404, f"there is no version {version[:80]!r} of {name!r} here; this server holds {held}")

    @property
    def model(self) -> str:
        """The model's name."""
        return self.predict.scorer.dataset.name

    @property
    def number(self) -> str:
        """The version as the number that TensorFlow Serving writes: ``3`` for ``v3``."""
        found = _NUMBERED.fullmatch(self.predict.version)
        return found[1] if found else self.predict.version


def rows_of(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Columns of equal length as rows.

    Raises
    ------
    Problem
        422: the lengths differ, or there are too many rows.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        (first, a), (other, b) = next((p, q) for p in lengths.items() for q in lengths.items() if p[1] != q[1])
        raise Problem(422, f"the columns differ in length: {first[:40]} has {a:,} values, {other[:40]} {b:,}")
    count = next(iter(lengths.values()), 0)
    if count > MAX_ROWS:
        raise Problem(422, f"at most {MAX_ROWS} rows in a request, got {count}")
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises
    ------
    Problem
        400: not JSON; 422: no object.
    """
    try:
        found = orjson.loads(wire.text(content))
    except orjson.JSONDecodeError as exc:
        raise Problem(400, f"the body is not JSON: {exc}") from None
    if not isinstance(found, dict):
        raise Problem(422, "the body must be a JSON object")
    return found
