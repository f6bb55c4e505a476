"""Single rules of the gates: each with the evidence that decides it, and what the answer says."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from evaluations import LIMITS, changed, documents

from greenlight.core.gates import judge
from greenlight.core.verdict import Verdict

METRICS, EVALUATION = documents()
ALONE_METRICS, ALONE = documents(champion=False)


def _changed(path: tuple[Any, ...], value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return changed((METRICS, EVALUATION), path, value)


def _judge(metrics: Any, evaluation: Any, **changes: Any) -> Verdict:
    return judge(metrics, evaluation, LIMITS.model_copy(update=changes))


def test_too_few_rows_decide_nothing() -> None:
    verdict = _judge(*_changed(("metrics", "holdout", "rows"), 4999))
    assert verdict.decision == "inconclusive"
    assert "4,999 rows decide nothing; 5,000 do." in verdict.summary()


def test_a_failure_counts_more_than_what_cannot_be_decided() -> None:
    metrics, evaluation = _changed(("metrics", "holdout", "rows"), 4999)
    metrics["candidate"]["calibration_error"] = 0.9
    assert _judge(metrics, evaluation).decision == "reject"


def test_a_holdout_of_one_class_fails() -> None:
    assert _judge(*_changed(("metrics", "holdout", "positives"), 0)).check("holdout_rows").passed is False


def test_ranking_and_calibration_are_judged_apart() -> None:
    verdict = _judge(*_changed(("metrics", "candidate", "log_loss"), 0.9))
    assert [check.name for check in verdict.failed] == ["champion_log_loss"]
    assert verdict.check("champion_roc_auc").passed is True


def test_the_same_model_again_is_nothing_new() -> None:
    verdict = _judge(*_changed(("evaluation", "models", "candidate", "sha256"), "a" * 64))
    assert verdict.decision == "reject"
    assert "nothing new to release" in verdict.summary()


@pytest.mark.parametrize(
    ("trained", "stopped", "word"),
    [(["2013-07", "2013-08"], "2013-09", "trained on"), (["2013-06", "2013-07"], "2013-08", "stopped on")],
)
def test_a_champion_that_has_seen_the_holdout_is_not_comparable(trained: list[str], stopped: str, word: str) -> None:
    metrics, evaluation = copy.deepcopy(METRICS), copy.deepcopy(EVALUATION)
    evaluation["models"]["champion"] |= {"trained_on": trained, "stopped_on": stopped}
    verdict = _judge(metrics, evaluation)
    assert verdict.decision == "inconclusive"
    assert {check.name for check in verdict.undecided} == {"champion_roc_auc", "champion_log_loss", "slices_champion"}
    assert word in verdict.summary()


@pytest.mark.parametrize(("key", "value"), [("trained_on", ["2013-07", "2013-08"]), ("stopped_on", "2013-08")])
def test_a_candidate_that_has_seen_the_holdout_is_rejected(key: str, value: Any) -> None:
    verdict = _judge(*_changed(("evaluation", "models", "candidate", key), value))
    assert [check.name for check in verdict.failed] == ["holdout_unseen"]


def test_another_champion_than_the_run_names_does_not_pass() -> None:
    for evaluated in ((METRICS, EVALUATION), (ALONE_METRICS, ALONE)):
        verdict = judge(*evaluated, LIMITS, champion="v9")
        assert verdict.decision == "reject"
        assert verdict.check("champion_roc_auc").passed is False
        assert "v9" in verdict.check("champion_roc_auc").explanation


def test_metrics_of_a_champion_that_the_evaluation_does_not_know_do_not_pass() -> None:
    assert _judge(METRICS, ALONE).check("champion_roc_auc").passed is False


def test_a_collapsed_slice_is_named() -> None:
    metrics, evaluation = _changed(("evaluation", "slices", 1, "roc_auc", "candidate"), 0.4)
    row = evaluation["slices"][1]
    check = _judge(metrics, evaluation).check("slices_floor")
    assert check.passed is False
    assert f"{row['column']} {row['value']}" in check.explanation
    assert [bad["slice"] for bad in check.evidence["worst"]] == [f"{row['column']} {row['value']}"]


def test_small_slices_are_not_tested_and_said_so() -> None:
    metrics, evaluation = copy.deepcopy(METRICS), copy.deepcopy(EVALUATION)
    small = next(row for row in evaluation["slices"] if row["value"] == "HA")
    small["roc_auc"] = {"candidate": 0.1, "champion": 0.9}
    for name in ("slices_floor", "slices_champion"):
        check = _judge(metrics, evaluation).check(name)
        assert check.passed is True
        assert check.evidence["not_tested"] == ["carrier HA"]
        assert "1 too small to test" in check.explanation


def test_a_column_without_a_testable_slice_decides_nothing() -> None:
    slices = LIMITS.slices.model_copy(update={"min_rows": 3000})
    verdict = _judge(METRICS, EVALUATION, slices=slices)
    assert verdict.decision == "inconclusive"
    assert "origin" in verdict.check("slices_floor").explanation


def test_a_column_that_was_not_measured_does_not_pass() -> None:
    slices = LIMITS.slices.model_copy(update={"columns": ["carrier", "plane"]})
    verdict = _judge(METRICS, EVALUATION, slices=slices)
    assert verdict.check("slices_floor").passed is False
    assert "plane" in verdict.check("slices_floor").explanation


def test_a_leaking_feature_is_named() -> None:
    metrics, evaluation = _changed(("evaluation", "features", 2, "roc_auc_alone"), 0.68)
    check = _judge(metrics, evaluation).check("single_feature")
    assert check.passed is False
    assert check.explanation.startswith("wind alone")


def test_a_model_that_is_too_good_is_rejected() -> None:
    assert _judge(*_changed(("metrics", "candidate", "roc_auc"), 0.97)).check("too_good").passed is False


# Seeds


@pytest.mark.parametrize(
    ("twin", "passed"), [(0.71, True), (0.676, True), (0.74, True), (0.674, False), (0.746, False)]
)
def test_a_model_that_another_seed_would_have_made_otherwise_is_rejected(twin: float, passed: bool) -> None:
    """The candidate's first rounds have 0.71, and 0.035 apart is the most."""
    check = _judge(*_changed(("evaluation", "stability", 0, "twin"), twin)).check("stability")
    assert check.passed is passed
    assert "with 2 seeds" in check.explanation


def test_the_widest_pair_of_seeds_counts() -> None:
    row = EVALUATION["stability"][0]
    twins = [row | {"twin": 0.69}, row | {"seed": 2015, "twin": 0.73}]
    stability = LIMITS.stability.model_copy(update={"seeds": 2})
    check = _judge(*_changed(("evaluation", "stability"), twins), stability=stability).check("stability")
    assert check.passed is False
    assert check.value == pytest.approx(0.04)


def test_fewer_seeds_than_asked_for_do_not_pass_and_none_asked_for_do() -> None:
    for seeds, passed in ((0, True), (1, True), (2, False)):
        stability = LIMITS.stability.model_copy(update={"seeds": seeds})
        assert _judge(METRICS, EVALUATION, stability=stability).check("stability").passed is passed
    none = LIMITS.stability.model_copy(update={"seeds": 0})
    found = _judge(*_changed(("evaluation", "stability"), []), stability=none).check("stability")
    assert found.passed is True
    assert "gates.stability.seeds is 0" in found.explanation
