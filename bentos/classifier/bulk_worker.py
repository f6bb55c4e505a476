"""The process that scores tables for one server process.

Run as ``python -m bentos.classifier.bulk_worker`` in the bento's ``src``.
A process of its own, so that a table takes neither the interpreter nor the memory of the one that answers single rows,
and a body made to do harm ends this one alone. On stdin: one line of JSON a request, then its body in chunks, each
behind its length in four bytes, a length of 0 at the end. On stdout: one line of JSON, then the answer in chunks
likewise; behind an answer that is no error another line of JSON, once the prediction log has it. It ends with stdin.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from bentos.classifier import arrow_stream, tables
from bentos.classifier.frames import RowCheck
from bentos.classifier.problems import Problem
from bentos.classifier.scorer import Scorer
from bentos.classifier.table_log import TableLog

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
MAX_ROWS = 2_000_000
MAX_BATCH_BYTES = 256 * 1024 * 1024
MEMORY_BYTES = 2 * 1024**3  # of address space, beyond what the process has before its first table
CHUNK = 1024 * 1024
NICE = 5  # single rows first, where there are fewer cores than work


class Chunks:
    """A request's body as it arrives.

    Parameters
    ----------
    source : file
        Where the chunks come from.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._left = 0
        self._ended = False

    def read(self, size: int) -> bytes:
        """`size` bytes; fewer at the end of the body."""
        parts = []
        while size and not self._ended:
            if not self._left:
                self._next()
                continue
            part = self._source.read(min(size, self._left))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
            self._left -= len(part)
        return b"".join(parts)

    def drain(self) -> None:
        """Read what is left of the body, and forget it."""
        while self.read(CHUNK):
            pass

    def _next(self) -> None:
        (self._left,) = struct.unpack("<I", _whole(self._source, 4))
        self._ended = not self._left


def main() -> None:
    """Answer until stdin ends."""
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between the answers
    os.nice(NICE)
    scorer = Scorer.load(Path.cwd())
    check = RowCheck(scorer.dataset.request.Row)
    log = TableLog(scorer.dataset, scorer.version)
    target.write(b'{"ready": true}\n')
    target.flush()
    _limit_memory()
    while line := source.readline():
        begun, asked, body = time.perf_counter(), json.loads(line), Chunks(source)
        try:
            found = _answer(asked, body, scorer, check, target)
        except EOFError:  # the client went away within its body
            return
        target.flush()
        if found:
            noted = log.keep(asked, found.kept(), found.rows, time.perf_counter() - begun)
            target.write(json.dumps(noted).encode() + b"\n")
            target.flush()


def _answer(
    asked: dict[str, Any], body: Chunks, scorer: Scorer, check: RowCheck, target: BinaryIO
) -> tables.TableScores | None:
    """Answer one request; returns what its rows got, None after an error."""
    try:
        with tempfile.TemporaryDirectory(prefix="greenlight-bulk-") as folder:
            file = Path(folder) / "table.parquet"
            pieces = _arrow(body) if asked["format"] == ARROW else _parquet(body, file)
            found = tables.TableScores(asked["name"], scorer.version)
            found.keep(tables.scored(scorer, check, pieces, max_rows=MAX_ROWS))
            body.drain()
            file.unlink(missing_ok=True)
            head = {"status": 200, "rows": found.rows, "unseen": found.unseen}
            if asked["answer"] == ARROW:
                _send(target, head, _as_arrow(found))
            else:
                tables.write_parquet(found.answers(), file)
                _send(target, head, _parts_of(file))
            return found
    except Problem as problem:
        body.drain()
        said = {"status": problem.status, "error": problem.error, "details": problem.details, "more": problem.more}
        _send(target, said, iter(()))
        return None


def _arrow(body: Chunks) -> Iterator[pl.DataFrame]:
    return arrow_stream.frames(body.read, MAX_BATCH_BYTES, tables.PIECE)


def _parquet(body: Chunks, file: Path) -> Iterator[pl.DataFrame]:
    """Parquet says at its end where its rows are, so it is kept on the disk first."""
    with file.open("wb") as kept:
        while part := body.read(CHUNK):
            kept.write(part)
    return tables.parquet_pieces(file, MAX_ROWS)


def _as_arrow(found: tables.TableScores) -> Iterator[bytes]:
    for number, frame in enumerate(found.answers()):
        yield arrow_stream.encoded(frame, begin=number == 0)
    yield arrow_stream.END


def _parts_of(file: Path) -> Iterator[bytes]:
    with file.open("rb") as kept:
        while part := kept.read(CHUNK):
            yield part


def _send(target: BinaryIO, head: dict[str, Any], parts: Iterator[bytes]) -> None:
    target.write(json.dumps(head).encode() + b"\n")
    for part in parts:
        for start in range(0, len(part), CHUNK):
            piece = part[start : start + CHUNK]
            target.write(struct.pack("<I", len(piece)) + piece)
    target.write(struct.pack("<I", 0))


def _whole(source: BinaryIO, size: int) -> bytes:
    found = source.read(size)
    if len(found) != size:
        raise EOFError
    return found


def _limit_memory() -> None:
    """A table that unpacks to more ends this process, not the machine (Linux; elsewhere there is no limit)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
