"""What is known of a candidate, and what follows from it: go on, take over, go back, or wait and for what.

Sources (Envoy's counters, the prediction log) add what they saw since their last look; the whole is JSON, so that a
driver may be killed between any two looks and another one goes on. It must not know where a source looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from greenlight.core.eprocess import Guard, Rate
from greenlight.core.release_limits import ALONE, Limits
from greenlight.core.release_plan import Rollout
from greenlight.errors import UsageError

SCHEMA = 1
# Between two looks a driver may have been dead; so long at most counts as time under its eyes.
LONGEST_LOOK_S = 60.0

Move = Literal["advance", "promote", "roll_back", "hold"]


@dataclass(frozen=True, eq=False)
class Events:
    """Everything that one measure saw in the whole release.

    Attributes
    ----------
    mine : (n,) bool
        Failures in their order: True where it was the candidate's.
    routing : (n,) float64
        The chance that it would be, when the request came.
    judged : int
        Of the candidate's, failed or not.
    """

    mine: NDArray[np.bool_]
    routing: NDArray[np.float64]
    judged: int


@dataclass(frozen=True)
class Seen:
    """What one source saw since its last look.

    Attributes
    ----------
    requests, beside : int
        Of the candidate, and of the stable version in the same time; one source counts them.
    bad : mapping of str to (int, int)
        For each measure the candidate's and the stable version's.
    routing : float
        0 to 1: the chance of each of them to come from the candidate, were both alike.
    against : tuple of str
        Reasons to go back that need no statistics.
    lacks : tuple of str
        What must be there before this step is left.
    notes : mapping
        Figures for people.
    whole : mapping of str to Events
        For each measure that is read anew each time: all of it, in the place of what was told before.
    speaks : tuple of str
        What speaks for leaving this step, where the source has more to say than that nothing is missing.
    """

    requests: int = 0
    beside: int = 0
    bad: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    routing: float = 0.0
    against: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    whole: Mapping[str, Events] = field(default_factory=dict)
    speaks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """What follows.

    Attributes
    ----------
    move : str
        ``advance`` to the next step, ``promote``, ``roll_back``, or ``hold``.
    reasons : tuple of str
        What speaks for it; for ``hold`` what is waited for.
    """

    move: Move
    reasons: tuple[str, ...]


class Evidence:
    """Everything known of one release.

    Parameters
    ----------
    release : str
        `Rollout.id`; evidence of another release counts for nothing.
    limits : Limits
    slow_ms : float
        Above 0: an answer that takes longer is slow. Fixed before the first request of the candidate.
    """

    def __init__(self, release: str, limits: Limits, slow_ms: float) -> None:
        self.release = release
        self.limits = limits
        self.slow_ms = slow_ms
        self.guard = limits.guard()
        self.step = 0
        self.requests = 0
        self.seconds = 0.0
        self.looked_at = 0.0
        self.last_request_at = 0.0
        self.cursors: dict[str, Any] = {}
        self.notes: dict[str, Any] = {}
        self.against: tuple[str, ...] = ()
        self.lacks: dict[str, tuple[str, ...]] = {}
        self.speaks: dict[str, tuple[str, ...]] = {}
        self.beside: dict[str, int] = {"requests": 0}
        self.alone: dict[str, int] = {"requests": 0}

    def look(self, rollout: Rollout, now: float) -> None:
        """Time went by: call it before `add`, with seconds since the epoch."""
        if self.step != rollout.step:
            self.step, self.requests, self.seconds = rollout.step, 0, 0.0
        passed = min(max(0.0, now - self.looked_at), LONGEST_LOOK_S) if self.looked_at else 0.0
        self.looked_at = now
        if rollout.exposed:
            self.seconds += passed
            self.guard.observe(0, passed)

    def add(self, source: str, seen: Seen, cursor: Any, now: float) -> None:
        """What a source saw, and where it goes on the next time."""
        self.cursors[source] = cursor
        self.requests += seen.requests
        self.guard.observe(seen.requests, 0.0)
        if seen.requests:
            self.last_request_at = now
        for kept in (self.alone,) if seen.routing == 1 else (self.beside,):
            kept["requests"] += seen.requests if seen.routing == 1 else seen.beside
        for name, (its, others) in seen.bad.items():
            if name not in self.guard.measures:
                continue
            # Within one look their order is unknown. That the candidate's came last claims least: the evidence falls,
            # then grows to where it ends in any order, so that no peak in between is read into it.
            events = np.repeat([False, True], [others, its])
            self.guard.update(name, events, np.full(events.size, seen.routing))
            if seen.routing == 1:
                self.alone[name] = self.alone.get(name, 0) + its
            else:
                self.beside[name] = self.beside.get(name, 0) + others
        for name, told in seen.whole.items():
            if name in self.guard.measures:
                self.guard.retell(name, told.mine, told.routing, judged=told.judged)
        self.speaks[source] = seen.speaks
        self.against = (*self.against, *(why for why in seen.against if why not in self.against))
        self.lacks[source] = seen.lacks
        self.notes |= seen.notes

    def judge(self, rollout: Rollout) -> Judgement:
        """What follows from everything so far; may be asked as often as one likes."""
        verdict = self.guard.verdict()
        against = [*self.against, *self._alone()]
        if verdict.decision == "roll_back":
            against += verdict.reasons
        if against:
            return Judgement("roll_back", tuple(against))
        step, lacks = rollout.current, list[str]()
        if self.requests < step.min_requests:
            lacks.append(f"{self.requests} of {step.min_requests} requests to {rollout.version} in {step.name}")
        if self.seconds < step.min_seconds:
            lacks.append(f"{self.seconds:.0f} of {step.min_seconds:.0f} s in {step.name}")
        lacks += [why for reasons in self.lacks.values() for why in reasons]
        if rollout.is_last and verdict.decision != "promote":
            lacks += verdict.reasons
        if lacks:
            return Judgement("hold", tuple(lacks))
        speaks = tuple(why for reasons in self.speaks.values() for why in reasons)
        if rollout.is_last:
            return Judgement("promote", (*speaks, *verdict.reasons))
        passed = f"{self.requests} requests in {self.seconds:.0f} s, nothing speaks against it"
        return Judgement("advance", (*speaks, passed))

    def to_json(self) -> dict[str, Any]:
        """The whole state as JSON values."""
        plain = ("release", "slow_ms", "step", "requests", "seconds", "looked_at", "last_request_at")
        grown = ("cursors", "notes", "beside", "alone")
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in (*plain, *grown)},
            "against": list(self.against),
            "lacks": {name: list(reasons) for name, reasons in self.lacks.items()},
            "speaks": {name: list(reasons) for name, reasons in self.speaks.items()},
            "guard": self.guard.to_json(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any], limits: Limits) -> Evidence:
        """Read the state back; the limits that it was begun with stay.

        Raises
        ------
        UsageError
            It is not such a state, or was written by a newer Greenlight.
        """
        if document.get("schema") != SCHEMA:
            raise UsageError(f"the evidence has schema {document.get('schema')!r}, this code reads {SCHEMA}")
        try:
            found = cls(str(document["release"]), limits, float(document["slow_ms"]))
            found.guard = Guard.from_json(document["guard"])
            found.step, found.requests = int(document["step"]), int(document["requests"])
            found.seconds, found.looked_at = float(document["seconds"]), float(document["looked_at"])
            found.last_request_at = float(document["last_request_at"])
            found.cursors, found.notes = dict(document["cursors"]), dict(document["notes"])
            found.beside, found.alone = dict(document["beside"]), dict(document["alone"])
            found.against = tuple(document["against"])
            found.lacks = {name: tuple(reasons) for name, reasons in document["lacks"].items()}
            # Written by releases that labels can speak for; one that began before goes on without.
            found.speaks = {name: tuple(reasons) for name, reasons in document.get("speaks", {}).items()}
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise UsageError(f"the evidence of a release cannot be read: {exc!r}") from exc
        return found

    def _alone(self) -> list[str]:
        """With all traffic on the candidate its own rate counts, against what the stable version had before.

        `Rate.above` holds at all looks together, so this adds at most `ALONE` of alpha to the chance of a false roll
        back; the stable version's rate is taken at its upper bound.
        """
        requests, found = self.alone["requests"], []
        alpha = self.limits.alpha * ALONE / max(1, len(self.limits.ceilings)) / 2
        for name, ceiling in self.limits.ceilings.items():
            its = min(self.alone.get(name, 0), requests)
            if not its:
                continue
            before = Rate(self.beside["requests"], min(self.beside.get(name, 0), self.beside["requests"]))
            limit = max(ceiling, before.upper(alpha))
            if limit < 1 and Rate(requests, its).above(limit, alpha):
                found.append(f"{name}: {its} of {requests} requests with all traffic, shown to be above {limit:.2%}")
        return found
