"""The gates: each asks its question, each fails closed, and better evidence never turns a pass into a failure."""

from __future__ import annotations

import math
from typing import Any

import pytest
from evaluations import LIMITS, changed, documents
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlight.core.evidence import Evidence
from greenlight.core.gates import GATES, Gate, judge
from greenlight.core.verdict import Verdict

METRICS, EVALUATION = documents()
ALONE_METRICS, ALONE = documents(champion=False)
CLUSTERS = ("evaluation", "uncertainty", "clusters")


def _se(metric: str) -> tuple[Any, ...]:
    return ("evaluation", "uncertainty", "models", "candidate", metric, "se")


# What of the documents each gate stands on.
NEEDS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "holdout_rows": (("metrics", "holdout", "rows"), ("metrics", "holdout", "positives")),
    "something_new": (
        ("evaluation", "models", "champion"),
        ("evaluation", "models", "champion", "sha256"),
        ("evaluation", "models", "candidate", "sha256"),
    ),
    "min_roc_auc": (("metrics", "candidate", "roc_auc"), _se("roc_auc"), CLUSTERS),
    "min_average_precision": (
        ("metrics", "candidate", "average_precision_lift"),
        _se("average_precision_lift"),
    ),
    "champion_roc_auc": (
        ("evaluation", "uncertainty", "difference"),
        ("evaluation", "uncertainty", "difference", "roc_auc", "se"),
        CLUSTERS,
        ("metrics", "candidate", "roc_auc"),
        ("metrics", "champion", "roc_auc"),
        ("evaluation", "models", "champion", "trained_on"),
        ("evaluation", "models", "champion", "stopped_on"),
    ),
    "max_log_loss": (("metrics", "candidate", "log_loss_ratio"), _se("log_loss_ratio")),
    "max_calibration_error": (("metrics", "candidate", "calibration_error"), _se("calibration_error")),
    "calibration_gap": (("metrics", "candidate", "calibration_gap"), _se("calibration_gap")),
    "champion_log_loss": (
        ("metrics", "candidate", "log_loss"),
        ("metrics", "champion", "log_loss"),
        ("evaluation", "uncertainty", "difference", "log_loss", "se"),
    ),
    "slices_floor": (
        ("evaluation", "slices"),
        ("evaluation", "slices", 1, "roc_auc", "candidate"),
        ("evaluation", "slices", 1, "se", "candidate"),
        ("evaluation", "slices", 1, "clusters"),
    ),
    "slices_champion": (
        ("evaluation", "slices"),
        ("evaluation", "slices", 1, "roc_auc", "champion"),
        ("evaluation", "slices", 1, "se", "difference"),
    ),
    "slices_found": (
        ("evaluation", "found"),
        ("evaluation", "found", "looked_at"),
        ("evaluation", "found", "rows"),
        ("evaluation", "found", "rows", 0, "se", "difference"),
        ("evaluation", "found", "rows", 0, "roc_auc", "candidate"),
    ),
    "fairness": (("evaluation", "groups"),),
    "holdout_unseen": (
        ("metrics", "holdout", "period"),
        ("evaluation", "models", "candidate", "trained_on"),
        ("evaluation", "models", "candidate", "stopped_on"),
    ),
    "time_travel": (
        ("evaluation", "time"),
        ("evaluation", "time", "train", "last"),
        ("evaluation", "time", "stop", "last"),
        ("evaluation", "time", "holdout", "first"),
    ),
    "known_after": (
        ("evaluation", "known_after"),
        ("evaluation", "known_after", "declared"),
        ("evaluation", "known_after", "used"),
    ),
    "answers": (
        ("evaluation", "behaviour"),
        ("evaluation", "behaviour", "legal", "tried"),
        ("evaluation", "behaviour", "legal", "unanswered"),
    ),
    "invariance": (
        ("evaluation", "behaviour", "invariances"),
        ("evaluation", "behaviour", "invariances", 0, "largest_change"),
    ),
    "directions": (
        ("evaluation", "behaviour", "directions"),
        ("evaluation", "behaviour", "directions", 0, "mean_effect"),
    ),
    "stability": (
        ("evaluation", "stability"),
        ("evaluation", "stability", 0, "candidate"),
        ("evaluation", "stability", 0, "twin"),
        ("evaluation", "stability", 0, "rounds"),
    ),
    "size": (("evaluation", "models", "candidate", "bytes"), ("evaluation", "models", "candidate", "trees")),
    "single_feature": (
        ("metrics", "candidate", "roc_auc"),
        ("evaluation", "features"),
        ("evaluation", "features", 0, "roc_auc_alone"),
    ),
    "too_good": (("metrics", "candidate", "roc_auc"),),
    "as_promised": (
        ("metrics", "candidate", "roc_auc"),
        ("evaluation", "promised"),
        ("evaluation", "promised", "candidate", "roc_auc"),
        ("evaluation", "promised", "candidate", "se"),
        ("evaluation", "promised", "clusters"),
    ),
}
PATHS = sorted({path for paths in NEEDS.values() for path in paths}, key=str)
RUBBISH = (None, math.nan, math.inf, -math.inf, "0.7", True, [], {}, -1.0)
# An empty list is an answer here: nothing was found, or nothing declared.
EMPTY_IS_AN_ANSWER = {"fairness", "invariance", "directions", "known_after", "answers"}


