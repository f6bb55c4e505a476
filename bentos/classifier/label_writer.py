"""The writer of one server process's labels: one connection that stays open, and one commit for all that wait.

A commit waits for the disk, so a request by itself costs what the disk takes; those that arrive meanwhile share the
next commit. Nobody is answered before the commit is on the disk. Several processes write one book: they take turns by
SQLite's own lock, which decides, and before that by a lock of the kernel that is looked at more often: SQLite's pauses
between two looks grow to 0.1 s, many commits long.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bentos.classifier.problems import Problem
from greenlight.core import label_book
from greenlight.core.label_book import Taken

# In one commit, about 0.1 s; then another process has its turn.
BATCH_LABELS = 10_000
MAX_WAITING_LABELS = 200_000
WAIT_AT_END_S = 15.0
TURN, LOOK_S = ".turn", 0.0005

Labels = Sequence[tuple[str, bool]]
Waiting = tuple[Labels, asyncio.AbstractEventLoop, "asyncio.Future[Taken]"]


class LabelWriter:
    """Writes labels into the book below `folder`; `take` is for the event loop, the rest a thread does.

    Parameters
    ----------
    folder : Path
        Where the book is, and is made if there is none.
    """

    def __init__(self, folder: Path) -> None:
        self._book = _Book(folder)
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._labels = 0  # that wait; changed by the event loop alone
        self._thread = threading.Thread(target=self._run, name="label-writer", daemon=True)
        self._thread.start()

    async def take(self, labels: Labels) -> Taken:
        """Write `labels` down; returns once they are on the disk.

        Raises
        ------
        Problem
            503: they could not be written, or too many wait; none of them was taken.
        """
        if self._labels and self._labels + len(labels) > MAX_WAITING_LABELS:
            raise Problem(503, f"{self._labels:,} labels wait to be written; none of these was taken, send them again")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Taken] = loop.create_future()
        self._labels += len(labels)
        self._queue.put((labels, loop, done))
        try:
            return await done
        finally:
            self._labels -= len(labels)

    def close(self) -> None:
        """Write what waits, and end; a disk that hangs is not waited for."""
        self._queue.put(None)
        self._thread.join(WAIT_AT_END_S)

    def _run(self) -> None:
        last = False
        while not last:
            first = self._queue.get()
            if first is None:
                break
            batch, last = self._with_others(first)
            self._write(batch)
        self._book.close()

    def _with_others(self, first: Waiting) -> tuple[list[Waiting], bool]:
        """Whatever waits beside `first`, as far as it fits into a commit; and whether there will be no more."""
        batch, size = [first], len(first[0])
        while size < BATCH_LABELS:
            try:
                one = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
            if one is None:
                return batch, True
            batch.append(one)
            size += len(one[0])
        return batch, False

    def _write(self, batch: Sequence[Waiting]) -> None:
        try:
            taken: Sequence[Taken | Problem] = self._book.take([labels for labels, _, _ in batch])
        except Exception as exc:  # noqa: BLE001 - everybody who waits gets an answer, whatever went wrong
            # Nothing was acknowledged, and nothing of the requests was applied: the clients may send them again.
            why = Problem(503, f"the labels could not be written: {exc}; none of them was taken, send them again")
            taken = [why] * len(batch)
        for (_, loop, done), one in zip(batch, taken, strict=True):
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_tell, done, one)


def _tell(done: asyncio.Future[Taken], taken: Taken | Problem) -> None:
    if done.done():
        return  # the client went away
    if isinstance(taken, Problem):
        done.set_exception(taken)
    else:
        done.set_result(taken)


class _Book:
    """The file and the connection to it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / label_book.FILE
        self._connection: sqlite3.Connection | None = None
        self._turn = -1
        self._opened: tuple[int, int] | None = None

    def take(self, requests: Sequence[Labels]) -> list[Taken]:
        """All of `requests` in one commit, or none of them."""
        try:
            connection = self._open()
            with self._alone():
                return label_book.take_each(connection, requests, time.time_ns() // 1000)
        except BaseException:
            self.close()  # whatever state it is in, the next one begins anew
            raise

    def close(self) -> None:
        """Let go of the file."""
        connection, self._connection = self._connection, None
        turn, self._turn = self._turn, -1
        with suppress(sqlite3.Error):
            if connection:
                connection.close()
        with suppress(OSError):
            if turn >= 0:
                os.close(turn)

    def _open(self) -> sqlite3.Connection:
        # A book that was moved or deleted would take labels that nobody finds again.
        if self._connection and self._opened == _identity(self._file):
            return self._connection
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._turn = os.open(self._folder / TURN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._connection = sqlite3.connect(
            self._file, timeout=label_book.BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        label_book.prepare(self._connection)
        self._opened = _identity(self._file)
        return self._connection

    @contextmanager
    def _alone(self) -> Iterator[None]:
        until = time.monotonic() + label_book.BUSY_TIMEOUT_S
        while time.monotonic() < until:
            try:
                fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOOK_S)
        try:
            yield  # without the turn, too, if its holder hangs: then SQLite says what is the matter
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
