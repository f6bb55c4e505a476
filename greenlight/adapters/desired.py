"""The desired state on disk: one document, replaced atomically, with its history; one writer at a time."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenlight.core.release import Desired
from greenlight.core.release_plan import Ended
from greenlight.errors import ServerError, UsageError


class DesiredState:
    """``<home>/serving/desired.json`` and ``history.jsonl`` beside it.

    Parameters
    ----------
    home : Path
        Greenlight's work state.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home / "serving"
        self.file = self.folder / "desired.json"
        self.history_file = self.folder / "history.jsonl"

    def load(self) -> Desired:
        """The document; an empty one before the first release.

        Raises
        ------
        ServerError
            The file is damaged.
        """
        try:
            document = json.loads(self.file.read_bytes())
            if not isinstance(document, dict):
                raise ValueError(f"it holds a {type(document).__name__}, not an object")
            return Desired.from_json(document)
        except FileNotFoundError:
            return Desired()
        except (ValueError, KeyError, TypeError, UsageError) as exc:
            raise ServerError(
                f"the desired state cannot be read: {exc}",
                where=str(self.file),
                todo="remove the file and run greenlight rollback --to <version>",
            ) from exc

    def save(self, state: Desired, reason: str) -> Desired:
        """Replace the document, then add a line to the history. Returns `state`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        document = state.to_json()
        replace_file(self.file, json.dumps(document, indent=1).encode() + b"\n")
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "reason": reason, **document}
        try:
            with self.history_file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(line) + "\n")
        except OSError as exc:
            # The document counts, and it is in place: the release goes on, and the log says what the history lacks.
            logging.getLogger("greenlight").warning("%s lacks a line: %s", self.history_file, exc.strerror)
        return state

    def history(self, last: int = 20) -> list[dict[str, Any]]:
        """The `last` changes, oldest first; a line that a crash cut short is left out."""
        try:
            lines = self.history_file.read_text(encoding="utf-8").splitlines()[-last:]
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def last_of(self, version: str) -> Ended | None:
        """How the last release by steps of `version` ended; None where it had none, or another history."""
        try:
            lines = self.history_file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        for line in reversed(lines):
            with suppress(ValueError, TypeError):
                ended = json.loads(line).get("last")
                if ended and ended["version"] == version:
                    return Ended(**ended)
        return None

    @contextmanager
    def changing(self, who: str, timeout_s: float = 300.0) -> Iterator[None]:
        """Hold the right to change what serves; the kernel gives it back if the process dies.

        Raises
        ------
        ServerError
            Somebody else has held it for `timeout_s`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / "lock"
        with lock.open("a+", encoding="utf-8") as handle:
            until = time.monotonic() + timeout_s
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until:
                        holder = lock.read_text(encoding="utf-8").strip()
                        raise ServerError(
                            f"another release has been under way for more than {timeout_s:.0f} s: {holder}",
                            where=str(lock),
                            todo="wait for it, or end that process",
                        ) from None
                    time.sleep(0.1)
            with suppress(OSError):  # who holds it is a help to others; a full disk must not stand in a roll back's way
                os.ftruncate(handle.fileno(), 0)
                os.pwrite(handle.fileno(), f"pid {os.getpid()}, {who}\n".encode(), 0)
            yield


def replace_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write `content` to `path` so that a reader, or a crash, sees the old or the new file whole.

    Parameters
    ----------
    mode : int
        Permission bits, less what the umask takes away; 0o600 for what nobody else may read, at no moment.

    Raises
    ------
    ServerError
        The disk is full or the folder cannot be written; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)  # one left by a process of the same number has the rights of its time
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise ServerError(f"could not write: {exc.strerror}", where=str(path), todo="free space, then repeat") from exc
