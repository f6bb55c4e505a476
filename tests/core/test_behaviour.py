"""Rows changed on purpose, groups of people, and slices that nobody declared: what is planted is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evaluations import LIMITS, documents

from greenlight.core import groups, slice_search
from greenlight.core.behaviour import Direction, Invariance, measure, odd_requests
from greenlight.core.gates import judge
from greenlight.core.groups import Protected
from greenlight.core.model import Feature
from greenlight.core.paired import Clusters

METRICS, EVALUATION = documents()
ROWS = 12_000


def judged(name: str, **evaluation: Any) -> Any:
    return judge(METRICS, EVALUATION | evaluation, LIMITS).check(name)


def _planted(bad: float) -> tuple[Any, Any, Any, Any]:
    """Two models alike, but the candidate inverted on a share `bad` of the rows in one corner."""
    rng = np.random.default_rng(4)
    place, hour = rng.choice(np.array(["A", "B", "C"], dtype=object), ROWS), rng.integers(0, 24, ROWS)
    odds = rng.normal(0, 1, ROWS)
    label = (rng.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    champion = 1 / (1 + np.exp(-odds + rng.normal(0, 0.3, ROWS)))
    candidate = 1 / (1 + np.exp(-odds + rng.normal(0, 0.3, ROWS)))
    corner = (place == "B") & (hour >= 18) & (rng.random(ROWS) < bad)
    candidate[corner] = 1 - candidate[corner]
    matrix = np.stack([hour, rng.normal(size=ROWS)], axis=1).astype(np.float32)
    scores = {"candidate": candidate.astype(np.float32), "champion": champion.astype(np.float32)}
    return label, scores, {"place": place}, matrix


def _search(bad: float, *, champion: bool = True) -> dict[str, Any]:
    label, scores, columns, matrix = _planted(bad)
    features = (Feature("hour", "q"), Feature("noise", "q"))
    cuts = slice_search.cuts_of(columns, matrix, features, {"hour": 9.0, "noise": 1.0})
    days = Clusters(np.arange(ROWS) // 400, 30)
    kept = scores if champion else {"candidate": scores["candidate"]}
    return slice_search.search(label, kept, cuts, clusters=days, min_rows=300, min_positives=100)


@pytest.mark.parametrize("champion", [True, False])
def test_a_bad_corner_that_nobody_declared_is_found_and_fails(champion: bool) -> None:
    found = _search(1.0, champion=champion)
    assert found["rows"][0]["name"] == "place B & hour >= 17"
    if champion:
        check = judged("slices_found", found=found)
        assert check.passed is False
        assert "place B & hour >= 17" in check.explanation


def test_two_models_that_are_alike_have_no_bad_corner() -> None:
    """Twenty slices are looked at, and the worst of them is no worse than chance makes it."""
    found = _search(0.0)
    assert found["looked_at"] >= 20
    assert judged("slices_found", found=found).passed is True


def test_what_is_looked_at_counts_and_not_only_what_is_shown() -> None:
    """The same slices, found among a hundred thousand, are no longer beyond chance."""
    found = _search(0.25)
    assert judged("slices_found", found=found).passed is False
    assert judged("slices_found", found=found | {"looked_at": 10**9}).passed is True


def test_too_small_slices_are_not_looked_at() -> None:
    label, scores, columns, matrix = _planted(1.0)
    cuts = slice_search.cuts_of(columns, matrix, (Feature("hour", "q"), Feature("noise", "q")), {})
    days = Clusters(np.arange(ROWS) // 400, 30)
    found = slice_search.search(label, scores, cuts, clusters=days, min_rows=ROWS + 1, min_positives=1)
    assert found == {"looked_at": 0, "rows": []}


# Groups of people


def _groups(apart: float, rows: int = 20_000, *, measures: tuple[str, ...] = groups.MEASURES) -> list[dict[str, Any]]:
    """A synthetic dataset's declaration: two groups, one of which is decided on more often by `apart`."""
    rng = np.random.default_rng(9)
    group = rng.choice(np.array(["x", "y"], dtype=object), rows)
    label = (rng.random(rows) < 0.3).astype(np.int8)
    probability = np.full(rows, 0.3, dtype=np.float32)
    decision = rng.random(rows) < 0.3 + apart * (group == "y")
    declared = (Protected("group", measures),)
    days = Clusters(np.arange(rows) // (rows // 30 + 1), 30)
    return groups.measure(label, probability, decision, declared, {"group": group}, days, min_rows=300)


def test_groups_that_are_treated_alike_pass() -> None:
    found = _groups(0.0)
    assert [row["value"] for row in found[0]["groups"]] == ["x", "y"]
    assert judged("fairness", groups=found).passed is True


def test_a_group_that_is_decided_on_more_often_fails_and_both_are_named() -> None:
    check = judged("fairness", groups=_groups(0.3))
    assert check.passed is False
    assert check.limit < check.evidence["low"] < check.value < check.evidence["high"]
    assert "x and y" in check.explanation
    assert {row["measure"] for row in check.evidence["worst"]} == {
        "group, decision rate",
        "group, true positive rate",
        "group, false positive rate",
    }


def test_a_difference_near_the_limit_cannot_be_told() -> None:
    check = judged("fairness", groups=_groups(0.09, measures=("decision_rate",)))
    assert check.passed is None
    assert "more days (" in check.explanation
    assert "labelled rows) would settle it" in check.explanation
    assert check.evidence["rows_needed"] > 8000


def test_the_standard_error_of_a_difference_is_that_of_two_shares() -> None:
    its = _groups(0.1)[0]
    apart, (x, y) = its["apart"]["decision_rate"], its["groups"]
    shares = [row["decision_rate"] * (1 - row["decision_rate"]) / row["rows"] for row in (x, y)]
    assert apart["difference"] == pytest.approx(abs(x["decision_rate"] - y["decision_rate"]))
    assert apart["se"] == pytest.approx(sum(shares) ** 0.5, rel=0.35)  # 30 days tell their own spread to about a tenth


def test_one_group_alone_is_compared_with_nobody() -> None:
    rng = np.random.default_rng(1)
    label, decision = (rng.random(2000) < 0.5).astype(np.int8), rng.random(2000) < 0.5
    one = {"group": np.array(["x"] * 2000, dtype=object)}
    found = groups.measure(
        label, np.full(2000, 0.5, np.float32), decision, (Protected("group"),), one, Clusters.rows(2000), min_rows=300
    )
    assert judged("fairness", groups=found).passed is None


# Rows changed on purpose

SCHEMA = {
    "properties": {
        "a": {"type": "string"},
        "b": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 9}, {"type": "null"}]},
        "c": {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}]},
    },
    "required": ["a"],
}


