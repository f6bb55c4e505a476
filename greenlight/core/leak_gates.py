"""The gates on leaks: has training seen the holdout, or anything that is known only afterwards?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from greenlight.config import GateParams
from greenlight.core.evidence import Answer, Evidence, Missing


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


def as_promised(evidence: Evidence, limits: GateParams) -> Answer:
    """Neither model's score jumps, from the month before or away from the other model, by more than is explained."""
    most, value = limits.leak.max_jump, evidence.number("metrics", "candidate", "roc_auc")
    before = evidence.get("evaluation", "promised")
    if not isinstance(before, Mapping):
        raise Missing("evaluation.promised is missing")
    month, champion = evidence.text("evaluation", "promised", "period"), evidence.champion()
    facts: dict[str, Any] = {"month_before": month, "candidate": value}
    facts["candidate_before"] = evidence.number("evaluation", "promised", "candidate", "roc_auc")
    names = {"candidate": "The candidate"}
    if champion is not None and not champion.seen_holdout and isinstance(before.get("champion"), Mapping):
        names["champion"] = f"Champion {champion.version}"
    for model, name in names.items():
        jump = evidence.jump(model, limits)
        if jump:
            side = "better" if jump > 0 else "worse"
            says = f"{name} ranks the holdout {abs(jump):.3f} {side} than it ranked {month}, and nothing explains it"
            says = f"{says}; {most:.3f} is believable. Look for a leak, or for copies of rows that it learnt from."
            return Answer(None, jump, most, says, facts)
    if champion is not None and not champion.seen_holdout:
        gain, limit = value - evidence.number("metrics", "champion", "roc_auc"), limits.leak.max_gain
        facts["gain"] = gain
        if gain > limit:
            says = f"The candidate ranks the same rows {gain:.3f} better than champion {champion.version}"
            says = f"{says}; up to {limit:.3f} is believable. Look for a leak; if the gain is real, override this gate."
            return Answer(None, gain, limit, says, facts)
    moved = value - facts["candidate_before"]
    return Answer(True, moved, most, f"ROC AUC {value:.3f}, {moved:+.3f} from {month}: believable.", facts)


def time_travel(evidence: Evidence, limits: GateParams) -> Answer:
    """No row that was trained or stopped on is as new as the holdout; looked up in the rows, not in the plan."""
    begins = _day(evidence, "holdout", "first")
    facts: dict[str, Any] = {"holdout_begins": begins}
    for part, words in (("train", "trained"), ("stop", "stopped")):
        last = _day(evidence, part, "last")
        facts[f"{part}_ends"] = last
        if last >= begins:
            says = f"Rows up to {last} were {words} on, and the holdout begins on {begins}: the future has leaked."
            return Answer(False, explanation=says, evidence=facts)
    says = f"The newest row trained or stopped on is of {max(facts['train_ends'], facts['stop_ends'])}"
    return Answer(True, explanation=f"{says}, the holdout begins on {begins}.", evidence=facts)


def _day(evidence: Evidence, part: str, end: str) -> str:
    found = evidence.text("evaluation", "time", part, end)
    try:
        return date.fromisoformat(found).isoformat()
    except ValueError:
        raise Missing(f"evaluation.time.{part}.{end} is {found!r}, no day") from None


def known_after(evidence: Evidence, limits: GateParams) -> Answer:
    """No feature and no field of a request is something that the dataset declares to be known only afterwards."""
    declared, used = (evidence.get("evaluation", "known_after", key) for key in ("declared", "used"))
    if not isinstance(declared, list) or not isinstance(used, list):
        raise Missing("evaluation.known_after is missing")
    facts: dict[str, Any] = {"declared": declared}
    if used:
        facts["worst"] = [{"column": name} for name in used]
        says = f"{', '.join(map(str, used))} would not be known when a prediction is asked for."
        return Answer(False, len(used), 0, says, facts)
    if not declared:
        return Answer(True, 0, 0, "The dataset declares no column that is known only afterwards.", facts)
    return Answer(True, 0, 0, f"None of {', '.join(map(str, declared))} is used.", facts)
