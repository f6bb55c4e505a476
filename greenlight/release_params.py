"""Section ``release`` of params.yaml: which steps a version takes to the traffic, and what is asked of it on the way.

A key that was added later has a default, so that the params.yaml of an older commit is still understood.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from greenlight.limits import Section

Percent = Annotated[float, Field(gt=0, le=100)]
Kind = Literal["shadow", "canary", "ab", "full"]
STRATEGY = re.compile(r"^\s*(plan|shadow|canary|ab|full)(\s*,\s*(plan|shadow|canary|ab|full))*\s*$")
LEAST_LABELS = (
    50  # of each version: tests/proof/test_simulated_labels.py says how often the interval misses from there on
)
SMALLEST_PERCENT = 0.01  # the edge counts in 1/10,000


class ShadowParams(Section):
    """The candidate gets copies; users wait for the stable version only.

    Attributes
    ----------
    percent : float
        Of the requests that are copied.
    min_requests, min_seconds
        Copies, and time, that this step takes at least.
    max_missing : float or None
        Share of the requests that the candidate may not have answered at all; None asks nothing, as in the others.
    max_flips : float or None
        Share of the rows whose decision may differ.
    far, max_far : float, float or None
        Share of the rows whose probabilities may be more than `far` apart.
    max_slice_flips : float or None
        As `max_flips`, in any one part of the rows.
    min_labels : int
        Pairs of answers whose truth must be known before this step is left; 0 waits for none.
    wrong_margin : float
        Of the rows that only one version got right: the candidate may be the wrong one so many times as often as the
        stable version before that speaks for a roll back.
    """

    percent: Percent = 100
    min_requests: int = Field(default=200, ge=1)
    min_seconds: float = Field(default=30, ge=0)
    max_missing: float | None = Field(default=0.05, gt=0, lt=1)
    max_flips: float | None = Field(default=0.10, gt=0, lt=1)
    far: float = Field(default=0.20, ge=0, le=1)
    max_far: float | None = Field(default=0.05, gt=0, lt=1)
    max_slice_flips: float | None = Field(default=0.30, gt=0, lt=1)
    min_labels: int = Field(default=0, ge=0)
    wrong_margin: float = Field(default=1.5, ge=1)


class CanaryParams(Section):
    """The candidate answers a growing share.

    Attributes
    ----------
    percent : list of float
        One step each, growing.
    min_requests, min_seconds
        Requests of the candidate, and time, that each step takes at least.
    sticky : bool
        Whether a client that sends ``x-greenlight-key`` stays with one version.
    """

    percent: list[Percent] = Field(default=[1, 5, 25, 50, 100], min_length=1)
    min_requests: int = Field(default=100, ge=1)
    min_seconds: float = Field(default=30, ge=0)
    sticky: bool = False

    @field_validator("percent")
    @classmethod
    def _growing(cls, value: list[float]) -> list[float]:
        if sorted(set(value)) != value:
            raise ValueError(f"{value} does not grow from step to step")
        if value[0] < SMALLEST_PERCENT:
            raise ValueError(f"{value[0]} is below {SMALLEST_PERCENT}, the least that the edge can share out")
        return value


class AbParams(Section):
    """The candidate answers a share of the keys, for as long as it takes to learn which version is better.

    Attributes
    ----------
    percent : float
        Of the keys; what sends none goes to either version by chance.
    min_requests : int
        Requests of the candidate, at least.
    days : float
        How long it lasts at least.
    hypothesis : str
        What it is to show; recorded with the result.
    metric : str
        What is compared, averaged for each key first: ``accuracy`` of the decisions, or ``log_loss`` of the
        probabilities.
    min_labels : int
        Keys of each version with at least one label before anything is decided; 0: the test does not wait for labels.
    margin : float
        By so much the candidate may be worse in the metric and still count as not worse.
    confidence : float
        Of the interval, at all looks together.
    salt : str
        Shuffles the keys; empty: another one for each release.
    """

    percent: float = Field(default=50, ge=SMALLEST_PERCENT, lt=100)
    min_requests: int = Field(default=1000, ge=1)
    days: float = Field(default=7, ge=0)
    hypothesis: str = ""
    metric: Literal["accuracy", "log_loss"] = "accuracy"
    min_labels: int = Field(default=500, ge=0)
    margin: float = Field(default=0.02, ge=0, lt=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    salt: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")

    @field_validator("min_labels")
    @classmethod
    def _enough(cls, value: int) -> int:
        if 0 < value < LEAST_LABELS:
            raise ValueError(f"{value} is below {LEAST_LABELS}, from where on the interval keeps its promise; or 0")
        return value


class GuardParams(Section):
    """When a candidate is rolled back, and when it has shown enough.

    Attributes
    ----------
    alpha : float
        The chance that a candidate which is worse in nothing is rolled back, over the whole release.
    margin, not_worse_margin : float
        It may fail (be slow) so many times as often as the stable version before that speaks for a roll back; below
        the second it counts as not worse.
    max_failures, max_slow : float
        Shares of the requests below which it is fine whatever the stable version does.
    min_requests : int
        Requests of the candidate in the whole release, at least.
    wrong_margin, wrong_not_worse_margin : float
        As the first two, of decisions that late labels say were wrong.
    max_wrong : float or None
        As `max_failures`, of those; None: only the comparison counts.
    min_labels : int
        Labelled answers of a canary without which it is not promoted; 0: labels may roll it back, and nothing waits
        for them.
    """

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    margin: float = Field(default=1.25, ge=1)
    not_worse_margin: float = Field(default=2.0, ge=1)
    max_failures: float = Field(default=0.01, gt=0, lt=1)
    max_slow: float = Field(default=0.05, gt=0, lt=1)
    min_requests: int = Field(default=300, ge=1)
    wrong_margin: float = Field(default=1.1, ge=1)
    wrong_not_worse_margin: float = Field(default=1.5, ge=1)
    max_wrong: float | None = Field(default=None, gt=0, lt=1)
    min_labels: int = Field(default=0, ge=0)

    @field_validator("not_worse_margin", "wrong_not_worse_margin")
    @classmethod
    def _in_order(cls, value: float, info: ValidationInfo) -> float:
        name = str(info.field_name).replace("not_worse_", "")
        margin = info.data.get(name, 1)
        if value < margin:
            raise ValueError(f"{value} is below {name}, {margin}")
        return value


class ReleaseParams(Section):
    """How a version takes over the traffic, and how many that served before keep their servers.

    Attributes
    ----------
    strategy : str
        ``full``, ``shadow``, ``canary``, ``ab``, several of them with commas, or ``plan``. All end with all traffic.
    plan : list of str
        What ``plan`` stands for.
    drain_s : float
        How long the old version finishes what it has begun.
    keep_warm : int
        Versions that served before and keep their servers.
    look_s : float
        Seconds between two looks at the evidence.
    patience_s : float
        A release whose candidate was asked nothing for so long ends as `Waiting`.
    quiet_s : float
        So does one that a retrain drives, as soon as nobody asked for a prediction for so long.
    longest_s : float
        So does one that is undecided for so long, once its step has lasted as long as it must.
    newer : str
        What a retrain's version does where another one stands at a step and nobody drives it: ``supersede`` ends that
        release, ``wait`` waits for its end.
    """

    strategy: str = "plan"
    plan: list[Kind] = Field(default=["shadow", "canary", "full"], min_length=1)
    drain_s: float = Field(ge=0, le=600)
    keep_warm: int = Field(default=1, ge=0, le=5)
    look_s: float = Field(default=1, ge=0.1, le=60)
    patience_s: float = Field(default=600, gt=0)
    quiet_s: float = Field(default=30, gt=0)
    longest_s: float = Field(default=86_400, gt=0)
    newer: Literal["supersede", "wait"] = "supersede"
    shadow: ShadowParams = ShadowParams()
    canary: CanaryParams = CanaryParams()
    ab: AbParams = AbParams()
    guard: GuardParams = GuardParams()

    @field_validator("strategy")
    @classmethod
    def _known(cls, value: str) -> str:
        if not STRATEGY.match(value):
            raise ValueError(f"{value!r}: full, shadow, canary, ab, several of them with commas, or plan")
        return value