def test_odd_requests_are_those_that_the_schema_allows() -> None:
    assert odd_requests(SCHEMA, {"a": "never", "z": "no field"}) == [
        ("b not known", {"b": None}),
        ("c not known", {"c": None}),
        ("nothing known that need not be", {"b": None, "c": None}),
        ("b 0", {"b": 0.0}),
        ("b 9", {"b": 9.0}),
        ("c 1", {"c": 1}),
        ("a never seen", {"a": "never"}),
    ]


def _behaviour(score: Any) -> dict[str, Any]:
    columns = {"x": np.linspace(0, 1, 50)}
    legal = [("x not known", {"x": np.array([np.nan])}), ("x 1", {"x": np.array([1.0])})]
    return measure(
        score,
        columns,
        legal,
        invariances=[Invariance("x as text and back", lambda c: {"x": c["x"].astype(str).astype(float)})],
        directions=[Direction("more x", lambda c: {"x": c["x"] * 0}, lambda c: {"x": c["x"] * 0 + 1})],
    )


@pytest.mark.parametrize(
    ("score", "failed"),
    [
        (lambda c: np.nan_to_num(c["x"], nan=0.5).astype(np.float32), set()),
        (lambda c: c["x"].astype(np.float32), {"answers"}),  # not a number where x is not known
        (lambda c: (1 - np.nan_to_num(c["x"], nan=0.5)).astype(np.float32), {"directions"}),
        (lambda c: np.random.default_rng(int(c["x"].size)).random(c["x"].size).astype(np.float32), set()),
    ],
)
def test_each_kind_of_test_has_its_gate(score: Any, failed: set[str]) -> None:
    found = _behaviour(score)
    verdict = judge(METRICS, EVALUATION | {"behaviour": found}, LIMITS)
    assert {check.name for check in verdict.failed} == failed


def test_a_probability_that_moves_where_it_must_not_fails() -> None:
    calls = iter(range(100))
    check = judged("invariance", behaviour=_behaviour(lambda c: np.full(c["x"].size, next(calls) / 100, np.float32)))
    assert check.passed is False
    assert check.evidence["worst"][0]["change"] == "x as text and back"


def test_a_model_that_breaks_on_a_legal_request_answers_nothing() -> None:
    def breaks(columns: Any) -> Any:
        if np.isnan(columns["x"]).any():
            raise TypeError("no NaN please")
        return np.full(columns["x"].size, 0.5, dtype=np.float32)

    check = judged("answers", behaviour=_behaviour(breaks))
    assert check.passed is False
    assert "x not known" in check.explanation
