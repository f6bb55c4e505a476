"""Policies over history: who decides what serves next, and what therefore served when.

A replayed month goes as in life: the serving model meets the month's rows before anybody knows their outcome; when the
month is over its labels are known, a candidate is trained with it as the holdout, and the policy says whether that
candidate serves from the next month on. Nothing here trains or reads; whoever does hands over a `Trained`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import yaml

from greenlight.errors import UsageError

Mode = Literal["never", "always", "gated"]
MODES: tuple[Mode, ...] = get_args(Mode)
SHIPPED = {"never": "never retrain", "always": "always deploy", "gated": "gated"}
OUTCOMES = {"promote": "Promoted", "reject": "KeptChampion", "inconclusive": "Inconclusive"}
DEPLOYED = ("Promoted", "Deployed")
_NEXT_KEY = re.compile(r",(?=\s*[a-z_]+(?:\.[a-z_]+)+\s*=)")


@dataclass(frozen=True)
class Policy:
    """Who decides, and with which parameters.

    Attributes
    ----------
    name : str
        Unique in one replay; what tables call it.
    mode : str
        ``never`` (the first model serves for ever), ``always`` (every candidate is released, whatever gates and
        contract say), ``gated`` (Greenlight).
    own : mapping of str to Any
        Parameters that it has otherwise than params.yaml, such as ``{"data.window_months": 3}``.
    """

    name: str
    mode: Mode
    own: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A candidate of one month, as one policy met it.

    Attributes
    ----------
    sha256 : str
        Of the booster: equal for the same model.
    as_of : str
        Its holdout.
    trained_on : tuple of str
    stopped_on : str
    trees : int
    """

    sha256: str
    as_of: str
    trained_on: tuple[str, ...]
    stopped_on: str
    trees: int

    @property
    def newest(self) -> str:
        """The newest month that its training or its holdout has touched."""
        return max((*self.trained_on, self.stopped_on, self.as_of))


@dataclass(frozen=True)
class Decision:
    """What a policy did at the end of a month.

    Attributes
    ----------
    month : str
        The holdout.
    outcome : str
        ``Promoted``, ``KeptChampion``, ``Inconclusive``, ``DataRejected``, ``Deployed`` (without asking) or
        ``NotRetrained``.
    reason : str
        In a sentence or two.
    candidate : Trained or None
    kept : Trained
        What served when it was taken.
    verdict : mapping or None
        The gates' answer as plain values; None where they were not asked.
    """

    month: str
    outcome: str
    reason: str
    candidate: Trained | None
    kept: Trained
    verdict: Mapping[str, Any] | None = None

    @property
    def released(self) -> bool:
        """Whether the candidate serves from the next month on."""
        return self.outcome in DEPLOYED


@dataclass
class Course:
    """One policy's way through the months.

    Attributes
    ----------
    policy : Policy
    first : Trained
        What serves from the first month on, as v1.
    served : dict of str to Trained
        By month.
    versions : dict of str to str
        Version that served, by month.
    decisions : list of Decision
        One a month, taken at its end.
    """

    policy: Policy
    first: Trained
    served: dict[str, Trained] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)

    @property
    def serving(self) -> Trained:
        """What serves now."""
        released = [d.candidate for d in self.decisions if d.released and d.candidate]
        return released[-1] if released else self.first

    @property
    def version(self) -> str:
        """What serves now, by the name that a registry would give it."""
        return f"v{1 + sum(d.released for d in self.decisions)}"

    def serve(self, month: str) -> Trained:
        """Let what serves now meet `month`.

        Raises
        ------
        ValueError
            Its training or its holdout has touched the month or anything newer: the replay would flatter it.
        """
        if self.serving.newest >= month:
            raise ValueError(f"the model that serves in {month} has seen {self.serving.newest}")
        self.served[month] = self.serving
        self.versions[month] = self.version
        return self.serving

    def decide(self, decision: Decision) -> None:
        """Note what was decided at the end of a month."""
        self.decisions.append(decision)


def shipped() -> tuple[Policy, ...]:
    """The two extremes and Greenlight's own."""
    return tuple(Policy(SHIPPED[mode], mode) for mode in MODES)


def parse(settings: Iterable[str]) -> tuple[Policy, ...]:
    """Policies as they are written on the command line, one a text.

    Examples
    --------
    >>> [(p.name, p.mode, p.own) for p in parse(["data.window_months=3,train.seed=7", "always:train.seed=7"])]
    [('data.window_months=3, train.seed=7', 'gated', {'data.window_months': 3, 'train.seed': 7}), \
('always: train.seed=7', 'always', {'train.seed': 7})]

    Raises
    ------
    UsageError
        A text is not of the form ``key=value,key=value``, is there twice, or its values are no YAML.
    """
    found: dict[str, Policy] = {}
    for text in settings:
        policy = _policy(text)
        if policy.name in found:
            raise UsageError(f"the policy {policy.name} is there twice", where="--set", todo="leave one of them out")
        found[policy.name] = policy
    return tuple(found.values())


def _policy(text: str) -> Policy:
    head, colon, rest = text.partition(":")
    named = next((mode for mode in MODES if colon and mode == head), None)
    mode, body = (named, rest) if named else ("gated", text)
    own: dict[str, Any] = {}
    for part in _NEXT_KEY.split(body):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key:
            raise UsageError(
                f"{text!r} is not of the form key=value or key=value,key=value",
                where="--set",
                todo="greenlight replay --set data.window_months=3,train.seed=7 --set always:train.seed=7",
            )
        try:
            own[key] = yaml.safe_load(value)
        except yaml.YAMLError as exc:
            raise UsageError(f"the value of {key} cannot be read: {exc}", where="--set") from exc
    name = ", ".join(f"{key}={value}" for key, value in own.items())
    return Policy(name if mode == "gated" else f"{mode}: {name}", mode, own)


def known_before(courses: Sequence[Course], month: str) -> dict[str, Trained]:
    """Every model that any policy had when `month` began, by hash: what a choice in hindsight could be made from."""
    found = {course.first.sha256: course.first for course in courses}
    for course in courses:
        for decision in course.decisions:
            if decision.candidate and decision.month < month:
                found[decision.candidate.sha256] = decision.candidate
    return {sha: trained for sha, trained in found.items() if trained.newest < month}
