"""What is watched in a release, and what each watch says in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from greenlight.core.comparison import Comparison
from greenlight.core.rate_bound import Rate
from greenlight.errors import UsageError

Decision = Literal["promote", "roll_back", "undecided"]
State = Literal["worse", "fine", "open"]

ROUTES = 2  # to "fine": not worse than the stable version, or rare enough by itself; they share the chance of an error


@dataclass(frozen=True)
class Measure:
    """One thing that is watched.

    Attributes
    ----------
    name : str
        Such as ``failures``, ``slow``, ``invalid``, ``labels``.
    margin : float
        Above 0: the candidate may do it this many times as often as the stable version before that speaks for a roll
        back.
    not_worse_margin : float
        At least `margin`: below this ratio it counts as not worse.
    ceiling : float or None
        0 to 1, excluded: a rate of the candidate below it is fine by itself, whatever the stable version does. None:
        only the comparison counts, which takes long where both are healthy.
    share : float
        Above 0: its part of alpha, relative to the other measures'.
    needed : bool
        False: it can roll back, but promotion does not wait for it (late labels, where they come too late).
    paired : bool
        True where both versions answered the same requests (shadow) and failures are discordant pairs.
    labelled : bool
        True where only answers whose truth is known are judged; as of pairs, `Guard.observe` counts none of them.
    least : int or None
        At least 1: how many must be judged before promotion, where it is needed; None: the guard's least requests.
    """

    name: str
    margin: float = 1.25
    not_worse_margin: float = 2.0
    ceiling: float | None = None
    share: float = 1.0
    needed: bool = True
    paired: bool = False
    labelled: bool = False
    least: int | None = None

    def __post_init__(self) -> None:
        """Check what `Comparison` does not."""
        if not self.name:
            raise UsageError("a measure of the guard has no name")
        if self.ceiling is not None and not 0 < self.ceiling < 1:
            raise UsageError(f"the ceiling of {self.name} is {self.ceiling}, it lies between 0 and 1")
        if not 0 < self.share < float("inf"):
            raise UsageError(f"the share of {self.name} is {self.share}, it lies above 0")
        if self.least is not None and self.least < 1:
            raise UsageError(f"the least number of {self.unit} for {self.name} is {self.least}, it is at least 1")

    @property
    def unit(self) -> str:
        """What is judged, in the plural."""
        kind = "pairs" if self.paired else "requests"
        return {"pairs": "labelled pairs", "requests": "labelled answers"}[kind] if self.labelled else kind


@dataclass(frozen=True)
class Finding:
    """What one measure says.

    Attributes
    ----------
    name : str
    state : str
        ``worse``, ``fine`` or ``open``.
    why : str
        One sentence for a person.
    evidence_worse, evidence_not_worse : float
        As they stand.
    upper : float
        Upper confidence bound of the candidate's own rate; 1 where nothing is known.
    """

    name: str
    state: State
    why: str
    evidence_worse: float
    evidence_not_worse: float
    upper: float


@dataclass(frozen=True)
class GuardVerdict:
    """The answer, and what it rests on.

    Attributes
    ----------
    decision : str
        ``promote``, ``roll_back`` or ``undecided``. Undecided is no answer to wait for for ever: after the time that
        the plan grants it is a person's turn.
    reasons : tuple of str
        Sentences: what was shown, or what is missing.
    findings : tuple of Finding
        One per measure.
    """

    decision: Decision
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def find(measure: Measure, its: Comparison, judged: int, alpha_promote: float) -> Finding:
    """What one measure says.

    Parameters
    ----------
    its : Comparison
        Of this measure.
    judged : int
        Requests or pairs of the candidate that this measure was told of.
    alpha_promote : float
        For "fine", halved between the two ways to be so.
    """
    alpha = alpha_promote / ROUTES
    failed = its.candidate_failures
    # More failures than requests: the exposure was not reported in full, and no rate can be told from it.
    rate = Rate(judged, failed) if failed <= judged else None
    state, why = _words(measure, its, rate, alpha)
    upper = rate.upper(alpha) if rate else 1.0
    return Finding(measure.name, state, why, its.evidence_worse, its.evidence_not_worse, upper)


def _words(measure: Measure, its: Comparison, rate: Rate | None, alpha: float) -> tuple[State, str]:
    """The state of a measure and the sentence for it."""
    name, unit = measure.name, measure.unit
    answer = its.at(its.alpha, alpha)
    counts = f"{its.candidate_failures} of {its.failures} were the candidate's"
    if answer == "worse":
        return "worse", (
            f"{name}: more than {measure.margin:g} times as often as in the stable version ({counts}; "
            f"a false alarm of this kind has a chance of at most {its.alpha:.2g} over the whole release)"
        )
    if rate is None:
        return "open", f"{name}: {its.candidate_failures} failures, but fewer {unit} were reported; the counts disagree"
    if answer == "not_worse":
        return (
            "fine",
            f"{name}: less than {measure.not_worse_margin:g} times as often as in the stable version ({counts})",
        )
    if measure.labelled and not (rate.trials or its.failures):
        return "open", f"{name}: no {unit} yet"
    seen = f"{its.candidate_failures} in {rate.trials} {unit}"
    if measure.ceiling is None and measure.labelled:
        return "open", f"{name}: {seen}; too few to tell ({counts})"
    if measure.ceiling is None:
        return "open", f"{name}: too few to tell ({counts}), and no ceiling is set"
    if rate.below(measure.ceiling, alpha):
        return "fine", f"{name}: {seen}, shown to be below {measure.ceiling:.2%} (at most {rate.upper(alpha):.2%})"
    more = rate.trials_to_go(measure.ceiling, alpha)
    wait = f"{more} more without one would show it below {measure.ceiling:.2%}" if more else ""
    return "open", f"{name}: {seen}; {wait or 'no number of requests would tell'}"
