"""An Arrow IPC stream a message at a time, so that a stream of any length takes the memory of one batch.

Polars reads a stream whole. The framing is simple enough to be read here: four bytes 0xFFFFFFFF, the length of the
metadata, the metadata (a flatbuffer ``Message``), and a body of the length that the metadata says; a length of 0 ends
the stream. Source: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc,
and ``Message.fbs`` for the places of the fields.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import polars as pl

from bentos.classifier.problems import Problem

CONTINUATION = b"\xff\xff\xff\xff"
END = CONTINUATION + b"\0\0\0\0"
MAX_METADATA = 4 * 1024 * 1024
SCHEMA, DICTIONARY, RECORDS = 1, 2, 3
_TYPE, _HEADER, _LENGTH = 1, 2, 3  # numbers of the fields of Message

Read = Callable[[int], bytes]


@dataclass(frozen=True)
class Message:
    """One message of a stream.

    Attributes
    ----------
    kind : int
        `SCHEMA`, `DICTIONARY`, `RECORDS`.
    rows : int
        Of a `RECORDS` message.
    content : bytes
        The whole message as it came.
    """

    kind: int
    rows: int
    content: bytes


def messages(read: Read, max_bytes: int) -> Iterator[Message]:
    """The messages of a stream.

    Parameters
    ----------
    read : callable
        Gives exactly as many bytes as asked for, fewer only at the end.
    max_bytes : int
        Most that the body of one message may have.

    Raises
    ------
    Problem
        400: this is no Arrow stream, or it breaks off; 413: a batch is too large.
    """
    while True:
        head = read(4)
        if head == CONTINUATION:
            head += read(4)
        if not head or head in (END, b"\0\0\0\0"):
            return
        if len(head) not in (4, 8):
            raise _broken("breaks off")
        (size,) = struct.unpack("<i", head[-4:])
        if not 0 < size <= MAX_METADATA:
            raise _broken("does not begin as one")
        metadata = _exactly(read, size)
        try:
            kind, length, rows = _parse(metadata)
        except (struct.error, IndexError, ValueError):
            raise _broken("has a message that cannot be read") from None
        if not 0 <= length <= max_bytes:
            raise Problem(
                413, f"a batch has {length:,} bytes, at most {max_bytes:,} are possible; send smaller batches"
            )
        yield Message(kind, rows, head + metadata + _exactly(read, length))


def frames(read: Read, max_bytes: int, rows: int) -> Iterator[pl.DataFrame]:
    """The rows of a stream, in frames of about `rows` rows; small batches are joined, large ones cut.

    The first frame comes even when the stream has no rows, for its schema.
    """
    schema, dictionaries, waiting, count, first = b"", b"", bytearray(), 0, True
    for message in messages(read, max_bytes):
        if message.kind == SCHEMA:
            if schema:
                raise _broken("has two schemas")
            schema = message.content
        elif not schema:
            raise _broken("has no schema at its beginning")
        elif message.kind == DICTIONARY:
            # What follows may mean other texts by the same numbers.
            if waiting:
                yield from _decoded(schema + dictionaries + waiting, rows)
                waiting, count, first = bytearray(), 0, False
            dictionaries += message.content
            if len(dictionaries) > max_bytes:
                raise Problem(413, f"the dictionaries have more than {max_bytes:,} bytes")
        elif message.kind == RECORDS:
            waiting += message.content
            count += message.rows
            if count >= rows or len(waiting) >= max_bytes:
                yield from _decoded(schema + dictionaries + waiting, rows)
                waiting, count, first = bytearray(), 0, False
        else:
            raise _broken("holds something that is no table")
    if not schema:
        raise _broken("is empty")
    if waiting or first:
        yield from _decoded(schema + dictionaries + waiting, rows)


def encoded(frame: pl.DataFrame, *, begin: bool) -> bytes:
    """`frame` as messages of a stream, with the schema where it is the `begin`; `END` ends the stream.

    Texts as Arrow's oldest readers know them.
    """
    buffer = BytesIO()
    frame.write_ipc_stream(buffer, compat_level=pl.CompatLevel.oldest())
    buffer.seek(0)
    whole = messages(buffer.read, 2**31)
    return b"".join(m.content for m in whole if begin or m.kind != SCHEMA)


def _decoded(content: bytes, rows: int) -> Iterator[pl.DataFrame]:
    try:
        frame = pl.read_ipc_stream(BytesIO(content + END))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as exc:
        raise _broken(f"cannot be read: {(str(exc).splitlines() or ['?'])[0][:160]}") from None
    if frame.height <= rows:
        yield frame
    else:
        yield from frame.iter_slices(rows)


def _parse(metadata: bytes) -> tuple[int, int, int]:
    """Kind, length of the body, and rows of a message."""
    (table,) = struct.unpack_from("<I", metadata, 0)
    kind = struct.unpack_from("<B", metadata, _field(metadata, table, _TYPE))[0]
    place = _field(metadata, table, _LENGTH, missing=0)
    length = struct.unpack_from("<q", metadata, place)[0] if place else 0
    rows = 0
    if kind == RECORDS:
        header = _field(metadata, table, _HEADER)
        header += struct.unpack_from("<I", metadata, header)[0]
        place = _field(metadata, header, 0, missing=0)
        rows = struct.unpack_from("<q", metadata, place)[0] if place else 0
    return kind, length, max(rows, 0)


def _field(metadata: bytes, table: int, number: int, missing: int | None = None) -> int:
    """Where field `number` of a flatbuffer's table stands."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    if vtable < 0:
        raise ValueError(vtable)
    size = struct.unpack_from("<H", metadata, vtable)[0]
    place = 4 + 2 * number
    offset = struct.unpack_from("<H", metadata, vtable + place)[0] if place + 2 <= size else 0
    if offset:
        return int(table + offset)
    if missing is None:
        raise ValueError(number)
    return missing


def _exactly(read: Read, size: int) -> bytes:
    found = read(size)
    if len(found) != size:
        raise _broken("breaks off")
    return found


def _broken(how: str) -> Problem:
    return Problem(400, f"the body is not an Arrow IPC stream: it {how}")
