"""What is kept of an answer: one line of JSON a request, and the rows that such a line stands for.

The server that answers writes lines, whatever reads them makes rows of them; both take the format from here. Pure:
bytes in, bytes and values out. A line holds the request's body as it came, so that keeping an answer costs the server a
copy and no second look at the rows; only private columns are taken apart, and come out as a keyed hash.

A file begins with a line that `header` makes. A line that a crash cut short, and whatever stands in a file that is no
record, is skipped and counted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

Keep = Literal["all", "hash", "none"]
FORMAT = 1
HIDDEN = "hash:"
# 96 bits: no two of a billion values meet by chance (birthday bound 6e-12).
DIGEST_BYTES = 12
KEY_BYTES = 32  # BLAKE2b takes keys of up to 64 bytes (RFC 7693, section 2.1)
PAUSE_ROWS = 32  # about 0.2 ms
MAX_TEXT = 200  # of what a client chose: its request id, its key
COLUMNS = (
    "at",
    "request_id",
    "row",
    "prediction_id",
    "version",
    "shadow",
    "played",
    "pinned",
    "key",
    "probability",
    "decision",
    "ms",
    "status",
    "row_json",
    "bulk",
    "trace_id",
)

_REQUEST_ID, _KEY, _SHADOW, _PLAYED = b"x-request-id", b"x-greenlight-key", b"x-shadow", b"x-greenlight-played"
_PIN = b"x-model-pin"  # who names a version is no draw between versions; the edge sets it for a version in a path
_TRACE = b"traceparent"
WANTED = frozenset({_REQUEST_ID, _KEY, _SHADOW, _PLAYED, _PIN, _TRACE})
# Version, trace, span, flags (www.w3.org/TR/trace-context, 3.2.2).
_TRACEPARENT = re.compile(rb"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True)
class Privacy:
    """What may be kept of a row.

    Attributes
    ----------
    keep : str
        ``all``: every column, private ones as a keyed hash; ``hash``: every column as one; ``none``: no column.
    private : frozenset of str
        Columns that the dataset declares private.
    hash_key : bytes
        Secret of this home; without one, nothing is kept of what would be hashed.
    """

    keep: Keep = "all"
    private: frozenset[str] = frozenset()
    hash_key: bytes = b""

    @property
    def whole(self) -> bool:
        """Whether a body may be kept as it came."""
        return self.keep == "all" and not self.private


@dataclass(frozen=True, slots=True)
class Answered:
    """One request and what it got, as the server has it at hand.

    Attributes
    ----------
    at : int
        Microseconds since the epoch, UTC, when the answer was ready.
    name : str
        32 hexadecimal digits; ``<name>-<row>`` is a prediction's id.
    headers : sequence of (bytes, bytes)
        As ASGI hands them over: names in lower case.
    body : bytes
        JSON, ``{"rows": [...]}``.
    probability : sequence of float or None
        One a row, in [0, 1]; None for a request that failed.
    decision : sequence of bool or None
    ms : float
        Milliseconds of the whole request.
    status : int
        200, or the 5xx that it got.
    first : int
        Index of the first row in the request; a table is kept in several pieces.
    bulk : bool
        Rows of a table, of which nothing is kept but the answer.
    """

    at: int
    name: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    probability: Sequence[float] | None
    decision: Sequence[bool] | None
    ms: float
    status: int
    first: int = 0
    bulk: bool = False


def header(version: str, privacy: Privacy) -> bytes:
    """The first line of a file: its format, the version that writes it, and what it keeps of a row."""
    about = {"greenlight_predictions": FORMAT, "version": version, "keep": privacy.keep}
    return orjson.dumps(about | {"private": sorted(privacy.private)}) + b"\n"


def encode(answered: Answered, privacy: Privacy, pause: Callable[[], object] = int) -> bytes:
    """One line, newline included.

    Parameters
    ----------
    pause : callable
        Called between every `PAUSE_ROWS` rows that are taken apart, so that a caller can let others work.
    """
    given = {name: value for name, value in answered.headers if name in WANTED}
    body: Any = None
    if privacy.whole:
        # Valid JSON, which has no line break but between its parts: as a space it is the same JSON on one line.
        one_line = answered.body.replace(b"\n", b" ").replace(b"\r", b" ")
        body = orjson.Fragment(one_line) if one_line else None
    elif privacy.keep != "none" and answered.body:
        rows = _rows(answered.body)
        hidden = []
        for begin in range(0, len(rows), PAUSE_ROWS):
            if begin:
                pause()
            hidden += [hide(row, privacy) for row in rows[begin : begin + PAUSE_ROWS]]
        body = {"rows": hidden}
    record = {
        "at": answered.at,
        "name": answered.name,
        "id": _text(given.get(_REQUEST_ID)) or answered.name,
        "key": _text(given.get(_KEY)),
        "shadow": given.get(_SHADOW) == b"1",
        "played": given.get(_PLAYED) == b"1",
        "pinned": _PIN in given,
        "status": answered.status,
        "ms": round(answered.ms, 4),
        "p": answered.probability,
        "d": answered.decision,
        "body": body,
    }
    if _TRACE in given:
        record |= {"trace": _trace_of(given[_TRACE])}
    if answered.bulk:
        record |= {"first": answered.first, "bulk": True}
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)


def hide(row: Any, privacy: Privacy) -> Any:
    """`row` with its private columns (every column under ``hash``) as keyed hashes; what is no object is dropped."""
    if not isinstance(row, dict):
        return None
    if privacy.keep == "hash":
        return {name: hashed(value, privacy.hash_key) for name, value in row.items()}
    return {name: hashed(v, privacy.hash_key) if name in privacy.private else v for name, v in row.items()}


def hashed(value: Any, key: bytes) -> str | None:
    """``hash:`` and 24 hexadecimal digits of keyed BLAKE2b over the value's JSON; equal values have equal hashes.

    A value that is missing stays missing; without a key nothing is kept of any value.
    """
    if value is None or not key:
        return None
    return HIDDEN + hashlib.blake2b(orjson.dumps(value), key=key, digest_size=DIGEST_BYTES).hexdigest()


def decode(lines: Iterable[bytes], version: str) -> Iterator[tuple[Any, ...] | None]:
    """Rows in the order of `COLUMNS`; None for each line that is no record.

    Parameters
    ----------
    lines : iterable of bytes
        The lines of one file; its header is skipped.
    version : str
        The version that wrote it.
    """
    for line in lines:
        try:
            record = _load(line)
            if "greenlight_predictions" in record:
                continue
            rows = list(_rows_of(record, version))
        except (ValueError, KeyError, TypeError, AttributeError):
            yield None
            continue
        yield from rows


def _rows_of(record: dict[str, Any], version: str) -> Iterator[tuple[Any, ...]]:
    name, at, status, ms = str(record["name"]), int(record["at"]), int(record["status"]), float(record["ms"])
    # Lines of earlier versions do not say whether somebody named the version.
    pinned = bool(record.get("pinned", False))
    who = (version, bool(record["shadow"]), bool(record["played"]), pinned, str(record["key"]))
    scores, decisions = record["p"], record["d"]
    if scores is None:
        scores, decisions = [None], [None]
    rows = (record["body"] or {}).get("rows") or []
    first, bulk, trace = int(record.get("first", 0)), bool(record.get("bulk", False)), str(record.get("trace", ""))
    for i, (probability, decision) in enumerate(zip(scores, decisions, strict=True)):
        row = orjson.dumps(rows[i]).decode() if i < len(rows) and rows[i] is not None else None
        number = first + i
        yield (
            at,
            str(record["id"]),
            number,
            f"{name}-{number}",
            *who,
            probability,
            decision,
            ms,
            status,
            row,
            bulk,
            trace,
        )


def _load(line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except ValueError:
        # A row type may allow NaN and Infinity, which orjson does not; half a line fails here as well.
        found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("no record")
    return found


def _rows(body: bytes) -> list[Any]:
    found = _load(body).get("rows")
    return found if isinstance(found, list) else []


def _trace_of(value: bytes) -> str:
    found = _TRACEPARENT.match(value)
    return found[1].decode() if found else ""


def _text(value: bytes | None) -> str:
    return value[:MAX_TEXT].decode("latin-1") if value else ""
