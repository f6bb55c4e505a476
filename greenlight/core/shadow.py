"""Shadow: does the candidate answer as the stable version does, before any user sees it? go, no-go or undecided.

Every limit bounds how often something happens to a request (`greenlight.core.rate_bound`), so that the report may be
made anew as often as one likes while the shadow runs, and few requests never pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from greenlight.core import shadow_slices
from greenlight.core.check import Check
from greenlight.core.comparison import check_alpha
from greenlight.core.metrics import plain
from greenlight.core.rate_bound import Rate
from greenlight.core.shadow_pairs import Pairs, join, quantiles
from greenlight.core.shadow_slices import Slice
from greenlight.errors import UsageError

Decision = Literal["go", "no_go", "undecided"]

SPREAD = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
TIMES = (0.5, 0.95, 0.99)
SHOWN = 10  # worst rows, and slices
ROWS = "requests' rows"  # counted as a share of each request: rows that come together move together


class Question(NamedTuple):
    """What is asked of how many: ``<name>: 3 of 100 <of> <happened>``."""

    name: str
    of: str
    happened: str


@dataclass(frozen=True)
class ShadowLimits:
    """What is allowed. A share is one of requests; None leaves that question out.

    Attributes
    ----------
    min_joined : int
        At least 1: rows that both answered.
    max_missing : float or None
        Requests of the stable version that are not in the candidate's log: dropped at the edge, or it hangs.
    max_errors : float or None
        Requests that the stable version answered and the candidate did not (5xx, or no probability).
    max_flips : float or None
        Rows whose decision differs.
    far, max_far : float, float or None
        Rows whose scores are more than `far` apart.
    slow_ms, max_slow : float, float or None
        Requests that took the candidate more than `slow_ms` milliseconds.
    max_slice_flips : float or None
        Rows whose decision differs, in any one slice of at least `min_slice` rows.
    min_slice : int
        At least 2.
    alpha : float
        0 to 1, excluded. The chance, over all looks, of a go though a question has the wrong answer, and of a no-go
        though none has; split among the questions for the no-go.
    """

    min_joined: int = 500
    max_missing: float | None = 0.05
    max_errors: float | None = 0.01
    max_flips: float | None = 0.10
    far: float = 0.20
    max_far: float | None = 0.05
    slow_ms: float = 100.0
    max_slow: float | None = 0.05
    max_slice_flips: float | None = 0.30
    min_slice: int = 100
    alpha: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what is no limit."""
        check_alpha(self.alpha)
        for name, limit in asdict(self).items():
            if name.startswith("max_") and limit is not None and not 0 < limit < 1:
                raise UsageError(f"the limit {name} of the shadow is {limit}, a share between 0 and 1, or none")
        if self.min_joined < 1 or self.min_slice < 2 or not self.far >= 0 or not self.slow_ms > 0:
            raise UsageError(
                f"limits of the shadow: min_joined {self.min_joined} (at least 1), min_slice {self.min_slice} (at "
                f"least 2), far {self.far} (at least 0), slow_ms {self.slow_ms} (above 0)"
            )


