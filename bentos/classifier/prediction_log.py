"""The prediction log of one server process: what it answered, appended to a file of its own, beside the answers.

An answer puts a few references on a queue and goes on; a thread writes them a quarter of a second later. Whatever the
disk does, no client sees it: when the queue or the disk is full, rows are dropped and counted. A killed process loses
what was not yet written, at most one line of its file is torn, and whoever reads skips that.

Files are ``<folder>/<version>/<microseconds>-<pid>-<number>.jsonl``. The writer holds a lock (flock) on the one that
it writes, so that others can tell it from a finished one: the kernel gives the lock back however the process ends. A
file that has grown to `ROTATE_BYTES` is left, and when all that is kept has grown beyond the limit, the oldest finished
files are deleted.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from greenlight.core import prediction_record
from greenlight.core.prediction_files import COMPACT, FINISHED, named, surplus
from greenlight.core.prediction_record import Answered, Privacy
from greenlight.errors import ConfigError

if TYPE_CHECKING:
    from bentos.classifier.metrics import Counters
    from greenlight.datasets import Dataset

# Set by Greenlight for the servers that it starts; without the folder nothing is kept.
FOLDER, LIMIT_MB = "GREENLIGHT_PREDICTION_FOLDER", "GREENLIGHT_PREDICTION_LOG_MB"
KEEP, HASH_KEY = "GREENLIGHT_PREDICTION_FEATURES", "GREENLIGHT_PREDICTION_HASH_KEY"
FLUSH_S = 0.25
ROTATE_BYTES = 16 * 2**20
MAX_QUEUED_BYTES = 16 * 2**20
OVERHEAD_BYTES = 500  # of what is queued beside a body: headers, numbers, objects
# The writer holds Python's lock while it makes lines. After this much it writes, which lets go of the lock, so that no
# answer waits for a whole batch.
WRITE_BYTES = 32 * 1024
# Nor for that part of one: whoever waits for the lock gets it after 5 ms, or in a pause. Letting go of it
# for no time is not enough, the writer would have it back before the other wakes.
PAUSE_ANSWERS, PAUSE_S = 16, 0.0002
WAIT_AT_END_S = 5.0


@dataclass(frozen=True)
class LogSettings:
    """Where a log is kept, how much of it, and what of a row.

    Attributes
    ----------
    folder : Path
        Of all versions; each has a folder of its own below.
    limit_bytes : int
        Of everything below `folder`.
    privacy : Privacy
    """

    folder: Path
    limit_bytes: int
    privacy: Privacy


def settings(dataset: Dataset) -> LogSettings | None:
    """What the environment says; None when no log is wanted.

    Raises
    ------
    ConfigError
        The dataset declares a column private that its request does not have: it would be kept as it is.
    """
    folder = os.environ.get(FOLDER, "")
    unknown = sorted(dataset.private - set(dataset.request.Row.model_fields))
    if unknown:
        raise ConfigError(
            f"private columns that a request does not have: {', '.join(unknown)}",
            where=f"greenlight/datasets/{dataset.name}/privacy.py",
            todo="correct the names",
        )
    if not folder:
        return None
    keep = os.environ.get(KEEP, "all")
    privacy = Privacy(keep if keep in ("all", "hash") else "none", dataset.private, _hash_key())  # type: ignore[arg-type]
    return LogSettings(Path(folder), int(os.environ.get(LIMIT_MB, "1024")) * 2**20, privacy)


def _hash_key() -> bytes:
    """The home's secret; empty where it cannot be read, and then nothing is kept of what would be hashed."""
    try:
        return Path(os.environ.get(HASH_KEY, "")).read_bytes()[: prediction_record.KEY_BYTES]
    except OSError:
        return b""


