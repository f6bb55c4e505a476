"""What is asked of a candidate: which measures a release watches, and when enough is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from greenlight.core.eprocess import Guard, Measure

FAILURES, SLOW, INVALID = "failures", "slow", "invalid"
# Late truth: decisions that were wrong, and rows that only one of two versions got right.
WRONG, WRONG_PAIRS = "wrong", "wrong_pairs"
# Of alpha, relative to what the edge counts: two measures of one thing, which most releases end before.
LABELS_SHARE = 0.5
# Of alpha: for the time in which the candidate has all traffic and there is nothing to compare it with.
ALONE = 0.2


@dataclass(frozen=True)
class LabelLimits:
    """What late labels may say of a candidate.

    Attributes
    ----------
    margin, not_worse_margin, ceiling
        Of decisions that turned out wrong, where users are shared; as in `greenlight.core.guard_findings.Measure`.
    min_labels : int
        Labelled answers of the candidate without which nothing is promoted; 0: promotion does not wait for labels.
    pair_margin : float
        Of rows that both versions answered: the candidate alone may be wrong this many times as often as the stable
        version alone.
    """

    margin: float
    not_worse_margin: float
    ceiling: float | None = None
    min_labels: int = 0
    pair_margin: float = 1.5

    def measures(self) -> list[Measure]:
        """Both measures; neither is needed for promotion unless labels are asked for."""
        wrong = Measure(
            WRONG,
            self.margin,
            self.not_worse_margin,
            self.ceiling,
            share=LABELS_SHARE,
            needed=self.min_labels > 0,
            labelled=True,
            least=self.min_labels or None,
        )
        pairs = Measure(
            WRONG_PAIRS, self.pair_margin, share=LABELS_SHARE, needed=False, paired=True, labelled=True,
            not_worse_margin=max(2.0, self.pair_margin),
        )  # fmt: skip
        return [wrong, pairs]


@dataclass(frozen=True)
class Limits:
    """When enough is known.

    Attributes
    ----------
    alpha : float
        The chance that a candidate which is worse in nothing is rolled back, over the whole release.
    margin, not_worse_margin : float
        As in `greenlight.core.guard_findings.Measure`.
    ceilings : mapping of str to float
        For each measure the share of requests below which the candidate is fine by itself.
    min_requests : int
        Of the candidate, in the whole release.
    labels : LabelLimits, optional
        What late labels may say; without them they are not watched.
    """

    alpha: float
    margin: float
    not_worse_margin: float
    ceilings: Mapping[str, float]
    min_requests: int
    labels: LabelLimits | None = None

    def guard(self) -> Guard:
        """A guard that knows nothing yet."""
        measures = [
            Measure(name, self.margin, self.not_worse_margin, ceiling) for name, ceiling in self.ceilings.items()
        ]
        measures += self.labels.measures() if self.labels else []
        return Guard(measures, alpha=self.alpha * (1 - ALONE), alpha_promote=self.alpha, min_requests=self.min_requests)
