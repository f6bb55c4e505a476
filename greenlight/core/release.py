"""What should serve, as one small document, and how it may change.

The document is written before each effect, so whoever finds it after a crash knows what to do: the version
under ``live`` is what must answer, ``incoming`` was not switched to yet, ``standby`` served before and is kept
warm, ``retiring`` is on its way out, ``rollout`` is a release by steps (`greenlight.core.rollout` moves it). It must
not know how servers are started or how traffic is switched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from greenlight.core.release_plan import Ended, Rollout, Wish
from greenlight.errors import UsageError

SCHEMA = 2
READ = (1, SCHEMA)
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
        How traffic moved last. ``full``: all at once.
    rollout : Rollout or None
        The release by steps that is under way.
    last : Ended or None
        How the last release by steps ended, as long as no other followed.
    next : Wish or None
        A release that waits for the end of the one under way.
    """

    generation: int = 0
    live: str = ""
    incoming: str = ""
    retiring: tuple[str, ...] = ()
    strategy: str = "full"
    standby: tuple[str, ...] = ()
    rollout: Rollout | None = None
    last: Ended | None = None
    next: Wish | None = None

    @property
    def candidate(self) -> str:
        """The version that is being released by steps, once it is warm; empty without one."""
        return self.rollout.version if self.rollout and self.rollout.warm else ""

    @property
    def running(self) -> tuple[str, ...]:
        """Versions that need servers: live, candidate, incoming, standby, retiring; each once."""
        wanted = (self.live, self.candidate, self.incoming, *self.standby, *self.retiring)
        return tuple(dict.fromkeys(v for v in wanted if v))

    def to_json(self) -> dict[str, Any]:
        """The document as JSON values."""
        lists = {"retiring": list(self.retiring), "standby": list(self.standby)}
        rollout = self.rollout.to_json() if self.rollout else None
        return {"schema": SCHEMA, **asdict(self), **lists, "rollout": rollout}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Desired:
        """Read the document back.

        Raises
        ------
        UsageError
            It was written by a newer Greenlight, or is not such a document.
        """
        if document.get("schema") not in READ:
            raise UsageError(f"the desired state has schema {document.get('schema')!r}, this code reads up to {SCHEMA}")
        state = cls(
            generation=int(document["generation"]),
            live=str(document["live"]),
            incoming=str(document["incoming"]),
            retiring=tuple(str(v) for v in document["retiring"]),
            strategy=str(document["strategy"]),
            standby=tuple(str(v) for v in document.get("standby", ())),
            rollout=Rollout.from_json(document["rollout"]) if document.get("rollout") else None,
            last=Ended(**document["last"]) if document.get("last") else None,
            next=Wish(**document["next"]) if document.get("next") else None,
        )
        for version in state.running:
            _check(version)
        if state.rollout and state.rollout.stable != state.live:
            raise UsageError(
                f"{state.rollout.version} is compared with {state.rollout.stable}, and {state.live} serves"
            )
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
    _alone(state)
    if version == state.live:
        raise UsageError(f"{version} serves already")
    return change(_without(state, version), incoming=version)


def switch(state: Desired, *, keep_warm: int = 0) -> Desired:
    """All traffic goes to the incoming version; this is the point of no return.

    The one before it stays on standby, and so do those before that, up to `keep_warm` of them; the others retire.
    """
    if not state.incoming:
        raise UsageError("no version is on its way in, nothing to switch to")
    _alone(state)
    return take_over(state, state.incoming, keep_warm)


def switch_back(state: Desired, version: str, *, keep_warm: int = 0) -> Desired:
    """All traffic goes to a version on standby, whose servers run."""
    if version not in state.standby:
        raise UsageError(f"{version} is not on standby")
    _alone(state)
    return take_over(state, version, keep_warm)


def cool(state: Desired, version: str) -> Desired:
    """`version` is no longer on standby: its servers are stopped, or do not run as they should."""
    if version not in state.standby:
        return state
    return change(state, standby=tuple(v for v in state.standby if v != version), retiring=(*state.retiring, version))


def abandon(state: Desired) -> Desired:
    """The incoming version does not come in; whatever serves keeps serving."""
    if not state.incoming:
        return state
    given_up = state.rollout is not None and not state.rollout.warm
    return change(state, incoming="", rollout=None if given_up else state.rollout)


def retire(state: Desired, version: str) -> Desired:
    """`version` has stopped."""
    if version not in state.retiring:
        return state
    return change(state, retiring=tuple(v for v in state.retiring if v != version))


def take_over(state: Desired, version: str, keep_warm: int) -> Desired:
    """All traffic goes to `version`, whose servers run; a step of `switch`, `switch_back` and of a promotion."""
    cleared = _without(state, version)
    before = tuple(v for v in (state.live, *cleared.standby) if v)
    warm, others = before[:keep_warm], before[keep_warm:]
    retiring = (*cleared.retiring, *others)
    return change(state, live=version, incoming="", standby=warm, retiring=retiring, last=None)


def change(state: Desired, **changes: Any) -> Desired:
    """`state` with `changes`, one generation on."""
    return replace(state, generation=state.generation + 1, **changes)


def _alone(state: Desired) -> None:
    if state.rollout is not None:
        raise UsageError(
            f"a release is under way: {state.rollout.where}", todo="greenlight release --abort ends it, --supersede too"
        )


def _without(state: Desired, version: str) -> Desired:
    """`state` with `version` on its way neither out nor kept warm."""
    retiring = tuple(v for v in state.retiring if v != version)
    return replace(state, retiring=retiring, standby=tuple(v for v in state.standby if v != version))


def _check(version: str) -> None:
    if not VERSION.match(version):
        raise UsageError(f"{version!r} is not a version; versions are v1, v2, ...")
