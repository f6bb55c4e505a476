"""A release as data: the steps that a candidate takes towards all traffic, where it stands, and how it ended.

Weights are in hundredths of a percent (1/10,000), as the edge counts them. It must not know how traffic is moved, nor
what speaks for a candidate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from greenlight.core.assignment import TOTAL
from greenlight.errors import UsageError

KINDS = ("shadow", "canary", "ab", "full")
OUTCOMES = ("promoted", "rolled_back", "aborted", "superseded", "given_up")
SALT = re.compile(r"^[A-Za-z0-9._-]{0,64}$")


@dataclass(frozen=True)
class Step:
    """One step of a release.

    Attributes
    ----------
    kind : str
        ``shadow``: the candidate gets copies and its answers go nowhere. ``canary``: it answers a share of the
        requests. ``ab``: it answers a share of the keys. ``full``: it takes over; the last step of every plan.
    weight : int
        The candidate's share of what users ask, 0 to 10,000.
    mirror : int
        The share of requests that it gets a copy of, 0 to 10,000.
    sticky : bool
        Whether a key always meets the same version.
    min_requests : int
        Requests of the candidate that this step must see before it is left.
    min_seconds : float
        How long this step lasts at least.
    hypothesis : str
        Of an A/B test: what it is to show.

    Raises
    ------
    UsageError
        A number outside its range; a mirror and a weight at once, by which the candidate's own users would ask it
        twice; a step that lets requests through and waits for none.
    """

    kind: str
    weight: int = 0
    mirror: int = 0
    sticky: bool = False
    min_requests: int = 0
    min_seconds: float = 0.0
    hypothesis: str = ""

    def __post_init__(self) -> None:
        """Check what no plan may contain."""
        if self.kind not in KINDS:
            raise UsageError(f"{self.kind!r} is no step of a release; steps are {', '.join(KINDS)}")
        if not (0 <= self.weight <= TOTAL and 0 <= self.mirror <= TOTAL):
            raise UsageError(f"{self.kind}: weight {self.weight}, mirror {self.mirror}; each is 0 to {TOTAL}")
        if self.weight and self.mirror:
            raise UsageError(
                f"{self.kind}: a weight of {self.weight} and a mirror of {self.mirror} at once",
                todo="mirror in a step of its own; a candidate's users would ask it twice otherwise",
            )
        wanted = {"shadow": self.mirror, "canary": self.weight, "ab": self.weight, "full": self.weight == TOTAL}
        if not wanted[self.kind]:
            raise UsageError(
                f"{self.kind}: weight {self.weight}, mirror {self.mirror}: the candidate would get nothing"
            )
        if self.kind != "full" and self.min_requests < 1:
            raise UsageError(
                f"{self.kind}: at least {self.min_requests} requests; a step waits for 1 or more",
                todo="a candidate that nobody has asked anything is not healthy, it is silent",
            )
        if not 0 <= self.min_seconds < float("inf"):
            raise UsageError(f"{self.kind}: at least {self.min_seconds} seconds")

    @property
    def name(self) -> str:
        """For people, such as ``canary 5 %``."""
        share = self.mirror if self.kind == "shadow" else self.weight
        return self.kind if self.kind == "full" else f"{self.kind} {share / 100:g} %"


FULL = Step("full", weight=TOTAL)


@dataclass(frozen=True)
class Rollout:
    """A release under way.

    Attributes
    ----------
    version : str
        The candidate.
    stable : str
        What serves meanwhile, and what it is compared with.
    strategy : str
        As it was asked for.
    steps : tuple[Step, ...]
        The last one is ``full``.
    begun, since : float
        Seconds since the epoch: when the release began, and its present step.
    step : int
        Index of the present step.
    warm : bool
        The candidate is loaded, verified and answers; before that it has no label and no traffic.
    paused : bool
        A person holds it: the traffic stays as it is, and nothing but a roll back moves it.
    waits_for : str
        What the release lacked when nobody drove it on any more; a canary has no users until it is driven again.
    salt : str
        Of the keys; another release shuffles them anew.
    """

    version: str
    stable: str
    strategy: str
    steps: tuple[Step, ...]
    begun: float = 0.0
    since: float = 0.0
    step: int = 0
    warm: bool = False
    paused: bool = False
    waits_for: str = ""
    salt: str = ""

    def __post_init__(self) -> None:
        """Check what no release may be."""
        if not self.steps or self.steps[-1].kind != "full" or any(s.kind == "full" for s in self.steps[:-1]):
            raise UsageError(f"the plan {self.strategy!r} does not end with its only step `full`")
        if not 0 <= self.step < len(self.steps) - 1:
            raise UsageError(f"step {self.step} of {len(self.steps)}: the last one, full, ends the release")
        if not SALT.match(self.salt):
            raise UsageError(f"the salt {self.salt!r} has other characters than letters, digits, dot, - and _")
        if self.version == self.stable or not self.stable:
            raise UsageError(f"{self.version} cannot be compared with {self.stable or 'nothing'}")

    @property
    def current(self) -> Step:
        """The present step."""
        return self.steps[self.step]

    @property
    def is_last(self) -> bool:
        """Whether the next step is all traffic."""
        return self.step + 1 == len(self.steps) - 1

    @property
    def exposed(self) -> bool:
        """Whether the candidate has users or copies now."""
        return self.warm and not (self.waits_for and self.current.kind == "canary")

    @property
    def id(self) -> str:
        """Names this release among all of the same version."""
        return f"{self.version}-{self.begun:.3f}"

    @property
    def where(self) -> str:
        """For people: which version, which step of how many."""
        if not self.warm:
            return f"{self.version} is getting ready"
        return f"{self.version} at step {self.step + 1} of {len(self.steps)}, {self.current.name}"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "steps": [asdict(step) for step in self.steps]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Rollout:
        """Read it back.

        Raises
        ------
        UsageError
            It is none.
        """
        try:
            return cls(**{**document, "steps": tuple(Step(**step) for step in document["steps"])})
        except (TypeError, KeyError) as exc:
            raise UsageError(f"the release under way cannot be read: {exc!r}") from exc


@dataclass(frozen=True)
class Ended:
    """How the last release by steps ended.

    Attributes
    ----------
    version, stable : str
        The candidate, and what it was compared with.
    outcome : str
        ``promoted``, ``rolled_back`` (the evidence said no), ``aborted`` (a person did), ``superseded`` (by a newer
        version), ``given_up`` (it never got warm).
    reason : str
    at : float
        Seconds since the epoch.
    begun : float
        When it had begun; with `version` it names the release.
    """

    version: str
    stable: str
    outcome: str
    reason: str
    at: float
    begun: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Wish:
    """A release that waits for its turn.

    Attributes
    ----------
    version : str
    strategy : str
        As it was asked for; empty: what params.yaml says when its turn comes.
    instead_of : str or None
        The version that it was compared with; it takes the traffic from no other.
    """

    version: str
    strategy: str = ""
    instead_of: str | None = None


def parse(strategy: str, plan: Sequence[str]) -> tuple[str, ...]:
    """The kinds of step that a strategy names, ``full`` at the end.

    Parameters
    ----------
    strategy : str
        ``full``, ``shadow``, ``canary``, ``ab``, several of them with commas, or ``plan``.
    plan : sequence of str
        What ``plan`` stands for.

    Raises
    ------
    UsageError
        It names something else, or a kind twice.
    """
    kinds = [word for part in strategy.split(",") for word in _words(part.strip(), plan)]
    if not kinds:
        raise UsageError("the strategy is empty", todo=f"name one of {', '.join(KINDS)}, several with commas, or plan")
    if "full" not in kinds:
        kinds.append("full")
    if len(set(kinds)) < len(kinds) or kinds[-1] != "full":
        raise UsageError(f"the strategy {strategy!r} names a step twice, or one after full")
    return tuple(kinds)


def _words(part: str, plan: Sequence[str]) -> Iterator[str]:
    if part == "plan":
        yield from plan
    elif part in KINDS:
        yield part
    elif part:
        raise UsageError(
            f"{part!r} is no strategy", todo=f"name one of {', '.join(KINDS)}, several with commas, or plan"
        )
