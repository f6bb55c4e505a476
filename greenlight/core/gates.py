"""The gates: one question each about a candidate, answered from the numbers of the evaluation.

`judge` asks them all and never raises. Whatever is missing, is not a number or breaks a gate counts as "not passed":
a gate that cannot see must not wave anyone through. To add a gate, write a function that takes `Evidence` and the
limits and returns an `Answer`, and append it to `GATES`; the contract tests over `GATES` then check it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from greenlight.config import GateParams
from greenlight.core import slice_gates
from greenlight.core.evidence import Answer, Evidence, Missing
from greenlight.core.metrics import plain
from greenlight.core.verdict import Check, Verdict, decide

Asks = Callable[[Evidence, GateParams], Answer]


@dataclass(frozen=True)
class Gate:
    """A question and the function that answers it.

    Attributes
    ----------
    name : str
        Unique; what messages and the report call it.
    question : str
        One sentence that "yes" passes.
    ask : callable
        Answers from the evidence and the limits; may raise `Missing`, which counts as failed.
    group : str
        Under which heading the report shows it.
    """

    name: str
    question: str
    ask: Asks
    group: str = ""


def judge(
    metrics: Mapping[str, Any], evaluation: Mapping[str, Any], limits: GateParams, *, champion: str = ""
) -> Verdict:
    """Ask every gate about the candidate. Never raises.

    Parameters
    ----------
    metrics : mapping
        Content of reports/metrics.json: ``holdout``, ``candidate``, ``champion``.
    evaluation : mapping
        Content of reports/evaluation/evaluation.json: ``dataset``, ``models``, ``slices``, ``features``.
    limits : GateParams
        Section ``gates`` of params.yaml.
    champion : str, optional
        The version that the run said it would compare with; an evaluation that compared with anything else does
        not pass.

    Returns
    -------
    Verdict
        ``promote`` only if every gate passed; any failed one rejects; else any undecided one is inconclusive.
    """
    evidence = Evidence(metrics, evaluation, expected_champion=champion)
    checks = tuple(_check(gate, evidence, limits) for gate in GATES)
    return Verdict(
        decision=decide(checks),
        checks=checks,
        dataset=evidence.text("evaluation", "dataset"),
        period=evidence.text("metrics", "holdout", "period"),
        rows=evidence.count_or_none("metrics", "holdout", "rows"),
        champion=champion or evidence.text("evaluation", "models", "champion", "version"),
    )


def _check(gate: Gate, evidence: Evidence, limits: GateParams) -> Check:
    try:
        answer = gate.ask(evidence, limits)
    except Missing as exc:
        answer = Answer(False, explanation=f"{exc}; what is not known does not pass.")
    except Exception as exc:  # noqa: BLE001  fails closed: a gate that breaks must not let anyone through
        answer = Answer(False, explanation=f"The gate broke ({type(exc).__name__}: {exc}), which does not pass.")
    return Check(
        name=gate.name,
        question=gate.question,
        passed=answer.passed,
        value=plain(answer.value),
        limit=plain(answer.limit),
        evidence=plain(answer.evidence),
        explanation=answer.explanation,
    )


def holdout_rows(evidence: Evidence, limits: GateParams) -> Answer:
    """Enough rows, of both classes; fewer decide nothing."""
    rows = evidence.number("metrics", "holdout", "rows")
    positives = evidence.number("metrics", "holdout", "positives")
    facts = {"rows": rows, "positives": positives, "days": evidence.get("metrics", "holdout", "days")}
    if not 0 < positives < rows:
        return Answer(False, rows, limits.min_rows, f"Only one class among {rows:,.0f} rows.", facts)
    if rows < limits.min_rows:
        return Answer(None, rows, limits.min_rows, f"{rows:,.0f} rows decide nothing; {limits.min_rows:,} do.", facts)
    return Answer(True, rows, limits.min_rows, f"{rows:,.0f} rows, {positives:,.0f} of them positive.", facts)


def something_new(evidence: Evidence, limits: GateParams) -> Answer:
    """The candidate is another model than the champion."""
    if evidence.champion() is None:
        return Answer(True, explanation="There is no champion yet.")
    candidate, champion = evidence.sha256("candidate"), evidence.sha256("champion")
    facts = {"candidate": candidate, "champion": champion}
    if candidate == champion:
        return Answer(False, explanation="Same bytes as the champion: nothing new to release.", evidence=facts)
    return Answer(True, explanation="The candidate's booster differs from the champion's.", evidence=facts)


def _minimum(metric: str, words: str) -> Asks:
    def ask(evidence: Evidence, limits: GateParams) -> Answer:
        value = evidence.number("metrics", "candidate", metric)
        limit = float(getattr(limits.minimum, metric))
        verb = "reaches" if value >= limit else "is below"
        return Answer(value >= limit, value, limit, f"{words} {value:.3f} {verb} the least allowed, {limit:.3f}.")

    return ask


def _maximum(metric: str, words: str) -> Asks:
    def ask(evidence: Evidence, limits: GateParams) -> Answer:
        value = evidence.number("metrics", "candidate", metric)
        limit = float(getattr(limits.minimum, metric))
        verb = "keeps within" if value <= limit else "is above"
        return Answer(value <= limit, value, limit, f"{words} {value:.3f} {verb} the most allowed, {limit:.3f}.")

    return ask


def _against_champion(metric: str, words: str, limit_name: str, worse: int) -> Asks:
    """`worse` is +1 where a rise of the metric is a loss, -1 where a drop is."""

    def ask(evidence: Evidence, limits: GateParams) -> Answer:
        limit = float(getattr(limits.champion, limit_name))
        candidate = evidence.number("metrics", "candidate", metric)
        champion = evidence.champion()
        if champion is None:
            return Answer(True, None, limit, "There is no champion; the minimum alone counts.")
        facts: dict[str, Any] = {"candidate": candidate, "seen_by_champion": champion.seen_holdout}
        if champion.seen_holdout:
            words_seen = f"Champion {champion.version} was {champion.seen_holdout} the holdout: not comparable on it."
            return Answer(None, None, limit, words_seen, facts)
        theirs = evidence.number("metrics", "champion", metric)
        loss = worse * (candidate - theirs)
        facts |= {"champion": theirs, "difference": candidate - theirs}
        size, side = abs(candidate - theirs), "better" if loss < 0 else "worse"
        than = f"{size:.3f} {side} than" if size >= 0.0005 else "as good as"
        says = f"{words} {candidate:.3f} is {than} champion {champion.version}'s {theirs:.3f}"
        if loss > limit:
            return Answer(False, loss, limit, f"{says}; {limit:.3f} is the most allowed.", facts)
        within = f", within {limit:.3f}" if side == "worse" and size >= 0.0005 else ""
        return Answer(True, loss, limit, f"{says}{within}.", facts)

    return ask


def holdout_unseen(evidence: Evidence, limits: GateParams) -> Answer:
    """The candidate has neither trained nor stopped on the holdout or anything newer."""
    holdout = evidence.text("metrics", "holdout", "period")
    stopped = evidence.text("evaluation", "models", "candidate", "stopped_on")
    seen = evidence.seen_holdout("candidate")
    if seen:
        return Answer(False, explanation=f"The candidate was {seen} the holdout {holdout} or newer data.")
    return Answer(True, explanation=f"Its training ended with {stopped}, before the holdout {holdout}.")


def single_feature(evidence: Evidence, limits: GateParams) -> Answer:
    """No feature alone does (nearly) all that the model does: either it leaks, or the rest is idle."""
    limit = limits.leak.max_single_feature_share
    model = evidence.number("metrics", "candidate", "roc_auc")
    alone = sorted(
        ((evidence.checked(row, "roc_auc_alone"), str(row["name"])) for row in evidence.rows("features")),
        reverse=True,
    )
    if not alone:
        raise Missing("evaluation.features is empty")
    if model <= 0.5:
        return Answer(False, None, limit, f"The model ranks no better than chance (ROC AUC {model:.3f}).")
    power, name = alone[0]
    share = (power - 0.5) / (model - 0.5)
    facts: dict[str, Any] = {
        "strongest": [{"feature": n, "roc_auc_alone": p, "share": (p - 0.5) / (model - 0.5)} for p, n in alone[:5]]
    }
    says = f"{name} alone reaches ROC AUC {power:.3f}, {share:.0%} of what the model's {model:.3f} has over chance"
    if share > limit:
        facts["worst"] = [row for row in facts["strongest"] if row["share"] > limit]
        return Answer(False, share, limit, f"{says}: it may be known only afterwards, or the rest is idle.", facts)
    return Answer(True, share, limit, f"{says}.", facts)


def too_good(evidence: Evidence, limits: GateParams) -> Answer:
    """A model better than anything honest on this kind of problem has seen the answer."""
    value, limit = evidence.number("metrics", "candidate", "roc_auc"), limits.leak.max_roc_auc
    if value > limit:
        return Answer(False, value, limit, f"ROC AUC {value:.3f} is too good to be true; look for a leak.")
    return Answer(True, value, limit, f"ROC AUC {value:.3f} is believable (up to {limit:.3f}).")


ENOUGH, RANKING, CALIBRATION = "Is there enough to judge?", "Ranking", "Calibration"
SLICES, LEAKS = "Slices", "Leaks"

GATES: tuple[Gate, ...] = (
    Gate("holdout_rows", "Is the holdout large enough to decide anything?", holdout_rows, ENOUGH),
    Gate("something_new", "Does the candidate differ from the champion?", something_new, ENOUGH),
    Gate(
        "min_roc_auc",
        "Does it rank the holdout well enough?",
        _minimum("roc_auc", "ROC AUC"),
        RANKING,
    ),
    Gate(
        "min_average_precision",
        "Does its top of the list beat drawing at random by enough?",
        _minimum("average_precision_lift", "Average precision over the share of positives"),
        RANKING,
    ),
    Gate(
        "champion_roc_auc",
        "Does it rank the same rows as well as the champion?",
        _against_champion("roc_auc", "ROC AUC", "max_roc_auc_drop", -1),
        RANKING,
    ),
    Gate(
        "max_log_loss",
        "Are its probabilities worth more than the base rate alone?",
        _maximum("log_loss_ratio", "Log loss over that of the base rate"),
        CALIBRATION,
    ),
    Gate(
        "max_calibration_error",
        "Does what it forecasts happen as often as forecast?",
        _maximum("calibration_error", "Calibration error"),
        CALIBRATION,
    ),
    Gate(
        "champion_log_loss",
        "Are its probabilities as good as the champion's on the same rows?",
        _against_champion("log_loss", "Log loss", "max_log_loss_rise", +1),
        CALIBRATION,
    ),
    Gate("slices_floor", "Does it rank every large enough slice?", slice_gates.floor, SLICES),
    Gate("slices_champion", "Is no slice much worse than with the champion?", slice_gates.drop, SLICES),
    Gate("holdout_unseen", "Has the candidate not seen the holdout?", holdout_unseen, LEAKS),
    Gate("single_feature", "Does it need more than one feature?", single_feature, LEAKS),
    Gate("too_good", "Is it believable?", too_good, LEAKS),
)
