"""The clients of the edge and their API keys.

Envoy compares keys as they are, so its file of keys holds them as they are: below ``<home>/serving/edge/keys``, for
this user's eyes only, and nowhere else. A key is shown once, when it is made. Beside it ``clients.json`` remembers when
each was made, by the first digits of its SHA-256. A client has one key, or two while it changes from one to the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from greenlight.adapters import edge_guard
from greenlight.adapters.desired import replace_file
from greenlight.adapters.edge import Edge
from greenlight.errors import EdgeError, NotFound, UsageError

OWN = "greenlight"
"""The client that Greenlight itself is: drills and played traffic come through the same door as everybody."""

PREFIX = "gl_"  # so that a scanner for secrets can find one that got lost
VERSION = f"extension_config_discovery.http_filter.{edge_guard.KEYS}.version_text"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
Credentials = list[tuple[str, str]]


@dataclass(frozen=True)
class Key:
    """One key, without the key.

    Attributes
    ----------
    id : str
        First eight hexadecimal digits of its SHA-256.
    made : str
        When, ISO 8601 in UTC; empty where that was not kept.
    """

    id: str
    made: str


@dataclass(frozen=True)
class Client:
    """Who may ask, with its keys, oldest first."""

    name: str
    keys: tuple[Key, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class ClientKeys:
    """The keys of one edge.

    Parameters
    ----------
    edge : Edge
        Is told of every change at once, and knows it when a method returns; one that is down reads them at its start.
    """

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._notes = edge.paths.folder / "clients.json"

    def clients(self) -> list[Client]:
        """All clients but Greenlight itself, by name."""
        made = self._made()
        found: dict[str, list[Key]] = {}
        for key, name in self._stored():
            found.setdefault(name, []).append(Key(identity(key), made.get(identity(key), "")))
        return [Client(name, tuple(keys)) for name, keys in sorted(found.items()) if name != OWN]

    def own(self) -> str:
        """Greenlight's own key; empty where none was made."""
        return next((key for key, name in self._stored() if name == OWN), "")

    def ensure_own(self) -> None:
        """Make Greenlight's own key, unless there is one: with it there is a file that Envoy can start with."""
        with self._changing() as credentials:
            if not any(name == OWN for _, name in credentials):
                credentials.append((_new(), OWN))

    def add(self, name: str) -> str:
        """A new client; returns its key.

        Raises
        ------
        UsageError
            The name cannot be one, or is taken.
        """
        if not NAME.fullmatch(name) or name == OWN:
            why = "is Greenlight's own" if name == OWN else "is no name for a client"
            raise UsageError(f"{name!r} {why}", todo="choose 1 to 63 of a-z, 0-9, dot, underscore and dash")
        with self._changing() as credentials:
            if any(other == name for _, other in credentials):
                raise UsageError(f"the client {name} is there", todo=f"greenlight clients rotate {name}")
            credentials.append((key := _new(), name))
        return key

    def rotate(self, name: str) -> str:
        """A second key for `name`, which it returns; the one before stays valid until `finish`.

        Raises
        ------
        NotFound
            There is no such client.
        UsageError
            It has two keys already.
        """
        with self._changing() as credentials:
            if len(_of(credentials, name)) > 1:
                todo = f"once nobody uses the older one: greenlight clients finish {name}"
                raise UsageError(f"the client {name} has two keys already", todo=todo)
            credentials.append((key := _new(), name))
        return key

    def finish(self, name: str) -> None:
        """End a rotation: only the newest key of `name` stays valid.

        Raises
        ------
        NotFound
            There is no such client.
        UsageError
            It has one key only.
        """
        with self._changing() as credentials:
            keys = _of(credentials, name)
            if len(keys) < 2:
                raise UsageError(f"the client {name} has one key only", todo=f"greenlight clients rotate {name}")
            credentials[:] = [one for one in credentials if one[1] != name or one[0] == keys[-1]]

    def revoke(self, name: str) -> None:
        """No key of `name` is valid any more.

        Raises
        ------
        NotFound
            There is no such client.
        """
        with self._changing() as credentials:
            _of(credentials, name)
            credentials[:] = [one for one in credentials if one[1] != name]

    @contextmanager
    def _changing(self) -> Iterator[Credentials]:
        """The credentials, to be changed in place; stored, and known to the edge, if they were."""
        folder = self._edge.paths.folder
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "clients.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self._stored()
            credentials = list(before)
            yield credentials
            if credentials != before:
                self._note(credentials)
                self._store(credentials)

    def _stored(self) -> Credentials:
        """Key and client of each API key; none where there is no file of keys.

        Raises
        ------
        EdgeError
            The file is damaged.
        """
        file = self._edge.guard.keys
        try:
            return edge_guard.credentials_of(json.loads(file.read_bytes()))
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, IndexError) as exc:
            raise EdgeError(
                f"the file of API keys cannot be read: {type(exc).__name__}",
                where=str(file),
                todo="put it right, or remove it and give every client a new key",
            ) from None

    def _store(self, credentials: Credentials) -> None:
        self._edge.give(self._edge.guard.keys, lambda stamp: edge_guard.keys_document(credentials, stamp), stat=VERSION)

    def _note(self, credentials: Credentials) -> None:
        made, now = self._made(), datetime.now(UTC).isoformat(timespec="seconds")
        known = {identity(key): made.get(identity(key), now) for key, _ in credentials}
        replace_file(self._notes, json.dumps({"schema": 1, "made": known}, indent=1).encode() + b"\n")

    def _made(self) -> dict[str, str]:
        """When each key was made, by `identity`; a help only, so a file that cannot be read is like none."""
        try:
            return {str(k): str(v) for k, v in json.loads(self._notes.read_bytes())["made"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def identity(key: str) -> str:
    """What a key is called where the key itself must not stand."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def _of(credentials: Credentials, name: str) -> list[str]:
    """Keys of `name`, oldest first."""
    found = [key for key, client in credentials if client == name]
    if not found or name == OWN:
        known = ", ".join(sorted({client for _, client in credentials if client != OWN})) or "none yet"
        raise NotFound(f"no client {name!r}; there are: {known}", todo=f"greenlight clients add {name}")
    return found


def _new() -> str:
    return PREFIX + secrets.token_urlsafe(32)
