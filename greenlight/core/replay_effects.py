"""What a decision did to the month after it, and how two policies differ: always on the same rows, with chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenlight.core.metrics import calibration_error, roc_auc
from greenlight.core.paired import log_losses
from greenlight.core.paired_months import Difference, auc_difference, loss_difference, mean_of, spread_of
from greenlight.core.replay import Course, Decision

CONFIDENCE = 0.95
LOOK_EVERY_DAYS = 7  # how often live labels are looked at when it is asked what they would have shown
METRICS = {"roc_auc": "ROC AUC", "log_loss": "log loss"}
GOOD = {"roc_auc": 1, "log_loss": -1}  # the sign of "better"


@dataclass(frozen=True, eq=False)
class LiveMonth:
    """The rows of one month, once their labels are known.

    Attributes
    ----------
    label : (n,) int8
    day : (n,)
        Sortable; rows of equal value move together.
    scores : dict of str to (n,) float32
        By model's hash.
    """

    label: NDArray[Any]
    day: NDArray[Any]
    scores: dict[str, NDArray[Any]] = field(default_factory=dict)
    _known: dict[str, dict[str, float]] = field(default_factory=dict)

    def quality(self, sha256: str) -> dict[str, float]:
        """How one model did; worked out once."""
        if sha256 not in self._known:
            self._known[sha256] = self._quality(self.scores[sha256])
        return self._known[sha256]

    def _quality(self, score: NDArray[Any]) -> dict[str, float]:
        return {
            "roc_auc": roc_auc(self.label, score),
            "log_loss": float(log_losses(self.label, score).mean()),
            "calibration_error": calibration_error(self.label, score),
            "calibration_gap": float(score.mean(dtype=np.float64)) - float(self.label.mean()),
        }

    def better(self, left: str, right: str, metric: str, until: Any = None) -> Difference:
        """By how much `left` is better than `right`; positive is better in either metric.

        Parameters
        ----------
        until : optional
            The last day whose labels are known.
        """
        rows = slice(None) if until is None else self.day <= until
        label, day = self.label[rows], self.day[rows]
        measure = auc_difference if metric == "roc_auc" else loss_difference
        found = measure(label, self.scores[left][rows], self.scores[right][rows], day)
        return Difference(GOOD[metric] * found.value, found.error)


def effect_of(course: Course, decision: Decision, months: Mapping[str, LiveMonth]) -> dict[str, Any]:
    """What a decision did to the month after it: what was chosen against what was not, on the same rows.

    Returns
    -------
    dict
        ``effect`` is None where nothing was trained, both are the same model, or no month came after; by metric
        ``better`` (positive: the choice was right), ``low``, ``high``, ``certain``, ``chosen`` and ``other``.
    """
    candidate = decision.candidate
    after = min((month for month in months if month > decision.month), default="")
    about = {
        "policy": course.policy.name,
        "mode": course.policy.mode,
        "month": decision.month,
        "outcome": decision.outcome,
        "reason": decision.reason,
        "candidate": candidate.sha256 if candidate else "",
        "verdict": decision.verdict,
        "judged_on": after,
        "failed": [check["name"] for check in (decision.verdict or {}).get("checks", []) if check["passed"] is False],
        "undecided": [check["name"] for check in (decision.verdict or {}).get("checks", []) if check["passed"] is None],
    }
    if candidate is None or not after or candidate.sha256 == decision.kept.sha256:
        return {**about, "effect": None, "words": _no_effect(decision, after)}
    chosen, other = (candidate, decision.kept) if decision.released else (decision.kept, candidate)
    rows = months[after]
    effect: dict[str, dict[str, Any]] = {}
    for name in METRICS:
        gap = rows.better(chosen.sha256, other.sha256, name)
        low, high = gap.interval(CONFIDENCE)
        effect[name] = {"better": gap.value, "low": low, "high": high, "certain": gap.certain(CONFIDENCE)}
        effect[name] |= {"chosen": rows.quality(chosen.sha256)[name], "other": rows.quality(other.sha256)[name]}
        if gap.certain(CONFIDENCE) and gap.value < 0:
            effect[name]["shown_by_day"] = _shown_by(rows, chosen.sha256, other.sha256, name)
    return {**about, "effect": effect, "words": _words(decision, effect, after)}


def _no_effect(decision: Decision, after: str) -> str:
    if decision.candidate is None:
        return "nothing was trained"
    return "the same model either way" if after else "its effect lies after the last month"


def _shown_by(rows: LiveMonth, chosen: str, other: str, metric: str) -> int | None:
    """Days after which the labels that arrive would have shown that the other model is better; None: not in the month.

    One look every seven days and one at the end, the error rate shared by the looks.
    """
    days = np.unique(rows.day)
    looks: list[int] = [*range(LOOK_EVERY_DAYS, len(days), LOOK_EVERY_DAYS), len(days)]
    for number in looks:
        gap = rows.better(chosen, other, metric, until=days[number - 1])
        if gap.value < 0 and gap.certain(CONFIDENCE, looks=len(looks)):
            return number
    return None


def _words(decision: Decision, effect: Mapping[str, Any], after: str) -> str:
    parts = []
    for name, label in METRICS.items():
        found = effect[name]
        size = abs(found["better"])
        verb = _verb(decision, found["better"] > 0)
        chance = "" if found["certain"] else ", which chance alone could do"
        parts.append(f"{verb} {size:.4f} {label} ({found['low']:+.4f} to {found['high']:+.4f}{chance})")
        if "shown_by_day" in found:
            parts.append(_caught(found["shown_by_day"], label))
    return f"on {after}: " + "; ".join(parts)


def _verb(decision: Decision, better: bool) -> str:
    if decision.released:
        return "the release gained" if better else "the release lost"
    return "keeping the champion saved" if better else "keeping the champion cost"


def _caught(day: int | None, label: str) -> str:
    if day is None:
        return f"weekly looks at the month's own labels would not have settled {label} within it"
    return f"labels as they arrive, with the other model in shadow, would have shown it by day {day}"


def comparisons(course: Course, other: Course, months: Mapping[str, LiveMonth]) -> list[dict[str, Any]]:
    """How much better `course` served than `other`, by metric; positive is better."""
    found = []
    for name in METRICS:
        gaps = {
            month: rows.better(course.served[month].sha256, other.served[month].sha256, name)
            for month, rows in sorted(months.items())
        }
        mean, spread = mean_of(list(gaps.values())), spread_of(list(gaps.values()), CONFIDENCE)
        low, high = mean.interval(CONFIDENCE)
        different = [month for month in gaps if course.served[month].sha256 != other.served[month].sha256]
        found.append(
            {
                "policy": course.policy.name,
                "against": other.policy.name,
                "metric": name,
                "better": mean.value,
                "by_days": [low, high],
                "by_months": list(spread),
                "months_apart": len(different),
                "months_better": sum(gaps[month].value > 0 for month in different),
                "months": {
                    month: {"better": gap.value, "low": gap.interval()[0], "high": gap.interval()[1]}
                    for month, gap in gaps.items()
                },
                "losses": [
                    _loss(course, other, month, months[month], name) for month in different if gaps[month].value < 0
                ],
                "answer": _judge(mean.value, low, high, len(different)),
            }
        )
    return found


def _loss(course: Course, other: Course, month: str, rows: LiveMonth, metric: str) -> dict[str, Any]:
    """A month in which `course` served worse, and what would have shown it."""
    ours, theirs = course.served[month], other.served[month]
    gap = rows.better(ours.sha256, theirs.sha256, metric)
    low, high = gap.interval(CONFIDENCE)
    label = METRICS[metric]
    words = (
        f"{month}: {course.policy.name} served the model of {ours.as_of}, {other.policy.name} that of {theirs.as_of}: "
        f"{-gap.value:.4f} {label} worse ({low:+.4f} to {high:+.4f}"
    )
    if not gap.certain(CONFIDENCE):
        chance = f"{words}, which chance alone could do)"
        return {"month": month, "certain": False, "words": chance, "shown_by_day": None}
    day = _shown_by(rows, ours.sha256, theirs.sha256, metric)
    return {"month": month, "certain": True, "words": f"{words}); {_caught(day, label)}", "shown_by_day": day}


def _judge(better: float, low: float, high: float, apart: int) -> str:
    if not apart:
        return "the same models served"
    if low >= 0:
        return "better"
    if high < 0:
        return "worse"
    return "no worse, though chance could turn it" if better >= 0 else "worse, though chance could turn it"
