"""The verdict as a value: what its checks add up to, and its forms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from evaluations import LIMITS, documents
from hypothesis import given
from hypothesis import strategies as st

from greenlight.core.check import Check, number
from greenlight.core.gates import judge
from greenlight.core.verdict import Verdict, decide

METRICS, EVALUATION = documents()
GOOD = judge(METRICS, EVALUATION, LIMITS)


def _verdict(*passed: bool | None) -> Verdict:
    checks = tuple(
        Check(f"gate_{i}", "Does it?", said, 0.5, 0.6, {"worst": [{"slice": f"a|{i}", "drop": 0.1}]}, f"Because {i}.")
        for i, said in enumerate(passed)
    )
    return Verdict(decide(checks), checks, "flight_delay", "2013-08", 28_756, "v1")


@given(st.lists(st.sampled_from([True, False, None]), max_size=8))
def test_any_no_rejects_any_doubt_is_inconclusive_and_only_all_yes_promotes(said: list[bool | None]) -> None:
    decision = _verdict(*said).decision
    if False in said:
        assert decision == "reject"
    elif None in said or not said:
        assert decision == "inconclusive"
    else:
        assert decision == "promote"
    assert _verdict(*said).promoted == (decision == "promote")


@given(st.lists(st.sampled_from([True, False, None]), max_size=6))
def test_json_reads_back_to_the_same_verdict(said: list[bool | None]) -> None:
    verdict = _verdict(*said)
    assert Verdict.from_json(verdict.text()) == verdict
    assert Verdict.from_json(json.loads(verdict.text())).text() == verdict.text()


def test_a_real_verdict_reads_back() -> None:
    assert Verdict.from_json(GOOD.text()) == GOOD


@pytest.mark.parametrize(
    "change",
    [
        {"decision": "promote"},
        {"format": 99},
        {"checks": None},
        {"checks": [{"name": "a"}]},
    ],
)
def test_what_is_no_verdict_or_was_edited_is_refused(change: dict[str, Any]) -> None:
    document = _verdict(True, False).to_json() | change
    with pytest.raises(ValueError, match=r"verdict|checks"):
        Verdict.from_json(document)


@pytest.mark.parametrize("said", [1, 0, "yes"])
def test_a_check_is_yes_no_or_undecided_and_nothing_else(said: Any) -> None:
    document = _verdict(True).to_json()
    document["checks"][0]["passed"] = said
    with pytest.raises(ValueError, match="neither passed, failed nor undecided"):
        Verdict.from_json(document)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "7"])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"verdict|Expecting"):
        Verdict.from_json(text)


def test_the_summary_of_a_no_names_what_failed_and_why() -> None:
    text = _verdict(True, False, None, False).summary()
    assert text.startswith("Reject: gate_1, gate_3 failed (2 of 4 checks on the holdout 2013-08, 28,756 rows)")
    assert text.endswith("so champion v1 stays. Because 1.")


def test_the_summary_of_a_yes_compares_with_the_champion() -> None:
    assert GOOD.summary().startswith(f"Promote: the candidate passed all {len(GOOD.checks)} checks")
    assert "better than champion v1's" in GOOD.summary()


def test_markdown_has_summary_every_check_the_evidence_behind_a_no_and_the_metrics() -> None:
    text = _verdict(True, False).markdown(METRICS)
    assert text.startswith("# Reject: flight_delay as of 2013-08\n\n" + _verdict(True, False).summary())
    assert "`gate_0`" in text
    assert "### gate_1: Does it?" in text
    assert "| a\\|1 | 0.1 |" in text
    assert "### gate_0" not in text
    assert "| roc_auc |" in text
    widths = {line.count("|") for line in text.split("## Checks")[1].split("###")[0].splitlines() if line}
    assert widths == {6}
    assert "| passed | `gate_0` |" in text  # words: signs are empty boxes where no font has them
    assert "| **failed** | `gate_1` |" in text
    assert "| cannot be decided | `gate_1` |" in _verdict(True, None).markdown()


def test_an_unknown_check_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        GOOD.check("nonsense")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (28756, "28,756"),
        (0.6, "0.6"),
        (0.04197, "0.042"),
        (-0.000299, "-0.0003"),
        (-0.00001, "0"),
        (3, "3"),
    ],
)
def test_figures_for_people(value: float | None, shown: str) -> None:
    assert number(value) == shown
