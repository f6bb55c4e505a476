"""The gates on bounds, with three answers; holdouts that are judged again; overrides; leaks in time."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from evaluations import LIMITS, changed, documents

from greenlight.config import JudgedParams
from greenlight.core.gates import judge
from greenlight.core.verdict import Verdict
from greenlight.limits import Override

METRICS, EVALUATION = documents()
CLUSTERS = ("evaluation", "uncertainty", "clusters")


def _changed(path: tuple[Any, ...], value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return changed((METRICS, EVALUATION), path, value)


def _judge(metrics: Any, evaluation: Any) -> Verdict:
    return judge(metrics, evaluation, LIMITS)


# Three answers with bounds


def _difference(candidate: float, se: float) -> Verdict:
    """The candidate's ROC AUC this much above the champion's, with that standard error."""
    metrics, evaluation = copy.deepcopy(METRICS), copy.deepcopy(EVALUATION)
    metrics["candidate"]["roc_auc"] = metrics["champion"]["roc_auc"] + candidate
    evaluation["uncertainty"]["difference"]["roc_auc"]["se"] = se
    return _judge(metrics, evaluation)


@pytest.mark.parametrize(
    ("candidate", "se", "passed"),
    [
        (0.030, 0.005, True),  # better for sure
        (0.000, 0.005, True),  # as good as, and no loss of 0.010 is possible
        (-0.002, 0.004, True),  # worse perhaps, by less than matters
        (-0.002, 0.010, None),  # cannot be told
        (0.010, 0.020, None),  # nor here, though it looks better
        (-0.012, 0.010, None),  # looks worse, and may be as good
        (-0.030, 0.010, False),  # worse for sure
    ],
)
def test_not_worse_worse_or_cannot_be_told(candidate: float, se: float, passed: bool | None) -> None:
    assert _difference(candidate, se).check("champion_roc_auc").passed is passed


def test_what_cannot_be_told_says_how_many_days_would_and_they_do() -> None:
    check = _difference(-0.002, 0.010).check("champion_roc_auc")
    assert "more days (" in check.explanation
    assert "labelled rows) would settle it" in check.explanation
    needed = check.evidence["clusters_needed"]
    assert needed > 31
    se = 0.010 * (31 / needed) ** 0.5  # what so many days would leave of the error
    assert _difference(-0.002, se).check("champion_roc_auc").passed is True
    assert check.evidence["rows_needed"] == pytest.approx(needed * 8000 / 31, rel=0.01)


def test_a_minimum_that_is_missed_for_sure_rejects_and_one_that_may_be_missed_does_not_decide() -> None:
    for value, passed in ((0.50, False), (0.602, None), (0.70, True)):
        assert _judge(*_changed(("metrics", "candidate", "roc_auc"), value)).check("min_roc_auc").passed is passed


def test_too_few_days_decide_nothing_however_good_the_numbers() -> None:
    verdict = _judge(*_changed(CLUSTERS, 7))
    assert verdict.decision == "inconclusive"
    assert "7 days decide nothing; 8 do." in verdict.summary()


def test_where_no_cluster_is_declared_rows_are_counted_and_called_so() -> None:
    metrics, evaluation = _changed(("evaluation", "uncertainty", "clustered_by"), "")
    evaluation["uncertainty"]["clusters"] = 8000
    evaluation["uncertainty"]["difference"]["roc_auc"]["se"] = 0.02
    check = _judge(metrics, evaluation).check("champion_roc_auc")
    assert check.passed is None
    assert "more labelled rows would settle it" in check.explanation


# The same holdout again


def test_every_further_candidate_on_a_holdout_needs_more_to_pass() -> None:
    """A difference that the first passes with, the third does not; the first itself, judged again, does."""
    metrics, evaluation = copy.deepcopy(METRICS), copy.deepcopy(EVALUATION)
    metrics["candidate"]["roc_auc"] = metrics["champion"]["roc_auc"]
    evaluation["uncertainty"]["difference"]["roc_auc"]["se"] = 0.0055
    own = evaluation["models"]["candidate"]["sha256"]
    said = {}
    for earlier in ((), ("1" * 64, "2" * 64), (own, "1" * 64, "2" * 64)):
        verdict = judge(metrics, evaluation, LIMITS, judged=JudgedParams(earlier=list(earlier)))
        said[earlier] = verdict.check("champion_roc_auc")
    first, third, again = said.values()
    assert (first.passed, third.passed, again.passed) == (True, None, True)
    assert (first.evidence["confidence"], third.evidence["confidence"]) == (0.95, pytest.approx(1 - 0.1 / 12, abs=1e-6))


def test_repetition_does_not_win() -> None:
    """Thirty candidates that are worse by exactly the margin, judged on one holdout: at most one month in ten lets any
    of them through. Without the correction it would be nearly every month."""
    from greenlight.core.bounds import spent, t_quantile

    rng, months, looks = np.random.default_rng(1), 2000, 30
    estimates = 0.010 + 0.005 * rng.standard_normal((months, looks))
    reach = {
        kind: [t_quantile(1 - e, 1000) * 0.005 for e in errors]
        for kind, errors in {
            "spent": [spent(0.10, look) for look in range(1, looks + 1)],
            "each": [0.05] * looks,
        }.items()
    }
    passed = {kind: ((estimates + np.array(its)) < 0.010).any(axis=1).mean() for kind, its in reach.items()}
    assert passed["spent"] <= 0.10 + 3 * (0.1 * 0.9 / months) ** 0.5
    assert passed["each"] > 0.7


# Overrides

OVERRIDE = Override(
    gate="max_calibration_error", by="Ada Example", reason="Known since the strike", expires="2013-09-30"
)


def _overridden(day: str, **changes: Any) -> Verdict:
    metrics, evaluation = _changed(("metrics", "candidate", "calibration_error"), 0.9)
    for name, value in changes.items():
        metrics["candidate"][name] = value
    limits = LIMITS.model_copy(update={"overrides": [OVERRIDE]})
    return judge(metrics, evaluation, limits, judged=JudgedParams(day=day))


def test_an_override_lets_its_gate_through_and_is_shown() -> None:
    verdict = _overridden("2013-09-30")
    check = verdict.check("max_calibration_error")
    assert (verdict.decision, check.passed, check.override["by"]) == ("promote", False, "Ada Example")
    for text in (verdict.summary(), verdict.markdown(), verdict.text()):
        assert "Ada Example" in text
        assert "Known since the strike" in text
    assert Verdict.from_json(verdict.text()) == verdict


@pytest.mark.parametrize("day", ["2013-10-01", ""])
def test_an_override_that_has_ended_or_has_no_day_does_not_count(day: str) -> None:
    assert _overridden(day).decision == "reject"


def test_an_override_is_of_one_gate_only() -> None:
    verdict = _overridden("2013-09-01", roc_auc=0.3)
    assert verdict.decision == "reject"
    assert "max_calibration_error" not in [check.name for check in verdict.failed]


def test_an_override_that_was_not_needed_is_not_shown() -> None:
    limits = LIMITS.model_copy(update={"overrides": [OVERRIDE]})
    verdict = judge(METRICS, EVALUATION, limits, judged=JudgedParams(day="2013-09-01"))
    assert (verdict.decision, verdict.overridden) == ("promote", ())


# Leaks in time


@pytest.mark.parametrize("part", ["train", "stop"])
def test_a_row_as_new_as_the_holdout_is_the_future(part: str) -> None:
    check = _judge(*_changed(("evaluation", "time", part, "last"), "2013-08-01")).check("time_travel")
    assert check.passed is False
    assert "the future has leaked" in check.explanation


def test_a_column_known_only_afterwards_is_named() -> None:
    check = _judge(*_changed(("evaluation", "known_after", "used"), ["dep_delay"])).check("known_after")
    assert check.passed is False
    assert check.explanation.startswith("dep_delay would not be known")


@pytest.mark.parametrize("key", ["bytes", "trees"])
def test_a_model_that_is_too_large_fails(key: str) -> None:
    assert _judge(*_changed(("evaluation", "models", "candidate", key), 10**9)).check("size").passed is False