@dataclass(frozen=True)
class ShadowReport:
    """What the shadow showed.

    Attributes
    ----------
    decision : str
        ``go``, ``no_go`` or ``undecided``.
    checks : tuple of Check
        Each question with its value, limit and a sentence.
    counts : dict
        ``rows`` and ``requests`` in both logs, ``only_stable``, ``only_candidate``, ``ambiguous`` requests,
        ``candidate_errors`` (where stable answered), ``stable_errors`` (where the candidate answered), ``both_failed``,
        ``flips``, ``flips_to_yes``.
    difference : dict
        Quantiles of the score difference, candidate minus stable: ``p0`` to ``p100``, and ``mean_absolute``.
    latency : dict
        ``stable``, ``candidate`` and ``difference`` in ms, quantiles over requests in both logs; ``slower``: share of
        the pairs in which the candidate took longer.
    worst : tuple of dict
        The ten rows whose scores are furthest apart.
    slices : tuple of Slice
        The ten slices that most surely differ more than the rest.
    slices_looked_at : int
    """

    decision: Decision
    checks: tuple[Check, ...]
    counts: dict[str, int]
    difference: dict[str, float]
    latency: dict[str, Any]
    worst: tuple[dict[str, Any], ...]
    slices: tuple[Slice, ...]
    slices_looked_at: int

    @property
    def reasons(self) -> tuple[str, ...]:
        """Sentences for the decision: what said no, else what is missing, else what was shown."""
        for answer in (False, None, True):
            found = tuple(check.explanation for check in self.checks if check.passed is answer)
            if found:
                return found
        return ()

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "decision": self.decision,
            "reasons": list(self.reasons),
            "checks": [check.to_json() for check in self.checks],
            "counts": self.counts,
            "difference": plain(self.difference),
            "latency": plain(self.latency),
            "worst": [plain(row) for row in self.worst],
            "slices": [plain(its.to_json()) for its in self.slices],
            "slices_looked_at": self.slices_looked_at,
        }


def compare(stable: pl.DataFrame, candidate: pl.DataFrame, limits: ShadowLimits | None = None) -> ShadowReport:
    """Compare both versions' answers to the same requests.

    Parameters
    ----------
    stable, candidate : DataFrame
        Of the prediction log, from the start of the shadow on; see `greenlight.core.shadow_pairs.join`.
    limits : ShadowLimits, optional

    Raises
    ------
    UsageError
        A frame is not one of the prediction log.
    """
    allowed = limits or ShadowLimits()
    pairs = join(stable, candidate)
    slices = shadow_slices.find(pairs, min_rows=allowed.min_slice)
    checks = tuple(_checks(pairs, slices, allowed))
    answers = {check.passed for check in checks}
    decision: Decision = "no_go" if False in answers else "undecided" if None in answers else "go"
    apart = pairs.rows["difference"]
    spread = quantiles(apart, SPREAD)
    return ShadowReport(
        decision,
        checks,
        _counts(pairs),
        spread | ({"mean_absolute": float(np.abs(apart.to_numpy()).mean())} if spread else {}),
        _latency(pairs),
        tuple(_worst(pairs)),
        tuple(slices[:SHOWN]),
        len(slices),
    )


def _checks(pairs: Pairs, slices: list[Slice], limits: ShadowLimits) -> Iterator[Check]:
    joined, flips = pairs.rows.height, pairs.rows["flip"].to_numpy()
    far = pairs.rows["difference"].abs().to_numpy() > limits.far
    yield Check(
        "joined",
        "Are there enough rows that both versions answered?",
        True if joined >= limits.min_joined else None,
        float(joined),
        float(limits.min_joined),
        explanation=f"{joined} rows were answered by both versions, at least {limits.min_joined} are needed",
    )
    both = pairs.requests
    answered = both.filter(~pl.col("stable_failed"))
    took = both["candidate_ms"].drop_nulls()
    asked = [
        (
            Question("missing", "requests", "are not in the candidate's log"),
            Rate(both.height + pairs.only_stable, pairs.only_stable),
            limits.max_missing,
        ),
        (
            Question("errors", "requests that stable answered", "failed in the candidate"),
            Rate(answered.height, int(answered["candidate_failed"].sum())),
            limits.max_errors,
        ),
        (Question("flips", ROWS, "got another decision"), pairs.rate(flips), limits.max_flips),
        (Question("far", ROWS, f"got a score more than {limits.far:g} apart"), pairs.rate(far), limits.max_far),
        (
            Question("slow", "requests", f"took the candidate more than {limits.slow_ms:g} ms"),
            Rate(took.len(), int((took > limits.slow_ms).sum())),
            limits.max_slow,
        ),
    ]
    questions = [(question, rate, limit) for question, rate, limit in asked if limit is not None]
    alpha_no = limits.alpha / (len(questions) + 1)  # one part is the slices'
    for question, rate, limit in questions:
        yield _rate_check(question, rate, limit, limits.alpha, alpha_no)
    if limits.max_slice_flips is not None:
        yield _slice_check(slices, limits, alpha_no)


