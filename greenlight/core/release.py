"""What should serve, as one small document, and how it may change.

The document is written before each effect, so whoever finds it after a crash knows what to do: the version
under ``live`` is what must answer, ``incoming`` was not switched to yet, ``standby`` served before and is kept
warm, ``retiring`` is on its way out. It must not know how servers are started or how traffic is switched.
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
    standby : tuple[str, ...]
        Versions that got traffic before and whose servers are kept, so that a roll back waits for no start; the one
        that served last comes first.
    strategy : str
        How traffic moves. ``full``: all at once.
    """

    generation: int = 0
    live: str = ""
    incoming: str = ""
    retiring: tuple[str, ...] = ()
    strategy: str = "full"
    standby: tuple[str, ...] = ()

    @property
    def running(self) -> tuple[str, ...]:
        """Versions that need servers: live, incoming, standby, retiring; each once."""
        return tuple(dict.fromkeys(v for v in (self.live, self.incoming, *self.standby, *self.retiring) if v))

    def to_json(self) -> dict[str, Any]:
        """The document as JSON values."""
        return {"schema": SCHEMA, **asdict(self), "retiring": list(self.retiring), "standby": list(self.standby)}

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
            standby=tuple(str(v) for v in document.get("standby", ())),
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
    return _next(_without(state, version), incoming=version)


def switch(state: Desired, *, keep_warm: int = 0) -> Desired:
    """All traffic goes to the incoming version; this is the point of no return.

    The one before it stays on standby, and so do those before that, up to `keep_warm` of them; the others retire.
    """
    if not state.incoming:
        raise UsageError("no version is on its way in, nothing to switch to")
    return _to(state, state.incoming, keep_warm)


def switch_back(state: Desired, version: str, *, keep_warm: int = 0) -> Desired:
    """All traffic goes to a version on standby, whose servers run."""
    if version not in state.standby:
        raise UsageError(f"{version} is not on standby")
    return _to(state, version, keep_warm)


def cool(state: Desired, version: str) -> Desired:
    """`version` is no longer on standby: its servers are stopped, or do not run as they should."""
    if version not in state.standby:
        return state
    return _next(state, standby=tuple(v for v in state.standby if v != version), retiring=(*state.retiring, version))


def abandon(state: Desired) -> Desired:
    """The incoming version does not come in; whatever serves keeps serving."""
    return _next(state, incoming="") if state.incoming else state


def retire(state: Desired, version: str) -> Desired:
    """`version` has stopped."""
    if version not in state.retiring:
        return state
    return _next(state, retiring=tuple(v for v in state.retiring if v != version))


def _to(state: Desired, version: str, keep_warm: int) -> Desired:
    cleared = _without(state, version)
    before = tuple(v for v in (state.live, *cleared.standby) if v)
    warm, others = before[:keep_warm], before[keep_warm:]
    return _next(state, live=version, incoming="", standby=warm, retiring=(*cleared.retiring, *others))


def _without(state: Desired, version: str) -> Desired:
    """`state` with `version` on its way neither out nor kept warm."""
    retiring = tuple(v for v in state.retiring if v != version)
    return replace(state, retiring=retiring, standby=tuple(v for v in state.standby if v != version))


def _next(state: Desired, **changes: Any) -> Desired:
    return replace(state, generation=state.generation + 1, **changes)


def _check(version: str) -> None:
    if not VERSION.match(version):
        raise UsageError(f"{version!r} is not a version; versions are v1, v2, ...")
