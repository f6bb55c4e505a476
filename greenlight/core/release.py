"""What should serve, as one small document, and how it may change.

The document is written before each effect, so whoever finds it after a crash knows what to do: the version
under ``live`` is what must answer, ``incoming`` was not switched to yet, ``retiring`` is on its way out. It
must not know how servers are started or how traffic is switched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from greenlight.errors import UsageError

SCHEMA = 1
VERSION = re.compile(r"^v[1-9][0-9]*$")


@dataclass(frozen=True)
class Desired:
    """The desired state of the service.

    Attributes
    ----------
    generation : int
        Grows by one with every change.
    live : str
        Version that all traffic goes to; empty before the first release.
    incoming : str
        Version that is being started; gets no traffic yet.
    retiring : tuple[str, ...]
        Versions that got traffic before and finish what they have begun.
    strategy : str
        How traffic moves. ``full``: all at once.
    """

    generation: int = 0
    live: str = ""
    incoming: str = ""
    retiring: tuple[str, ...] = ()
    strategy: str = "full"

    @property
    def running(self) -> tuple[str, ...]:
        """Versions that need servers: live, incoming, retiring; each once."""
        return tuple(dict.fromkeys(v for v in (self.live, self.incoming, *self.retiring) if v))

    def to_json(self) -> dict[str, Any]:
        """The document as JSON values."""
        return {"schema": SCHEMA, **asdict(self), "retiring": list(self.retiring)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Desired:
        """Read the document back.

        Raises
        ------
        UsageError
            It was written by a newer Greenlight, or is not such a document.
        """
        if document.get("schema") != SCHEMA:
            raise UsageError(f"the desired state has schema {document.get('schema')!r}, this code reads {SCHEMA}")
        state = cls(
            generation=int(document["generation"]),
            live=str(document["live"]),
            incoming=str(document["incoming"]),
            retiring=tuple(str(v) for v in document["retiring"]),
            strategy=str(document["strategy"]),
        )
        for version in state.running:
            _check(version)
        return state


def standing(history: Sequence[str]) -> tuple[str, ...]:
    """The versions that a roll back can go back to one by one, the present one last.

    The ledger is read as a stack: a new version goes on top, and going back to one that is on it takes off everything
    above. So what was rolled back from is not on it, and a second roll back goes further back instead of forwards.

    Parameters
    ----------
    history : sequence of str
        Versions as they took the traffic, oldest first.
    """
    stack: list[str] = []
    for version in history:
        if version in stack:
            del stack[stack.index(version) + 1 :]
        else:
            stack.append(version)
    return tuple(stack)


def begin(state: Desired, version: str) -> Desired:
    """`version` is about to be started; a release that was left unfinished is given up."""
    _check(version)
    if version == state.live:
        raise UsageError(f"{version} serves already")
    retiring = tuple(v for v in state.retiring if v != version)
    return _next(state, incoming=version, retiring=retiring)


def switch(state: Desired) -> Desired:
    """All traffic goes to the incoming version; the one before it retires. This is the point of no return."""
    if not state.incoming:
        raise UsageError("no version is on its way in, nothing to switch to")
    retiring = (*state.retiring, state.live) if state.live else state.retiring
    return _next(state, live=state.incoming, incoming="", retiring=retiring)


def abandon(state: Desired) -> Desired:
    """The incoming version does not come in; whatever serves keeps serving."""
    return _next(state, incoming="") if state.incoming else state


def retire(state: Desired, version: str) -> Desired:
    """`version` has stopped."""
    if version not in state.retiring:
        return state
    return _next(state, retiring=tuple(v for v in state.retiring if v != version))


def _next(state: Desired, **changes: Any) -> Desired:
    return replace(state, generation=state.generation + 1, **changes)


def _check(version: str) -> None:
    if not VERSION.match(version):
        raise UsageError(f"{version!r} is not a version; versions are v1, v2, ...")
