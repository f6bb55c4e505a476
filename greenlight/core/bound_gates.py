"""The gates on numbers that have bounds: the minimum of every candidate, and the candidate beside the champion.

Each has three answers. The bound on the wrong side of the value keeps the limit: yes. The bound on its right side
breaks it: no. The limit lies between the two: this holdout cannot tell, and how many more days would is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from greenlight.config import GateParams
from greenlight.core.bounds import clusters_needed, detectable
from greenlight.core.evidence import Answer, Champion, Evidence, Interval

Asks = Callable[[Evidence, GateParams], Answer]


def minimum(metric: str, words: str, *, at_least: bool) -> Asks:
    """A gate on one metric of the candidate; the limit is ``gates.minimum.<metric>``.

    Parameters
    ----------
    metric : str
        In metrics.json and in ``evaluation.uncertainty``.
    words : str
        What a person calls it.
    at_least : bool
        Whether more is better.
    """

    def ask(evidence: Evidence, limits: GateParams) -> Answer:
        value = evidence.number("metrics", "candidate", metric)
        limit = float(getattr(limits.minimum, metric))
        found = evidence.interval(value, limits, "models", "candidate", metric)
        return _against_limit(evidence, limits, found, limit, words, at_least=at_least)

    return ask


def calibration_gap(evidence: Evidence, limits: GateParams) -> Answer:
    """The mean forecast is near what happened, on either side.

    The larger of the two distances that the bounds of the gap allow is held against the limit; the evidence keeps the
    gap and its bounds with their sign.
    """
    value = evidence.number("metrics", "candidate", "calibration_gap")
    limit = limits.minimum.calibration_gap
    found = evidence.interval(value, limits, "models", "candidate", "calibration_gap")
    side = "above" if value > 0 else "below"
    words = f"The mean forecast lies {side} the share that happened: a gap of"
    away = Interval(
        abs(value),
        max(0.0, max(found.low, -found.high)),
        max(found.high, -found.low),
        found.se,
        found.confidence,
        found.clusters,
        found.unit,
    )
    answer = _against_limit(evidence, limits, away, limit, words, at_least=False)
    facts = {**answer.evidence, "low": found.low, "high": found.high, "two_sided": True}
    return Answer(answer.passed, value, limit, answer.explanation, facts)


def against_champion(metric: str, words: str, limit_name: str, worse: int, *, detect: str = "") -> Asks:
    """A gate on candidate minus champion on the same rows, not worse by the margin ``gates.champion.<limit_name>``.

    Parameters
    ----------
    worse : int
        +1 where a rise of the metric is a loss, -1 where a drop is.
    detect : str
        Key of ``gates.champion`` with the difference that a holdout ought to tell, where there is one.

    Notes
    -----
    With confidence: the loss is below the margin, yes; there is a loss and it may reach the margin, no; else it cannot
    be told. Non-inferiority by the bound of the paired difference, as in Piaggio et al., "Reporting of noninferiority
    and equivalence randomized trials", JAMA 308, 2012.
    """

    def ask(evidence: Evidence, limits: GateParams) -> Answer:
        margin = float(getattr(limits.champion, limit_name))
        candidate = evidence.number("metrics", "candidate", metric)
        champion = evidence.champion(limits)
        if champion is None:
            return Answer(True, None, margin, "There is no champion; the minimum alone counts.")
        facts: dict[str, Any] = {"candidate": candidate, "seen_by_champion": champion.seen_holdout}
        if champion.seen_holdout:
            return Answer(None, None, margin, seen_words(champion), facts)
        theirs = evidence.number("metrics", "champion", metric)
        loss = evidence.interval(worse * (candidate - theirs), limits, "difference", metric)
        facts |= {"champion": theirs, "difference": candidate - theirs, **loss.facts()}
        facts |= _power(evidence, limits, loss, margin, detect)
        says = f"{words} {candidate:.3f} is {_than(loss.value)} champion {champion.version}'s {theirs:.3f}"
        if too_few := few_clusters(loss, limits):
            return Answer(None, loss.value, margin, f"{says}. {too_few}", facts)
        sure = f"at {percent(loss)} confidence"
        if loss.high < margin:
            at_most = "better for sure" if loss.high <= 0 else f"at most {loss.high:.3f} worse"
            return Answer(True, loss.value, margin, f"{says} ({at_most} {sure}; {margin:.3f} is allowed).", facts)
        if loss.low > 0:
            told = f"{says}: {loss.low:.3f} to {loss.high:.3f} worse {sure}"
            return Answer(False, loss.value, margin, f"{told}; {margin:.3f} is the most allowed.", facts)
        told = f"{says}, but it may be {loss.high:.3f} worse ({sure}; {margin:.3f} is the most allowed)"
        return Answer(None, loss.value, margin, f"{told}; {more_rows(facts)}.", facts)

    return ask


def seen_words(champion: Champion) -> str:
    """That a champion cannot be compared with on a holdout that it knows."""
    return f"Champion {champion.version} was {champion.seen_holdout} the holdout: not comparable on it."


def percent(found: Interval) -> str:
    """A confidence for people: ``95 %``, ``98.3 %``."""
    return f"{100 * found.confidence:.3g} %"


def few_clusters(found: Interval, limits: GateParams) -> str:
    """A sentence where there are too few days (or rows) to decide anything, else empty."""
    if found.clusters >= limits.min_clusters:
        return ""
    return f"{found.clusters} {found.unit}s decide nothing; {limits.min_clusters} do."


def _against_limit(
    evidence: Evidence, limits: GateParams, found: Interval, limit: float, words: str, *, at_least: bool
) -> Answer:
    surely, hardly = (found.low, found.high) if at_least else (found.high, found.low)
    holds = surely >= limit if at_least else surely <= limit
    broken = hardly < limit if at_least else hardly > limit
    side, bound, most = ("at least", "below", "least") if at_least else ("at most", "above", "most")
    says = f"{words} {found.value:.3f} ({side} {surely:.3f} at {percent(found)} confidence)"
    facts = found.facts() | {"at_least": at_least}
    if too_few := few_clusters(found, limits):
        return Answer(None, found.value, limit, f"{words} {found.value:.3f}. {too_few}", facts)
    if holds:
        return Answer(True, found.value, limit, f"{says}; {limit:.3f} is the {most} allowed.", facts)
    if broken:
        says = f"{words} {found.value:.3f} is {bound} the {most} allowed, {limit:.3f}, also at its best"
        return Answer(False, found.value, limit, f"{says} ({hardly:.3f} at {percent(found)} confidence).", facts)
    facts |= rows_needed(evidence, found, abs(found.value - limit))
    return Answer(
        None, found.value, limit, f"{says}, and {limit:.3f} is the {most} allowed; {more_rows(facts)}.", facts
    )


def _than(loss: float) -> str:
    """``0.012 better than``; differences that would be shown as 0.000 are none."""
    return f"{abs(loss):.3f} {'better' if loss < 0 else 'worse'} than" if abs(loss) >= 0.0005 else "as good as"


def _power(evidence: Evidence, limits: GateParams, loss: Interval, margin: float, detect: str) -> dict[str, Any]:
    """What this holdout can tell, and how long a holdout could tell more."""
    error = evidence.error(limits)
    found: dict[str, Any] = {"smallest_told": detectable(loss.se, loss.clusters - 1, error)}
    if detect:
        wanted = float(getattr(limits.champion, detect))
        found |= {"to_be_told": wanted, "clusters_to_tell": clusters_needed(loss.clusters, loss.se, wanted, error)}
    # Whichever answer lies further from what was seen is told first.
    return found | rows_needed(evidence, loss, max(margin - loss.value, loss.value))


def rows_needed(evidence: Evidence, found: Interval, distance: float) -> dict[str, Any]:
    """How many clusters, and rows, in all would tell that a value lies `distance` from its limit.

    From `greenlight.core.bounds.clusters_needed`, at the interval's own confidence.

    Returns
    -------
    dict
        ``clusters_needed`` and ``rows_needed``; None where no number does, or the holdout's rows are not known.
    """
    needed = clusters_needed(found.clusters, found.se, distance, 1 - found.confidence)
    rows = evidence.count_or_none("metrics", "holdout", "rows")
    if needed is None:
        return {"clusters_needed": None, "rows_needed": None}
    each = rows / found.clusters if rows else None
    return {"clusters_needed": needed, "rows_needed": None if each is None else round(needed * each)}


def more_rows(facts: Mapping[str, Any]) -> str:
    """How many more labelled rows would settle it, in words; from the facts of an interval and of `rows_needed`."""
    needed, rows, unit = facts["clusters_needed"], facts["rows_needed"], facts["clustered_by"]
    if needed is None or rows is None:
        return "it lies on the limit, where no number of rows settles it"
    more = max(needed - facts["clusters"], 1)
    share = round(rows * more / max(needed, 1))
    if unit == "row":
        return f"about {more:,} more labelled rows would settle it if it stays as it is"
    plural = "" if more == 1 else "s"
    return f"about {more:,} more {unit}{plural} ({share:,} labelled rows) would settle it if it stays as it is"
