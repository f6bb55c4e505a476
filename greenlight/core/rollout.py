"""The state machine of a release by steps: every move as a pure function over the desired state.

::

    begin ──► getting ready ──warmed──► step 1 ──advance──► step 2 ... ──promote──► all traffic
                   │                      │  ▲
                abandon            pause │  │ resume        wait / proceed
                   ▼                      ▼  │
               given_up               rolled_back, aborted, superseded (from every step)

The document is saved before its effect, and each state says by itself what the edge must do (`traffic`). So whoever
finds it after a crash can bring the edge there, and no state has users on a version that is not warm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from greenlight.core.assignment import TOTAL
from greenlight.core.release import Desired, begin, change, take_over
from greenlight.core.release_plan import Ended, Rollout, Step, Wish
from greenlight.errors import UsageError


@dataclass(frozen=True)
class Traffic:
    """What the edge must do.

    Attributes
    ----------
    stable : str
        Answers whatever is left; empty: nothing is live.
    candidate : str
        Empty without a release under way.
    weight, mirror : int
        The candidate's share of requests, and of copies; 0 to 10,000, not both.
    sticky : bool
        Whether the split goes by a key.
    salt : str
        Of the keys.
    addressable : tuple[str, ...]
        Versions that answer a request which names them.

    Raises
    ------
    UsageError
        A share without a candidate, or mirror and weight at once.
    """

    stable: str
    candidate: str = ""
    weight: int = 0
    mirror: int = 0
    sticky: bool = False
    salt: str = ""
    addressable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what the edge must never be told."""
        if not (0 <= self.weight <= TOTAL and 0 <= self.mirror <= TOTAL) or (self.weight and self.mirror):
            raise UsageError(f"weight {self.weight} and mirror {self.mirror}: each 0 to {TOTAL}, one of them 0")
        if (self.weight or self.mirror) and not (self.candidate and self.stable):
            raise UsageError("a share of the traffic for no candidate, or beside nothing stable")


def traffic(state: Desired) -> Traffic:
    """What the edge must do in this state."""
    candidate = state.candidate
    addressable = tuple(dict.fromkeys(v for v in (state.live, candidate, *state.standby) if v))
    rollout = state.rollout
    if rollout is None or not rollout.exposed:
        return Traffic(state.live, candidate, addressable=addressable)
    step = rollout.current
    return Traffic(state.live, candidate, step.weight, step.mirror, step.sticky, rollout.salt, addressable)


def begin_rollout(
    state: Desired, version: str, steps: Sequence[Step], *, strategy: str, salt: str, now: float
) -> Desired:
    """`version` is about to get ready for its first step; it has no traffic and no label yet.

    Parameters
    ----------
    steps : sequence of Step
        At least two; the last one is ``full``.
    now : float
        Seconds since the epoch.

    Raises
    ------
    UsageError
        Another release is under way; nothing serves that it could be compared with; it serves already.
    """
    if state.rollout is not None:
        raise UsageError(
            f"a release is under way: {state.rollout.where}", todo="greenlight release --abort ends it, --supersede too"
        )
    if not state.live:
        raise UsageError("nothing serves yet; the first release goes to all traffic at once")
    rollout = Rollout(version, state.live, strategy, tuple(steps), begun=now, since=now, salt=salt)
    return change(begin(state, version), rollout=rollout, next=_without(state.next, version))


def warmed(state: Desired, now: float) -> Desired:
    """The version is loaded, verified and answers: it is the candidate now, and its first step begins."""
    rollout = _rollout(state)
    if state.incoming != rollout.version:
        raise UsageError(f"{rollout.version} is not getting ready")
    return change(state, incoming="", rollout=replace(rollout, warm=True, step=0, since=now))


def advance(state: Desired, now: float) -> Desired:
    """The next step begins; from the last one before ``full`` there is only `promote`."""
    rollout = _warm(state)
    if rollout.is_last:
        raise UsageError(f"{rollout.where}: the next step is all traffic")
    return change(state, rollout=replace(rollout, step=rollout.step + 1, since=now, waits_for=""))


def promote(state: Desired, *, keep_warm: int, reason: str, now: float) -> Desired:
    """All traffic goes to the candidate; this is the point of no return."""
    rollout = _warm(state)
    ended = _ended(rollout, "promoted", reason, now)
    return change(take_over(change(state, rollout=None), rollout.version, keep_warm), last=ended)


def pause(state: Desired) -> Desired:
    """A person holds the release: the traffic stays as it is."""
    rollout = _warm(state)
    return state if rollout.paused else change(state, rollout=replace(rollout, paused=True))


def resume(state: Desired) -> Desired:
    """The release may go on."""
    rollout = _warm(state)
    return change(state, rollout=replace(rollout, paused=False)) if rollout.paused else state


def wait(state: Desired, what: str) -> Desired:
    """Nobody drives the release on for the moment; a canary has no users until it is driven again."""
    rollout = _warm(state)
    return state if rollout.waits_for == what else change(state, rollout=replace(rollout, waits_for=what))


def proceed(state: Desired) -> Desired:
    """Somebody drives the release again: the candidate has its share of the present step."""
    rollout = _warm(state)
    return change(state, rollout=replace(rollout, waits_for="")) if rollout.waits_for else state


def end(state: Desired, outcome: str, reason: str, now: float) -> Desired:
    """The candidate does not come in: all traffic is the stable version's, from whatever step.

    Parameters
    ----------
    outcome : str
        ``rolled_back``, ``aborted``, ``superseded`` or ``given_up``.
    """
    rollout = _rollout(state)
    if outcome not in ("rolled_back", "aborted", "superseded", "given_up"):
        raise UsageError(f"{outcome!r} is no end of a release that does not come in")
    retiring = tuple(v for v in state.retiring if v != rollout.version)
    return change(
        state,
        incoming="",
        rollout=None,
        retiring=(*retiring, rollout.version),
        last=_ended(rollout, outcome, reason, now),
    )


def enqueue(state: Desired, wish: Wish) -> Desired:
    """`wish` waits for the end of the release that is under way; a newer wish takes an older one's place."""
    rollout = _rollout(state)
    if wish.version in (rollout.version, state.live):
        raise UsageError(f"{wish.version} is {'being released' if wish.version == rollout.version else 'live'} already")
    return state if state.next == wish else change(state, next=wish)


def dequeue(state: Desired) -> Desired:
    """Nothing waits for its turn any more."""
    return change(state, next=None) if state.next else state


def _without(wish: Wish | None, version: str) -> Wish | None:
    return None if wish and wish.version == version else wish


def _ended(rollout: Rollout, outcome: str, reason: str, now: float) -> Ended:
    return Ended(rollout.version, rollout.stable, outcome, reason, now, rollout.begun)


def _rollout(state: Desired) -> Rollout:
    if state.rollout is None:
        raise UsageError("no release is under way", todo="greenlight status says what serves")
    return state.rollout


def _warm(state: Desired) -> Rollout:
    rollout = _rollout(state)
    if not rollout.warm:
        raise UsageError(f"{rollout.version} is still getting ready", todo="ask again in a moment")
    return rollout
