"""The gates on how a model behaves, how it treats groups of people, and how large it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from greenlight.config import GateParams
from greenlight.core.bound_gates import few_clusters, more_rows, rows_needed
from greenlight.core.evidence import Answer, Evidence, Interval, Missing


def answers(evidence: Evidence, limits: GateParams) -> Answer:
    """Every legal request gets a probability, also with extreme, missing and never seen values."""
    tried = evidence.number("evaluation", "behaviour", "legal", "tried")
    unanswered = evidence.get("evaluation", "behaviour", "legal", "unanswered")
    if not isinstance(unanswered, list) or tried < 1:
        raise Missing("evaluation.behaviour.legal.unanswered is missing")
    facts: dict[str, Any] = {"tried": tried}
    if unanswered:
        shown = ", ".join(str(name) for name in unanswered[:3])
        facts["worst"] = [{"request": str(name)} for name in unanswered]
        says = f"{len(unanswered)} of {tried:.0f} odd requests get no probability: {shown}."
        return Answer(False, len(unanswered), 0, says, facts)
    return Answer(True, 0, 0, f"All {tried:.0f} odd requests get a probability.", facts)


def invariance(evidence: Evidence, limits: GateParams) -> Answer:
    """What must not matter does not."""
    rows = _declared(evidence, "invariances")
    limit = limits.behaviour.tolerance
    if not rows:
        return Answer(True, None, limit, "The dataset declares nothing that must not matter.")
    table = sorted(((Evidence.checked(row, "largest_change"), str(row["name"])) for row in rows), reverse=True)
    value, name = table[0]
    facts: dict[str, Any] = {"changes": [{"change": n, "largest_change": v} for v, n in table]}
    if value > limit:
        facts["worst"] = [row for row in facts["changes"] if row["largest_change"] > limit]
        return Answer(False, value, limit, f"A probability moves by {value:.3f} with {name}.", facts)
    return Answer(True, value, limit, f"No probability moves by more than {value:.3f} with {name}.", facts)


def directions(evidence: Evidence, limits: GateParams) -> Answer:
    """What must raise the probability does not lower it."""
    rows = _declared(evidence, "directions")
    limit = -limits.behaviour.tolerance
    if not rows:
        return Answer(True, None, limit, "The dataset declares no directions.")
    table = sorted((Evidence.checked(row, "mean_effect"), str(row["name"])) for row in rows)
    value, name = table[0]
    facts: dict[str, Any] = {"effects": [{"change": n, "mean_effect": v} for v, n in table]}
    if value < limit:
        facts["worst"] = [row for row in facts["effects"] if row["mean_effect"] < limit]
        says = f"With {name} the mean probability falls by {-value:.3f}; it must not."
        return Answer(False, value, limit, says, facts)
    return Answer(True, value, limit, f"With {name} the mean probability changes by {value:+.3f}.", facts)


def stability(evidence: Evidence, limits: GateParams) -> Answer:
    """Another seed would have made much the same model: what ranks well by luck ranks otherwise next month."""
    rows, limit = evidence.rows("stability"), limits.stability.max_roc_auc_spread
    if len(rows) < limits.stability.seeds:
        raise Missing(f"evaluation.stability has {len(rows)} of {limits.stability.seeds} other seeds")
    if not rows:
        return Answer(True, None, limit, "No other seed was trained: gates.stability.seeds is 0.")
    areas = [Evidence.checked(row, name) for row in rows for name in ("candidate", "twin")]
    spread, rounds = max(areas) - min(areas), Evidence.checked(rows[0], "rounds")
    facts: dict[str, Any] = {"seeds": [dict(row) for row in rows]}
    says = f"ROC AUC after {rounds:.0f} rounds is {min(areas):.3f} to {max(areas):.3f} with {len(rows) + 1} seeds"
    if spread > limit:
        return Answer(False, spread, limit, f"{says}; {limit:.3f} apart is the most.", facts)
    return Answer(True, spread, limit, f"{says}, within {limit:.3f}.", facts)


def fairness(evidence: Evidence, limits: GateParams) -> Answer:
    """Protected groups are decided on, mistaken and calibrated alike, as far as the dataset declares any."""
    columns = evidence.rows("groups")
    limit = limits.fairness.max_rate_difference
    if not columns:
        return Answer(True, None, limit, "The dataset declares no protected groups.")
    found = [_apart(evidence, limits, column, m, its) for column in columns for m, its in _measures(column)]
    table, sure = [row for row, _ in found], {row["measure"]: interval for row, interval in found}
    if not table:
        raise Missing("evaluation.groups has columns without a measure")
    table.sort(key=lambda row: (-(row["difference"] / max(row["limit"], 1e-9)), row["measure"]))
    facts: dict[str, Any] = {"intervals": table}
    small = [f"{column['column']} {name}" for column in columns for name in column.get("not_tested", [])]
    facts |= {"not_tested": small} if small else {}
    worst = table[0]
    for answer in (False, None):
        bad = [row for row in table if row["answer"] is answer]
        if bad:
            facts["worst"] = bad
            first = bad[0]
            says = f"{first['measure']} differs by {first['difference']:.3f} between {first['between']}"
            more = "is too far" if answer is False else f"may be up to {first['high']:.3f}"
            says = f"{says}; it {more}, {first['limit']:.3f} is allowed"
            facts |= _bounds(first)
            interval = sure[first["measure"]]
            if too_few := few_clusters(interval, limits):
                says = f"{says}. {too_few.removesuffix('.')}"
            elif answer is None and interval.high > first["limit"]:
                facts |= interval.facts() | rows_needed(evidence, interval, abs(first["limit"] - interval.value))
                says = f"{says}; {more_rows(facts)}"
            return Answer(answer, first["difference"], first["limit"], f"{says}.", facts)
    says = f"Furthest apart is {worst['measure']}: {worst['difference']:.3f} between {worst['between']}"
    says = f"{says} (at most {worst['high']:.3f}); {worst['limit']:.3f} is allowed."
    return Answer(True, worst["difference"], worst["limit"], says, facts | _bounds(worst))


def size(evidence: Evidence, limits: GateParams) -> Answer:
    """The model is no larger than allowed; how fast it answers is measured by the preflight, on the built bento."""
    size = evidence.number("evaluation", "models", "candidate", "bytes")
    trees = evidence.number("evaluation", "models", "candidate", "trees")
    facts: dict[str, Any] = {"bytes": size, "trees": trees, "most_trees": limits.size.max_trees}
    limit = limits.size.max_bytes
    says = f"{size / 1e6:.2f} MB and {trees:,.0f} trees"
    if size < 1 or trees < 1:
        return Answer(False, size, limit, f"{says}: there is no model.", facts)
    if size > limit or trees > limits.size.max_trees:
        return Answer(
            False, size, limit, f"{says}; {limit / 1e6:.2f} MB and {limits.size.max_trees:,} are the most.", facts
        )
    return Answer(True, size, limit, f"{says}, within {limit / 1e6:.2f} MB and {limits.size.max_trees:,}.", facts)


def _bounds(row: Mapping[str, Any]) -> dict[str, float]:
    """Of the measure that the answer tells, for its picture."""
    return {"low": row["low"], "high": row["high"]}


def _declared(evidence: Evidence, name: str) -> list[Mapping[str, Any]]:
    found = evidence.get("evaluation", "behaviour", name)
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise Missing(f"evaluation.behaviour.{name} is missing")
    return found


def _measures(column: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    found = column.get("apart")
    return list(found.items()) if isinstance(found, Mapping) else []


def _apart(
    evidence: Evidence, limits: GateParams, column: Mapping[str, Any], measure: str, its: Mapping[str, Any]
) -> tuple[dict[str, Any], Interval]:
    """The largest difference in one measure, with bounds; Bonferroni over the pairs that it was picked from."""
    calibration = measure == "calibration_gap"
    limit = limits.fairness.max_calibration_difference if calibration else limits.fairness.max_rate_difference
    clusters = evidence.number("evaluation", "uncertainty", "clusters")
    difference, se, pairs = (Evidence.checked(its, key) for key in ("difference", "se", "pairs"))
    error = evidence.error(limits) / max(1.0, pairs)
    found = evidence.bounded(difference, se, clusters, limits, error)
    answer: bool | None = True if found.high <= limit else False if found.low > limit else None
    if pairs < 1 or few_clusters(found, limits):  # one group large enough is compared with nobody
        answer = None
    between = " and ".join(str(name) for name in its.get("between", []))
    words = f"{column.get('column')}, {measure.replace('_', ' ')}"
    row = {"measure": words, "between": between, "difference": difference, "low": found.low, "high": found.high}
    return row | {"limit": limit, "answer": answer}, found