def _rate_check(question: Question, rate: Rate, limit: float, alpha: float, alpha_no: float) -> Check:
    passed = False if rate.above(limit, alpha_no) else True if rate.below(limit, alpha) else None
    share = rate.failures / rate.trials if rate.trials else None
    seen = f"{rate.failures:g} of {rate.trials}" if question.of != ROWS else f"{share or 0:.2%} of {rate.trials}"
    bounds = {"lower": rate.lower(alpha_no), "upper": rate.upper(alpha), "requests": rate.trials}
    told = {
        True: f"shown to be at most {bounds['upper']:.2%}, below the limit of {limit:.2%}",
        False: f"shown to be at least {bounds['lower']:.2%}, above the limit of {limit:.2%}",
        None: f"the limit of {limit:.2%} lies between {bounds['lower']:.2%} and {bounds['upper']:.2%}: more is needed",
    }[passed]
    explanation = f"{question.name}: {seen} {question.of} {question.happened}; {told}"
    asks = f"Is it rare that {question.of} {question.happened}?"
    return Check(question.name, asks, passed, share, limit, evidence=bounds, explanation=explanation)


def _slice_check(slices: list[Slice], limits: ShadowLimits, alpha: float) -> Check:
    """Only a no: that every slice is fine cannot be shown of small ones."""
    limit = limits.max_slice_flips or 1.0
    bad = [s for s in slices if s.flip_rate.above(limit, alpha / len(slices))]
    worst = max(slices, key=lambda s: s.flips, default=None)
    names = ", ".join(f"{s.name} ({s.flips:.1%} of {s.rows} rows)" for s in bad[:SHOWN])
    told = f"in {names}" if bad else f"in none of {len(slices)} slices of at least {limits.min_slice} rows"
    return Check(
        "slices",
        "Is there a part of the rows in which too many decisions differ?",
        not bad,
        worst.flips if worst else None,
        limit,
        evidence={"looked_at": len(slices), "bad": [s.name for s in bad]},
        explanation=f"slices: more than {limit:.2%} of the decisions shown to differ {told}",
    )


def _counts(pairs: Pairs) -> dict[str, int]:
    both, flips = pairs.requests, pairs.rows.filter("flip")
    mine, its = both["candidate_failed"], both["stable_failed"]
    return {
        "rows": pairs.rows.height,
        "requests": both.height,
        "only_stable": pairs.only_stable,
        "only_candidate": pairs.only_candidate,
        "ambiguous": pairs.ambiguous,
        "candidate_errors": int((mine & ~its).sum()),
        "stable_errors": int((its & ~mine).sum()),
        "both_failed": int((mine & its).sum()),
        "flips": flips.height,
        "flips_to_yes": int(flips["to_yes"].sum()),
    }


def _latency(pairs: Pairs) -> dict[str, Any]:
    timed = pairs.requests.drop_nulls(["stable_ms", "candidate_ms"])
    mine, its = timed["candidate_ms"].to_numpy(), timed["stable_ms"].to_numpy()
    return {
        "stable": quantiles(its, TIMES),
        "candidate": quantiles(mine, TIMES),
        "difference": quantiles(mine - its, TIMES),
        "slower": float((mine > its).mean()) if timed.height else None,
    }


def _worst(pairs: Pairs) -> Iterator[dict[str, Any]]:
    furthest = pairs.rows.with_columns(apart=pl.col("difference").abs()).sort(
        ["apart", "request_id", "row"], descending=[True, False, False]
    )
    yield from furthest.head(SHOWN).drop("apart", "code").iter_rows(named=True)
