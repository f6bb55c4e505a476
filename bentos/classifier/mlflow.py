"""MLflow's scoring server: ``POST /invocations``, ``/ping``, ``/health``, ``/version``.

Paths, bodies and errors as MLflow 2 and later have them
(https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/): JSON with one of ``dataframe_split``,
``dataframe_records``, ``instances`` and ``inputs``, or CSV with a header; the answer is ``{"predictions": [...]}``, an
object a row. Whole numbers that a data frame holds as floating point, for the sake of its NaN, are whole numbers.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.types import Receive, Scope

from bentos.classifier import wire
from bentos.classifier.columns import Column, columns_of
from bentos.classifier.predict import MAX_ROWS, Asked, Predict
from bentos.classifier.problems import JSON, Problem, require_method
from bentos.classifier.protocol import Protocol, Reply, json_object, rows_of
from bentos.classifier.tensors import plain

INVOCATIONS = "/invocations"
ALIVE = ("/ping", "/health")
VERSION = "/version"
PATHS = (INVOCATIONS, *ALIVE, VERSION)
CSV = "text/csv"
# The release whose scoring protocol this is: it has not changed since. It is no MLflow that answers.
PROTOCOL = "2.0.0"
SHAPES = ("dataframe_split", "dataframe_records", "instances", "inputs")
# What pandas.read_csv, which MLflow's server reads with, takes for "not known".
NOT_KNOWN = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "n/a"]
) | {"NULL", "null", "None", "NaN", "-NaN", "nan", "-nan"}
# Fifteen digits are the same as a float; more would be rounded without a word.
_NUMBER = re.compile(r"[+-]?(?=\.?[0-9])[0-9]{0,15}(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_TRUTHS = {"true": True, "false": False}


class MLflow(Protocol):
    """Answers clients of MLflow's scoring server."""

    def __init__(self, predict: Predict) -> None:
        super().__init__(predict)
        self._known: dict[str, Column] | None = None

    async def reply(self, asked: Asked, scope: Scope, receive: Receive) -> Reply:
        """That the model answers, the protocol's version, or predictions."""
        path = scope["path"]
        if path != INVOCATIONS:
            require_method("GET" if scope["method"] == "HEAD" else scope["method"], "GET")
            return Reply(b"\n" if path in ALIVE else PROTOCOL.encode(), kind="text/plain")
        require_method(scope["method"], "POST", "predictions are asked with POST /invocations")
        said = (wire.header(scope, b"content-type") or JSON.encode()).decode("latin-1")
        kind = said.partition(";")[0].strip().lower()
        if kind not in (JSON, CSV):
            raise Problem(415, f"Content-Type is {said[:80]!r}, wanted {JSON} or {CSV}")
        content = await wire.body_of(scope, receive)
        rows = self._rows_of_csv(content) if kind == CSV else self._rows(json_object(content))
        scored = await self.score(asked, rows)
        answers = zip(scored.probability, scored.decision, asked.names(), strict=True)
        found = [{"probability": p, "decision": d, "prediction_id": name} for p, d, name in answers]
        return Reply(orjson.dumps({"predictions": found}))

    def refusal(self, problem: Problem) -> bytes:
        """An error as MLflow writes it."""
        busy = "TEMPORARILY_UNAVAILABLE" if problem.status == 503 else "INTERNAL_ERROR"
        code = "BAD_REQUEST" if problem.status < 500 else busy
        return orjson.dumps({"error_code": code, "message": problem.error})

    @property
    def _columns(self) -> Mapping[str, Column]:
        if self._known is None:
            self._known = {column.name: column for column in columns_of(self.predict.scorer.dataset.request.Row)}
        return self._known

    def _rows(self, body: dict[str, Any]) -> Any:
        there = [name for name in SHAPES if name in body]
        if len(there) != 1:
            got = ", ".join(str(name)[:40] for name in list(body)[:10]) or "nothing"
            raise Problem(422, f"exactly one of {', '.join(SHAPES)} is required, got {got}")
        unknown = next((name for name in body if name not in (*there, "params")), None)
        if unknown is not None:
            raise Problem(422, f"{unknown[:80]!r} is not a known key; {there[0]} is, and params")
        if body.get("params"):
            raise Problem(422, "`params` must be empty: this model has no parameters at inference")
        shape, data = there[0], body[there[0]]
        if shape == "dataframe_split":
            rows: Any = _split(data)
        elif isinstance(data, dict):
            rows = rows_of(_lists(shape, data))
        else:
            rows = data
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Problem(
                422, f"`{shape}` must have the columns' names: a list of objects, or an object with a list per column"
            )
        return [{name: self._value(name, value) for name, value in row.items()} for row in rows]

    def _value(self, name: str, value: Any) -> Any:
        column = self._columns.get(name)
        return plain(column, value) if column and isinstance(value, float) else value

    def _rows_of_csv(self, content: bytes) -> list[dict[str, Any]]:
        try:
            reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
            names = next(reader, [])
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise Problem(422, f"the column {twice[:80]!r} is there twice")
            rows: list[dict[str, Any]] = []
            for values in reader:
                if not values:
                    continue
                if len(rows) == MAX_ROWS:
                    raise Problem(422, f"at most {MAX_ROWS} rows in a request, got more")
                if len(values) != len(names):
                    raise Problem(422, f"row {len(rows)} has {len(values)} values, the header names {len(names)}")
                rows.append({name: self._read(name, text) for name, text in zip(names, values, strict=True)})
        except UnicodeDecodeError as exc:
            raise Problem(400, f"the CSV is not UTF-8: byte {exc.start:,}") from None
        except csv.Error as exc:
            raise Problem(400, f"the body is not CSV: line {reader.line_num}: {exc}") from None
        return rows

    def _read(self, name: str, text: str) -> Any:
        """One value of a CSV; what is none of its column stays text, and the check of the row names it."""
        column = self._columns.get(name)
        if column is None:
            return text
        if text in NOT_KNOWN and (column.nullable or column.kind in ("integer", "number", "boolean")):
            return None
        if column.kind in ("integer", "number"):
            return plain(column, float(text)) if _NUMBER.fullmatch(text) else text
        return _TRUTHS.get(text.lower(), text) if column.kind == "boolean" else text


def _split(data: Any) -> list[dict[str, Any]]:
    """Rows of what ``DataFrame.to_json(orient="split")`` writes; its ``index`` means nothing here."""
    if (
        not isinstance(data, dict)
        or not isinstance(data.get("columns"), list)
        or not isinstance(data.get("data"), list)
    ):
        raise Problem(422, "`dataframe_split` must be an object with the lists `columns` and `data`")
    names, values = data["columns"], data["data"]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise Problem(422, "`columns` of `dataframe_split` must be names, each of them once")
    if len(values) > MAX_ROWS:
        raise Problem(422, f"at most {MAX_ROWS} rows in a request, got {len(values)}")
    wrong = next((i for i, row in enumerate(values) if not isinstance(row, list) or len(row) != len(names)), None)
    if wrong is not None:
        raise Problem(422, f"row {wrong} of `data` must be a list of {len(names)} values, as `columns` has names")
    return [dict(zip(names, row, strict=True)) for row in values]


def _lists(shape: str, columns: dict[str, Any]) -> Mapping[str, Sequence[Any]]:
    if not all(isinstance(values, list) for values in columns.values()):
        raise Problem(422, f"`{shape}` as an object must have a list of values per column")
    return columns
