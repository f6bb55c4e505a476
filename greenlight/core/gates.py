"""The gates: one question each about a candidate, answered from the numbers of the evaluation.

`judge` asks them all and never raises. Whatever is missing, is not a number or breaks a gate counts as failed: a gate
that cannot see must not wave anyone through. What the evaluation could not know (null) is neither good nor bad: it
cannot be decided, which is no pass either. To add a gate, write a function that takes `Evidence` and the
limits and returns an `Answer`, and append it to `GATES`; the contract tests over `GATES` then check it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenlight.config import GateParams, JudgedParams
from greenlight.core import conduct_gates, leak_gates, slice_gates
from greenlight.core.bound_gates import Asks, against_champion, calibration_gap, minimum
from greenlight.core.check import Check
from greenlight.core.evidence import Answer, Evidence, Missing, Unknown
from greenlight.core.metrics import plain
from greenlight.core.verdict import Verdict, decide


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
    metrics: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    limits: GateParams,
    *,
    champion: str = "",
    judged: JudgedParams | None = None,
) -> Verdict:
    """Ask every gate about the candidate. Never raises.

    Parameters
    ----------
    metrics : mapping
        Content of reports/metrics.json: ``holdout``, ``candidate``, ``champion``.
    evaluation : mapping
        Content of reports/evaluation/evaluation.json: ``dataset``, ``models``, ``uncertainty``, ``slices``, ...
    limits : GateParams
        Section ``gates`` of params.yaml.
    champion : str, optional
        The version that the run said it would compare with; an evaluation that compared with anything else does
        not pass.
    judged : JudgedParams, optional
        Section ``judged``: who was judged on this holdout before, and on which day overrides are looked at.

    Returns
    -------
    Verdict
        ``promote`` only if every gate passed or is overridden; any failed one rejects; else any undecided one is
        inconclusive.
    """
    judged = judged or JudgedParams()
    evidence = Evidence(metrics, evaluation, champion, earlier=tuple(judged.earlier))
    given = _overrides(limits, judged.day)
    checks = tuple(_check(gate, evidence, limits, given.get(gate.name, {})) for gate in GATES)
    return Verdict(
        decision=decide(checks),
        checks=checks,
        dataset=evidence.text("evaluation", "dataset"),
        period=evidence.text("metrics", "holdout", "period"),
        rows=evidence.count_or_none("metrics", "holdout", "rows"),
        champion=champion or evidence.text("evaluation", "models", "champion", "version"),
    )


def unknown_overrides(limits: GateParams) -> Sequence[str]:
    """Names in ``gates.overrides`` that no gate has."""
    return [override.gate for override in limits.overrides if override.gate not in NAMES]


def _overrides(limits: GateParams, day: str) -> dict[str, dict[str, str]]:
    """By gate, the overrides that count on a day; without a day none does."""
    return {
        override.gate: {"by": override.by, "reason": override.reason, "expires": override.expires}
        for override in limits.overrides
        if day and day <= override.expires
    }


def _check(gate: Gate, evidence: Evidence, limits: GateParams, override: Mapping[str, str]) -> Check:
    try:
        answer = gate.ask(evidence, limits)
    except Unknown as exc:
        answer = Answer(None, explanation=f"This cannot be told: {exc}.")
    except Missing as exc:
        answer = Answer(False, explanation=f"The evaluation is not complete: {exc}. What is missing does not pass.")
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
        override=override if answer.passed is not True else {},
    )


def holdout_rows(evidence: Evidence, limits: GateParams) -> Answer:
    """Enough rows, of both classes; fewer decide nothing."""
    rows = evidence.number("metrics", "holdout", "rows")
    positives = evidence.number("metrics", "holdout", "positives")
    facts = {"rows": rows, "positives": positives, "days": evidence.get("metrics", "holdout", "days")}
    facts |= {"clustered_by": evidence.unit, "look": evidence.look}
    if not 0 < positives < rows:
        return Answer(False, rows, limits.min_rows, f"Only one class among {rows:,.0f} rows.", facts)
    if rows < limits.min_rows:
        return Answer(None, rows, limits.min_rows, f"{rows:,.0f} rows decide nothing; {limits.min_rows:,} do.", facts)
    says = f"{rows:,.0f} rows, {positives:,.0f} of them positive"
    if evidence.look > 1:
        says += f"; candidate number {evidence.look} on them, so its bounds are at {1 - evidence.error(limits):.2%}"
    return Answer(True, rows, limits.min_rows, f"{says}.", facts)


def something_new(evidence: Evidence, limits: GateParams) -> Answer:
    """The candidate is another model than the champion."""
    candidate = evidence.sha256("candidate")
    facts = {"candidate": candidate}
    if evidence.champion() is None:
        return Answer(True, explanation="There is no champion yet.", evidence=facts)
    champion = evidence.sha256("champion")
    facts |= {"champion": champion}
    if candidate == champion:
        return Answer(False, explanation="Same bytes as the champion: nothing new to release.", evidence=facts)
    return Answer(True, explanation="The candidate's booster differs from the champion's.", evidence=facts)


ENOUGH, RANKING, CALIBRATION = "Is there enough to judge?", "Ranking", "Calibration"
SLICES, LEAKS, CONDUCT = "Slices", "Leaks", "Behaviour and size"

GATES: tuple[Gate, ...] = (
    Gate("holdout_rows", "Is the holdout large enough to decide anything?", holdout_rows, ENOUGH),
    Gate("something_new", "Does the candidate differ from the champion?", something_new, ENOUGH),
    Gate(
        "min_roc_auc",
        "Does it rank the holdout well enough?",
        minimum("roc_auc", "ROC AUC", at_least=True),
        RANKING,
    ),
    Gate(
        "min_average_precision",
        "Does its top of the list beat drawing at random by enough?",
        minimum("average_precision_lift", "Average precision over the share of positives", at_least=True),
        RANKING,
    ),
    Gate(
        "champion_roc_auc",
        "Does it rank the same rows as well as the champion?",
        against_champion("roc_auc", "ROC AUC", "max_roc_auc_drop", -1, detect="detectable_roc_auc"),
        RANKING,
    ),
    Gate(
        "max_log_loss",
        "Are its probabilities worth more than the base rate alone?",
        minimum("log_loss_ratio", "Log loss over that of the base rate", at_least=False),
        CALIBRATION,
    ),
    Gate(
        "max_calibration_error",
        "Does what it forecasts happen as often as forecast?",
        minimum("calibration_error", "Calibration error", at_least=False),
        CALIBRATION,
    ),
    Gate("calibration_gap", "Does it forecast as many as there are?", calibration_gap, CALIBRATION),
    Gate(
        "champion_log_loss",
        "Are its probabilities as good as the champion's on the same rows?",
        against_champion("log_loss", "Log loss", "max_log_loss_rise", +1),
        CALIBRATION,
    ),
    Gate("slices_floor", "Does it rank every large enough slice?", slice_gates.floor, SLICES),
    Gate("slices_champion", "Is no slice much worse than with the champion?", slice_gates.drop, SLICES),
    Gate("slices_found", "Is there no bad slice that nobody declared?", slice_gates.found, SLICES),
    Gate("fairness", "Are protected groups treated alike?", conduct_gates.fairness, SLICES),
    Gate("holdout_unseen", "Has the candidate not seen the holdout?", leak_gates.holdout_unseen, LEAKS),
    Gate("time_travel", "Is every row trained on older than the holdout?", leak_gates.time_travel, LEAKS),
    Gate("known_after", "Is every feature known when it is needed?", leak_gates.known_after, LEAKS),
    Gate("single_feature", "Does it need more than one feature?", leak_gates.single_feature, LEAKS),
    Gate("too_good", "Is it believable?", leak_gates.too_good, LEAKS),
    Gate("as_promised", "Is every score where it was promised?", leak_gates.as_promised, LEAKS),
    Gate("answers", "Does every legal request get an answer?", conduct_gates.answers, CONDUCT),
    Gate("invariance", "Does what must not matter not matter?", conduct_gates.invariance, CONDUCT),
    Gate("directions", "Does what makes it likelier not make it less likely?", conduct_gates.directions, CONDUCT),
    Gate("stability", "Would another seed have made much the same model?", conduct_gates.stability, CONDUCT),
    Gate("size", "Is the model small enough?", conduct_gates.size, CONDUCT),
)
NAMES = tuple(gate.name for gate in GATES)
