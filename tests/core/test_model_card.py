"""The model card: complete, honest about what is not known, the same for the same run."""

from __future__ import annotations

import copy
from typing import Any

from evaluations import LIMITS, documents

from greenlight.adapters.model_card import render
from greenlight.config import JudgedParams
from greenlight.core.gates import judge
from greenlight.core.model_card import card
from greenlight.limits import Override

METRICS, EVALUATION = documents()
ABOUT = {"use": "To plan.", "not_for": "People.", "data": "Drawn.", "limits": "Only <b>drawn</b> | rows."}


def _card(metrics: Any = METRICS, evaluation: Any = EVALUATION, about: Any = ABOUT) -> Any:
    return card(judge(metrics, evaluation, LIMITS), metrics, evaluation, about)


def test_it_has_use_data_intervals_slices_and_limits() -> None:
    text = _card().markdown()
    for title in ("Intended use", "Data", "Quality on the rows held out", "Beside the champion", "Slices", "Limits"):
        assert f"## {title}" in text
    area = METRICS["candidate"]["roc_auc"]
    assert f"| ROC AUC | {area:.3f} (" in text
    assert "Not for: People." in text
    assert "counted over 31 days" in text
    for row in EVALUATION["slices"]:
        assert f"| {row['column']} {row['value']} | {row['rows']:,} |" in text
    assert "Too small to test (slices_floor): carrier HA." in text
    assert "declares no protected groups" in text


def test_what_the_gates_could_not_say_stands_under_its_limits() -> None:
    evaluation = copy.deepcopy(EVALUATION)
    evaluation["uncertainty"]["difference"]["roc_auc"]["se"] = 0.2
    limits = _card(evaluation=evaluation).markdown().split("## Limits")[1]
    assert "champion_roc_auc cannot be decided" in limits


def test_who_overrode_a_gate_stands_under_its_limits_whatever_the_decision() -> None:
    given = Override(gate="min_roc_auc", by="Ada Example", reason="Known since the strike", expires="2013-09-30")
    metrics = copy.deepcopy(METRICS)
    metrics["candidate"]["roc_auc"] = 0.4  # breaks other gates, too, so that the summary does not name the override
    limits = LIMITS.model_copy(update={"overrides": [given]})
    verdict = judge(metrics, EVALUATION, limits, judged=JudgedParams(day="2013-09-01"))
    assert verdict.decision == "reject"
    text = card(verdict, metrics, EVALUATION, ABOUT).markdown().split("## Limits")[1]
    assert "min_roc_auc failed, overridden by Ada Example until 2013-09-30 (Known since the strike)" in text


def test_without_a_champion_or_any_word_of_the_dataset_there_is_still_a_card() -> None:
    text = _card(*documents(champion=False), {}).markdown()
    assert "There was no champion to compare with." in text
    assert "does not say what it is for" in text


def test_rows_taken_for_independent_are_said_to_be() -> None:
    evaluation = copy.deepcopy(EVALUATION)
    evaluation["uncertainty"]["clustered_by"] = ""
    assert "Rows are taken for independent" in _card(evaluation=evaluation).markdown()


def test_the_page_is_the_card_escaped_and_asks_nothing_of_the_network() -> None:
    page = render(_card())
    assert "Only &lt;b&gt;drawn&lt;/b&gt; | rows." in page
    assert not any(word in page for word in ("<script", "http", "url(", "@import"))
    assert page == render(_card(copy.deepcopy(METRICS), copy.deepcopy(EVALUATION)))
    assert "Only <b>drawn</b> \\| rows." not in page