def _changed(path: tuple[Any, ...], value: Any, *, delete: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    return changed((METRICS, EVALUATION), path, value, delete=delete)


def _at(path: tuple[Any, ...]) -> Any:
    found: Any = {"metrics": METRICS, "evaluation": EVALUATION}
    for key in path:
        found = found[key]
    return found


def _judge(metrics: Any, evaluation: Any, **changes: Any) -> Verdict:
    return judge(metrics, evaluation, LIMITS.model_copy(update=changes))


def test_a_candidate_that_earns_it_is_promoted() -> None:
    verdict = _judge(METRICS, EVALUATION)
    assert verdict.decision == "promote"
    assert {check.passed for check in verdict.checks} == {True}


def test_without_a_champion_the_minimum_counts_and_the_verdict_says_so() -> None:
    verdict = _judge(ALONE_METRICS, ALONE)
    assert verdict.decision == "promote"
    assert "no champion" in verdict.summary()
    assert "no champion" in verdict.check("champion_roc_auc").explanation


# Contract of every gate


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
class TestEveryGate:
    def test_has_a_name_of_its_own_a_question_and_a_heading(self, gate: Gate) -> None:
        assert [other.name for other in GATES].count(gate.name) == 1
        assert gate.name.isidentifier()
        assert gate.question.endswith("?")
        assert gate.group

    def test_passes_the_good_candidate_and_says_why(self, gate: Gate) -> None:
        answer = gate.ask(Evidence(METRICS, EVALUATION), LIMITS)
        assert answer.passed is True
        assert answer.explanation.endswith(".")

    @pytest.mark.parametrize("nothing", [({}, {}), (None, None), ([], "x"), ({"candidate": None}, {"models": None})])
    def test_does_not_pass_without_evidence(self, gate: Gate, nothing: Any) -> None:
        assert judge(*nothing, LIMITS).check(gate.name).passed is False

    def test_fails_closed_on_each_number_it_stands_on(self, gate: Gate) -> None:
        """Deleted or replaced by rubbish: never a pass, and the check says which number it misses."""
        for path in NEEDS[gate.name]:
            check = _judge(*_changed(path, None, delete=True)).check(gate.name)
            assert check.passed is False, path
            for value in RUBBISH:
                if path == ("evaluation", "models", "champion") and value is None:
                    continue  # said to be none while metrics.json has one: tested below
                if value == [] and isinstance(_at(path), list) and gate.name in EMPTY_IS_AN_ANSWER:
                    continue
                if value == -1.0 and not (path[-1] in ("se", "clusters") or path[-2] == "se"):
                    continue  # a number like others
                check = _judge(*_changed(path, value)).check(gate.name)
                assert check.passed is not True, (path, value)
                assert check.explanation, (path, value)


NUMBERS = [
    (gate.name, path)
    for gate in GATES
    for path in NEEDS[gate.name]
    if isinstance(_at(path), (int, float)) and not isinstance(_at(path), bool)
]
# Whatever the others say, the worst that a number can be.
BAD: dict[str, tuple[tuple[Any, ...], Any]] = {
    "holdout_rows": (("metrics", "holdout", "positives"), 0),
    "something_new": (("evaluation", "models", "candidate", "sha256"), "a" * 64),
    "min_roc_auc": (("metrics", "candidate", "roc_auc"), 0.4),
    "min_average_precision": (("metrics", "candidate", "average_precision_lift"), 0.5),
    "champion_roc_auc": (("metrics", "candidate", "roc_auc"), 0.5),
    "max_log_loss": (("metrics", "candidate", "log_loss_ratio"), 3.0),
    "max_calibration_error": (("metrics", "candidate", "calibration_error"), 0.9),
    "calibration_gap": (("metrics", "candidate", "calibration_gap"), -0.9),
    "champion_log_loss": (("metrics", "candidate", "log_loss"), 3.0),
    "slices_floor": (("evaluation", "slices", 1, "roc_auc", "candidate"), 0.1),
    "slices_champion": (("evaluation", "slices", 1, "roc_auc", "candidate"), 0.1),
    "slices_found": (("evaluation", "found", "rows", 0, "roc_auc", "candidate"), 0.1),
    "fairness": (
        ("evaluation", "groups"),
        [{"column": "sex", "apart": {"selected": {"difference": 0.9, "se": 0.01, "pairs": 1, "between": ["f", "m"]}}}],
    ),
    "holdout_unseen": (("evaluation", "models", "candidate", "stopped_on"), "2013-08"),
    "time_travel": (("evaluation", "time", "train", "last"), "2013-08-02"),
    "known_after": (("evaluation", "known_after", "used"), ["dep_delay"]),
    "single_feature": (("evaluation", "features", 0, "roc_auc_alone"), 0.99),
    "too_good": (("metrics", "candidate", "roc_auc"), 0.99),
    "answers": (("evaluation", "behaviour", "legal", "unanswered"), ["a null"]),
    "invariance": (("evaluation", "behaviour", "invariances", 0, "largest_change"), 0.5),
    "directions": (("evaluation", "behaviour", "directions", 0, "mean_effect"), -0.5),
    "stability": (("evaluation", "stability", 0, "twin"), 0.5),
    "size": (("evaluation", "models", "candidate", "trees"), 10**6),
}


class TestUnknownIsNotBad:
    @pytest.mark.parametrize("unknown", [None, math.nan])
    @pytest.mark.parametrize(("name", "path"), NUMBERS)
    def test_what_could_not_be_known_cannot_be_decided(self, name: str, path: tuple[Any, ...], unknown: Any) -> None:
        check = _judge(*_changed(path, unknown)).check(name)
        assert check.passed is None, check.explanation
        assert check.explanation.endswith(".")

    @pytest.mark.parametrize("gate", [g for g in GATES if g.name != "as_promised"], ids=lambda gate: gate.name)
    def test_what_is_bad_fails(self, gate: Gate) -> None:
        check = _judge(*_changed(*BAD[gate.name])).check(gate.name)
        assert check.passed is False, check.explanation
        assert check.explanation.endswith(".")

    @pytest.mark.parametrize("clusters", [1, 2, 7])
    def test_a_holdout_of_too_few_clusters_rejects_nobody_for_that(self, clusters: int) -> None:
        verdict = _judge(*_changed(CLUSTERS, clusters))
        assert verdict.decision == "inconclusive"

    @pytest.mark.parametrize(("clusters", "se"), [(1, None), (1, 0.0), (7, 0.01)])
    def test_a_slice_of_too_few_clusters_is_not_tested(self, clusters: int, se: float | None) -> None:
        for name, where in (("slices_found", ("found", "rows")), ("slices_champion", ("slices",))):
            evaluation = _changed(("evaluation", *where, 0, "clusters"), clusters)[1]
            row = evaluation["found"]["rows"][0] if name == "slices_found" else evaluation["slices"][0]
            row["se"] = dict.fromkeys(row["se"], se)
            check = _judge(METRICS, evaluation).check(name)
            assert check.passed is True, check.explanation
            assert len(check.evidence["not_tested"]) >= 1

    def test_only_slices_of_too_few_clusters_cannot_be_decided(self) -> None:
        evaluation = _changed(("evaluation", "dataset"), "d")[1]
        for row in evaluation["found"]["rows"]:
            row |= {"clusters": 1, "se": dict.fromkeys(row["se"])}
        check = _judge(METRICS, evaluation).check("slices_found")
        assert check.passed is None
        assert "fewer than 8 days" in check.explanation


def _promised(**areas: float) -> dict[str, Any]:
    """The evaluation with other ROC AUCs of the month before."""
    evaluation = _changed(("evaluation", "dataset"), "d")[1]
    for model, area in areas.items():
        evaluation["promised"][model]["roc_auc"] = area
    return evaluation


class TestAsPromised:
    MINE, THEIRS = METRICS["candidate"]["roc_auc"], METRICS["champion"]["roc_auc"]

    @pytest.mark.parametrize("side", [-1, 1])
    def test_a_month_that_moves_both_models_is_the_months_doing(self, side: int) -> None:
        evaluation = _promised(candidate=self.MINE + side * 0.13, champion=self.THEIRS + side * 0.13)
        assert _judge(METRICS, evaluation).decision == "promote"

    @pytest.mark.parametrize("side", [-1, 1])
    def test_a_jump_of_the_candidate_alone_cannot_be_decided(self, side: int) -> None:
        verdict = _judge(METRICS, _promised(candidate=self.MINE + side * 0.13))
        assert verdict.decision == "inconclusive"
        assert "nothing explains it" in verdict.check("as_promised").explanation

    def test_a_champion_that_knows_the_rows_rejects_nobody(self) -> None:
        """It trained on copies of them: it is far better here than a month ago, and the candidate loses to it."""
        metrics, _ = _changed(("metrics", "champion", "roc_auc"), self.MINE + 0.12)
        metrics["champion"]["log_loss"] = metrics["candidate"]["log_loss"] - 0.1
        unexplained = _judge(metrics, _promised(champion=self.MINE + 0.11))
        assert unexplained.check("champion_roc_auc").passed is False
        verdict = _judge(metrics, _promised(champion=self.MINE))
        for name in ("as_promised", "champion_roc_auc", "champion_log_loss", "slices_champion"):
            assert verdict.check(name).passed is None, verdict.check(name)
        assert verdict.decision == "inconclusive"

    def test_a_leak_below_the_limits_is_a_gain_that_nothing_explains(self) -> None:
        """0.787 where the champion has 0.715 on the same rows, in the month before as well."""
        metrics, _ = _changed(("metrics", "candidate", "roc_auc"), 0.787)
        metrics["champion"]["roc_auc"] = 0.715
        verdict = _judge(metrics, _promised(candidate=0.79, champion=0.715))
        assert verdict.check("too_good").passed is True
        assert verdict.check("as_promised").passed is None
        assert verdict.decision == "inconclusive"

    @pytest.mark.parametrize(
        ("mine", "theirs"),
        [  # (month before, holdout) as measured on 2013 with windows of 5 months
            ((0.7568, 0.7156), (0.7342, 0.7142)),
            ((0.7251, 0.6743), (0.7050, 0.6769)),
            ((0.6471, 0.6803), (0.6769, 0.6603)),
            ((0.6738, 0.6591), (0.6603, 0.7046)),
            ((0.6738, 0.6591), (0.6652, 0.7056)),
        ],
    )
    def test_no_pair_of_real_months_trips_it(self, mine: tuple[float, float], theirs: tuple[float, float]) -> None:
        metrics, _ = _changed(("metrics", "candidate", "roc_auc"), mine[1])
        metrics["champion"]["roc_auc"] = theirs[1]
        check = _judge(metrics, _promised(candidate=mine[0], champion=theirs[0])).check("as_promised")
        assert check.passed is True, check.explanation

    def test_an_evaluation_from_before_there_were_promises_is_still_compared(self) -> None:
        evaluation = _changed(("evaluation", "promised"), None, delete=True)[1]
        assert _judge(METRICS, evaluation).check("champion_roc_auc").passed is True


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PATHS), st.sampled_from(RUBBISH[:7]))
def test_rubbish_anywhere_never_promotes_and_never_raises(path: tuple[Any, ...], value: Any) -> None:
    verdict = _judge(*_changed(path, value))
    if value != []:
        assert verdict.decision != "promote"


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["holdout", "candidate", "champion"]), json_values),
    st.dictionaries(st.sampled_from(["models", "slices", "features", "dataset"]), json_values),
)
def test_any_documents_at_all_get_a_verdict_that_can_be_written(metrics: Any, evaluation: Any) -> None:
    verdict = _judge(metrics, evaluation)
    assert verdict.decision != "promote"
    assert Verdict.from_json(verdict.text()) == verdict
    assert verdict.markdown()


