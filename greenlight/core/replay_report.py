"""What a replay shows: live quality, regret, what each decision saved or cost, and how little a few months decide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from greenlight.core.metrics import plain
from greenlight.core.replay import SHIPPED, Course, Trained, known_before
from greenlight.core.replay_effects import CONFIDENCE, GOOD, METRICS, LiveMonth, comparisons, effect_of

FORMAT = 1


def report(
    courses: Sequence[Course], months: Mapping[str, LiveMonth], *, dataset: str, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """The whole replay as plain values.

    Parameters
    ----------
    courses : sequence of Course
        Each policy's way through the same months.
    months : mapping of str to LiveMonth
        With the scores of every model that any policy had when the month began.
    notes : sequence of str
        What a reader must know, such as a first model with a shorter window.
    """
    every = sorted(months)
    found = {
        "format": FORMAT,
        "dataset": dataset,
        "from": every[0],
        "to": every[-1],
        "confidence": CONFIDENCE,
        "notes": list(notes),
        "months": [
            {"month": month, "rows": int(rows.label.size), "base_rate": float(rows.label.mean())}
            for month, rows in sorted(months.items())
        ],
        "policies": [_policy(course, courses, months) for course in courses],
        "decisions": [effect_of(course, decision, months) for course in courses for decision in course.decisions],
        "comparisons": [
            comparison
            for course in courses
            if course.policy.mode == "gated"
            for other in courses
            if other is not course
            for comparison in comparisons(course, other, months)
        ],
    }
    found["answer"] = _answer(found)
    answer: dict[str, Any] = plain(found)
    return answer


def _policy(course: Course, courses: Sequence[Course], months: Mapping[str, LiveMonth]) -> dict[str, Any]:
    rows = [_month(course, courses, month, months[month]) for month in sorted(months)]
    outcomes = [decision.outcome for decision in course.decisions]
    return {
        "name": course.policy.name,
        "mode": course.policy.mode,
        "own": dict(course.policy.own),
        "months": rows,
        "releases": sum(decision.released for decision in course.decisions),
        "rejected": outcomes.count("KeptChampion"),
        "inconclusive": outcomes.count("Inconclusive"),
        "data_rejected": outcomes.count("DataRejected"),
        "mean": {name: float(np.mean([row[name] for row in rows])) for name in (*METRICS, "calibration_error")},
        "regret": {name: float(np.mean([row["regret"][name] for row in rows])) for name in METRICS},
    }


def _month(course: Course, courses: Sequence[Course], month: str, rows: LiveMonth) -> dict[str, Any]:
    served = course.served[month]
    quality = rows.quality(served.sha256)
    known = {sha: rows.quality(sha) for sha in known_before(courses, month)}
    best = {name: max(known, key=lambda sha: GOOD[name] * known[sha][name]) for name in METRICS}
    decision = next((d for d in course.decisions if d.month == month), None)
    return {
        "month": month,
        "version": course.versions[month],
        "model": _model(served),
        **quality,
        "regret": {name: GOOD[name] * (known[best[name]][name] - quality[name]) for name in METRICS},
        "candidates": len(known),
        "outcome": decision.outcome if decision else "",
        "reason": decision.reason if decision else "",
    }


def _model(trained: Trained) -> dict[str, Any]:
    return {
        "sha256": trained.sha256,
        "as_of": trained.as_of,
        "trained_on": list(trained.trained_on),
        "stopped_on": trained.stopped_on,
        "trees": trained.trees,
    }


def _answer(found: Mapping[str, Any]) -> list[str]:
    """What the replay says about its question, in sentences."""
    count = len(found["months"])
    said = []
    for row in found["comparisons"]:
        if row["policy"] != SHIPPED["gated"]:
            continue  # policies that were added are compared in the table
        label = METRICS[row["metric"]]
        if not row["months_apart"]:
            said.append(f"{row['policy']} and {row['against']} served the same models ({label}).")
            continue
        side = "better" if row["better"] >= 0 else "worse"
        line = (
            f"{row['policy']} is {abs(row['better']):.4f} {label} {side} than {row['against']} over {count} months "
            f"({row['by_days'][0]:+.4f} to {row['by_days'][1]:+.4f} on these very months"
        )
        if not math.isnan(row["by_months"][0]):
            line += f"; {row['by_months'][0]:+.4f} to {row['by_months'][1]:+.4f} for months like these"
        said.append(f"{line}): {row['months_better']} of the {row['months_apart']} months that differ went its way.")
        said += [f"  {loss['words']}." for loss in row["losses"] if loss["certain"]]
    said.append(
        f"{count} months and as many decisions decide little: the second interval is what they say of the next months, "
        "and where it holds zero the order of the policies could be chance."
    )
    return said