class PredictionLog:
    """Keeps answers. `add` is for the event loop, the rest is done by a thread of its own.

    Parameters
    ----------
    settings : LogSettings
    version : str
        Version that answers.
    counters : Counters
        Take what was written, dropped, and how far the writing lags behind.
    """

    def __init__(self, settings: LogSettings, version: str, counters: Counters) -> None:
        self._privacy, self._counters = settings.privacy, counters
        self._file = LogFile(settings, version)
        self._queue: deque[Answered] = deque()
        # One is changed by the event loop alone, the other by the writer alone: no lock is needed.
        self._taken = self._done = 0
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def add(self, answered: Answered) -> None:
        """Keep `answered`, or drop and count it when too much waits already. Costs a microsecond."""
        size = len(answered.body) + OVERHEAD_BYTES
        waiting = self._taken - self._done
        if waiting + size > MAX_QUEUED_BYTES:
            self._counters.dropped("queue", _rows(answered))
            return
        self._taken += size
        self._queue.append(answered)
        if waiting > MAX_QUEUED_BYTES // 2:
            self._wake.set()

    def close(self) -> None:
        """Write what waits, and end; a disk that hangs is not waited for."""
        self._closing = True
        self._wake.set()
        self._thread.join(WAIT_AT_END_S)

    def _run(self) -> None:
        while True:
            closing = self._closing
            self._wake.wait(0 if closing else FLUSH_S)
            self._wake.clear()
            try:
                self.flush()
            except Exception:
                # The thread must live: whatever it is, answers go on and the rows are counted as dropped.
                logging.getLogger(__name__).exception("the prediction log lost rows")
            if closing:
                self._file.close()
                return

    def flush(self) -> None:
        """Write everything that waits now."""
        self._counters.lag(time.time() - self._queue[0].at / 1e6 if self._queue else 0.0)
        while self._queue:
            lines, size, rows, taken = bytearray(), 0, 0, 0
            while self._queue and len(lines) < WRITE_BYTES:
                answered = self._queue.popleft()
                taken += 1
                if taken % PAUSE_ANSWERS == 0 and not self._closing:
                    time.sleep(PAUSE_S)
                size += len(answered.body) + OVERHEAD_BYTES
                try:
                    lines += prediction_record.encode(answered, self._privacy, _let_others_run)
                    rows += _rows(answered)
                except (ValueError, TypeError) as exc:
                    logging.getLogger(__name__).warning("an answer could not be kept: %r", exc)
                    self._counters.dropped("format", _rows(answered))
            written = self._file.append(bytes(lines))
            self._counters.written(rows) if written else self._counters.dropped("disk", rows)
            self._done += size


def _let_others_run() -> None:
    time.sleep(0)  # lets go of Python's lock


def _rows(answered: Answered) -> int:
    return len(answered.probability) if answered.probability is not None else 1


class LogFile:
    """The file that one process writes, and its predecessors.

    Parameters
    ----------
    settings : LogSettings
    version : str
        Version that answers.
    """

    def __init__(self, settings: LogSettings, version: str) -> None:
        self._settings, self._version = settings, version
        self._number = 0
        self._handle = -1
        self._size = 0
        self._told = ""

    def append(self, lines: bytes) -> bool:
        """Add whole lines, all or none of them; whether they were written."""
        try:
            if self._handle < 0 or self._size >= ROTATE_BYTES:
                self._next()
            self._write(lines)
        except OSError as exc:
            self._tell(f"predictions are not kept: {exc.strerror or exc} ({self._settings.folder})")
            return False
        self._tell("")
        return True

    def close(self) -> None:
        """Let go of the file; it counts as finished then."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _next(self) -> None:
        self.close()
        self._bound()
        folder = self._settings.folder / self._version
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{time.time_ns() // 1000}-{os.getpid()}-{self._number}{FINISHED}"
        # For this user's eyes only: rows are what clients sent. Without a lock it would look finished to others, so
        # it gets its name when it has one.
        unlocked = folder / f".{name}"
        handle = os.open(unlocked, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        unlocked.rename(folder / name)
        self._handle, self._size, self._number = handle, 0, self._number + 1
        self._write(prediction_record.header(self._version, self._settings.privacy))

    def _write(self, lines: bytes) -> None:
        view = memoryview(lines)
        try:
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError:
            # Half a line would spoil the one that follows it.
            os.ftruncate(self._handle, self._size)
            if not self._size:
                self.close()  # not even the header fits; begin again when there is room
            raise
        self._size += len(lines)

    def _bound(self) -> None:
        """Delete the oldest finished files while there is more than the limit, with room for the file to come."""
        room = self._settings.limit_bytes - ROTATE_BYTES
        found = []
        for path in self._settings.folder.rglob("*"):
            try:
                status = path.stat()
            except OSError:
                continue  # somebody else deleted it
            if named(path, FINISHED) and not is_finished(path):
                room -= status.st_size
            elif named(path, FINISHED) or named(path, COMPACT):
                found.append((path, status.st_size, status.st_mtime))
        for path in surplus(found, room):
            path.unlink(missing_ok=True)

    def _tell(self, what: str) -> None:
        """Say once what is wrong, and once that it is over."""
        if what != self._told:
            logging.getLogger(__name__).warning(what or "predictions are kept again")
            self._told = what


def is_finished(path: Path) -> bool:
    """Whether nobody writes the file `path` any more."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