def test_a_gate_that_breaks_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(evidence: Evidence, limits: Any) -> Any:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("greenlight.core.gates.GATES", (*GATES[1:], Gate("broken", "Does it work?", broken)))
    check = _judge(METRICS, EVALUATION).check("broken")
    assert check.passed is False
    assert "ZeroDivisionError" in check.explanation


# Order: more is never worse

ORDERED = (
    ("min_roc_auc", ("metrics", "candidate", "roc_auc"), 1),
    ("min_average_precision", ("metrics", "candidate", "average_precision_lift"), 1),
    ("champion_roc_auc", ("metrics", "candidate", "roc_auc"), 1),
    ("champion_roc_auc", ("metrics", "champion", "roc_auc"), -1),
    ("single_feature", ("metrics", "candidate", "roc_auc"), 1),
    ("single_feature", ("evaluation", "features", 0, "roc_auc_alone"), -1),
    ("max_log_loss", ("metrics", "candidate", "log_loss_ratio"), -1),
    ("max_calibration_error", ("metrics", "candidate", "calibration_error"), -1),
    ("champion_log_loss", ("metrics", "candidate", "log_loss"), -1),
    ("champion_log_loss", ("metrics", "champion", "log_loss"), 1),
    ("slices_floor", ("evaluation", "slices", 1, "roc_auc", "candidate"), 1),
    ("slices_champion", ("evaluation", "slices", 1, "roc_auc", "candidate"), 1),
    ("slices_champion", ("evaluation", "slices", 1, "roc_auc", "champion"), -1),
    ("too_good", ("metrics", "candidate", "roc_auc"), -1),
    ("invariance", ("evaluation", "behaviour", "invariances", 0, "largest_change"), -1),
    ("directions", ("evaluation", "behaviour", "directions", 0, "mean_effect"), 1),
    ("slices_found", ("evaluation", "found", "rows", 0, "roc_auc", "candidate"), 1),
    ("min_roc_auc", _se("roc_auc"), -1),
    ("champion_roc_auc", ("evaluation", "uncertainty", "difference", "roc_auc", "se"), -1),
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ORDERED), st.floats(0, 1), st.floats(0, 1))
def test_better_evidence_never_turns_a_pass_into_a_failure(ordered: Any, first: float, second: float) -> None:
    name, path, direction = ordered
    worse, better = sorted((first, second), reverse=direction < 0)
    if _judge(*_changed(path, worse)).check(name).passed is True:
        assert _judge(*_changed(path, better)).check(name).passed is True


@given(st.sampled_from([row for row in ORDERED if row[0].startswith(("min_", "max_"))]))
def test_a_limit_itself_passes(ordered: Any) -> None:
    """The value may reach the limit where it is known exactly; else its bound may."""
    name, path, direction = ordered
    check = _judge(METRICS, EVALUATION).check(name)
    if path[-1] == "se":
        return
    reach = check.value - check.evidence["low"] if direction > 0 else check.evidence["high"] - check.value
    for slack, passed in ((1e-5, True), (-1e-3, None)):
        found = _judge(*_changed(path, check.limit + direction * (reach + slack))).check(name)
        assert found.passed is passed, (found, reach)
