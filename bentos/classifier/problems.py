"""What a client is told when its request is wrong: status, one sentence, and each wrong value with row and field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

MAX_DETAILS = 20
MAX_SHOWN = 80
JSON = "application/json"


@dataclass(frozen=True)
class Problem(Exception):
    """A request that cannot be answered.

    Attributes
    ----------
    status : int
        400 not JSON, 404 no such model or path, 405 wrong method, 408 it did not arrive in time, 413 too large, 415 not
        declared as what is wanted, 422 wrong values; 500 an error of ours, 502 the model gave no probability, 503 busy,
        or not possible now.
    error : str
        One sentence.
    details : tuple[dict, ...]
        At most `MAX_DETAILS` of ``{"row", "field", "problem", "value"}``.
    more : int
        Wrong values beyond those in `details`.
    allow : str
        Of a 405, the method that is possible.
    """

    status: int
    error: str
    details: tuple[dict[str, Any], ...] = ()
    more: int = 0
    allow: str = ""

    def body(self) -> bytes:
        """The JSON answer."""
        return orjson.dumps({"error": self.error, "details": list(self.details), "more": self.more})


def require_method(method: str, wanted: str, hint: str = "") -> None:
    """Refuse every other method with a 405 that says which one is possible."""
    if method != wanted:
        raise Problem(405, f"{method[:20]} is not possible here; {hint or f'{wanted} is'}", allow=wanted)


def of_validation(exc: ValidationError, rows: str = "rows", one: str = "row") -> Problem:
    """The answer to a body that is no JSON, or JSON with wrong values.

    Parameters
    ----------
    rows, one : str
        The key that holds the list, and what an item of it is called.
    """
    errors = exc.errors(include_url=False, include_context=True)
    if errors[0]["type"] == "json_invalid":
        reason = errors[0]["msg"].removeprefix("Invalid JSON: ")
        return Problem(400, f"the body is not JSON: {reason}")
    details = tuple(_detail(error, rows, one) for error in errors[:MAX_DETAILS])
    count = len(errors)
    first = details[0]
    place = f"{one} {first['row']}, field {first['field']}" if first["row"] is not None else f"field {first['field']}"
    head = f"{count} value{'s are' if count > 1 else ' is'} wrong; {place}: {first['problem']}"
    return Problem(422, head, details, more=count - len(details))


def _detail(error: Any, rows: str, one: str) -> dict[str, Any]:
    """``loc`` is ("rows", 3, "distance"); what stands outside of the rows has no row."""
    loc = tuple(error["loc"])
    row = loc[1] if len(loc) > 1 and loc[0] == rows else None
    names = loc[2:] if row is not None else loc
    detail = {"row": row, "field": ".".join(str(n) for n in names) or "body", "problem": _words(error, one)}
    if error["type"] != "missing":
        detail["value"] = _shown(error["input"])
    return detail


def _words(error: Any, one: str) -> str:
    kind = error["type"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return "is not a known field"
    if kind == "too_long":
        return f"at most {error['ctx']['max_length']} {one}s in a request, got {error['ctx']['actual_length']}"
    if kind == "too_short":
        return f"at least {error['ctx']['min_length']} {one} in a request, got none"
    if kind in ("model_type", "model_attributes_type"):
        return "must be an object"
    return str(error["msg"]).replace("Input should", "should")


def _shown(value: Any) -> Any:
    """The value as it came, shortened; what JSON cannot carry as text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    text = value if isinstance(value, str) else _text(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def _text(value: Any) -> str:
    """Of a container its kind and size: the whole of it can be megabytes."""
    if isinstance(value, (list, dict)):
        return f"{'list' if isinstance(value, list) else 'object'} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 400:
        return f"integer of {value.bit_length()} bits"
    return str(value)
