"""What serves when under a policy, and what is said of its decisions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from greenlight.core.replay import Course, Decision, Policy, Trained, known_before, parse, shipped
from greenlight.core.replay_effects import LiveMonth, comparisons, effect_of
from greenlight.core.replay_report import report
from greenlight.errors import UsageError


def model(name: str, as_of: str) -> Trained:
    return Trained(name, as_of, ("2013-01",), "2013-02", 10)


FIRST = model("first", "2013-03")
MONTHS = ("2013-04", "2013-05", "2013-06")


def course(mode: Any, outcomes: dict[str, str], name: str = "") -> Course:
    """A policy that trains a model of its own name in each month and decides as told."""
    found = Course(Policy(name or mode, mode), FIRST)
    for month in MONTHS:
        kept = found.serve(month)
        outcome = outcomes.get(month, "NotRetrained")
        candidate = None if outcome in ("NotRetrained", "DataRejected") else model(f"of {month}", month)
        found.decide(Decision(month, outcome, "because", candidate, kept))
    return found


def lived(quality: dict[str, float], seed: int = 0, days: int = 28) -> LiveMonth:
    """A month in which each model sees the truth with so much noise."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1, 1.2, days * 100)
    label = (rng.random(odds.size) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    found = LiveMonth(label, np.repeat(np.arange(days), 100))
    for name, noise in quality.items():
        seen = (odds + noise * rng.standard_normal(odds.size)) / (1 + noise**2 / 3)
        found.scores[name] = (1 / (1 + np.exp(-seen))).astype(np.float32)
    return found


def test_a_release_serves_from_the_month_after_and_not_before() -> None:
    found = course("gated", {"2013-04": "Promoted", "2013-05": "KeptChampion", "2013-06": "Promoted"})
    assert [found.served[month].sha256 for month in MONTHS] == ["first", "of 2013-04", "of 2013-04"]
    assert [found.versions[month] for month in MONTHS] == ["v1", "v2", "v2"]
    assert found.version == "v3"


def test_a_model_that_has_seen_the_month_cannot_serve_in_it() -> None:
    with pytest.raises(ValueError, match="has seen 2013-04"):
        Course(Policy("x", "gated"), model("x", "2013-04")).serve("2013-04")


def test_hindsight_chooses_only_from_what_existed() -> None:
    courses = [course("always", dict.fromkeys(MONTHS, "Deployed")), course("never", {})]
    assert set(known_before(courses, "2013-04")) == {"first"}
    assert set(known_before(courses, "2013-06")) == {"first", "of 2013-04", "of 2013-05"}


def test_policies_are_read_from_the_command_line() -> None:
    found = parse(["data.window_months=3,train.seed=7", "always:train.seed=7", "gates.slices.columns=[carrier,origin]"])
    assert [p.mode for p in found] == ["gated", "always", "gated"]
    assert found[0].own == {"data.window_months": 3, "train.seed": 7}
    assert found[2].own == {"gates.slices.columns": ["carrier", "origin"]}
    assert [p.name for p in shipped()] == ["never retrain", "always deploy", "gated"]


@pytest.mark.parametrize("text", ["train.seed", "=7", "", "always:", "train.seed=[1"])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        parse([text])


def test_the_same_policy_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        parse(["train.seed=7", "train.seed=7"])


def test_keeping_a_better_champion_saved_and_its_size_is_the_difference_on_the_next_month() -> None:
    found = course("gated", {"2013-04": "KeptChampion"})
    month = lived({"first": 0.3, "of 2013-04": 3.0})
    effect = effect_of(found, found.decisions[0], {"2013-05": month})
    gap = month.quality("first")["roc_auc"] - month.quality("of 2013-04")["roc_auc"]
    assert effect["effect"]["roc_auc"]["better"] == pytest.approx(gap)
    assert effect["effect"]["roc_auc"]["certain"]
    assert "keeping the champion saved" in effect["words"]
    assert effect["judged_on"] == "2013-05"


def test_a_release_that_lost_is_said_to_have_and_when_its_labels_would_have_shown_it() -> None:
    found = course("gated", {"2013-04": "Promoted"})
    effect = effect_of(found, found.decisions[0], {"2013-05": lived({"first": 0.3, "of 2013-04": 3.0})})
    lost = effect["effect"]["roc_auc"]
    assert lost["better"] < 0
    assert "the release lost" in effect["words"]
    assert lost["shown_by_day"] == 7  # a model that is as good as noise shows at the first look
    assert "by day 7" in effect["words"]


def test_a_loss_within_chance_is_said_to_be_that() -> None:
    found = course("gated", {"2013-04": "Promoted"})
    noisy = lived({"first": 1.0, "of 2013-04": 1.01}, days=10)
    effect = effect_of(found, found.decisions[0], {"2013-05": noisy})
    assert "chance alone could do" in effect["words"]
    assert "shown_by_day" not in effect["effect"]["roc_auc"]


def test_the_decision_of_the_last_month_has_no_effect_yet() -> None:
    found = course("gated", {"2013-06": "Promoted"})
    effect = effect_of(found, found.decisions[-1], {month: lived({}) for month in MONTHS})
    assert effect["effect"] is None
    assert "after the last month" in effect["words"]


def test_the_report_adds_up() -> None:
    gated = course("gated", {"2013-04": "KeptChampion", "2013-05": "Inconclusive", "2013-06": "DataRejected"})
    always = course("always", dict.fromkeys(MONTHS, "Deployed"))
    names = ("first", "of 2013-04", "of 2013-05")
    noise = {"first": 0.5, "of 2013-04": 2.0, "of 2013-05": 0.1}
    months = {m: lived({n: noise[n] for n in names}, seed=i) for i, m in enumerate(MONTHS)}
    found = report([always, gated], months, dataset="test")
    policies = {policy["name"]: policy for policy in found["policies"]}
    assert (policies["always"]["releases"], policies["gated"]["releases"]) == (3, 0)
    kept = policies["gated"]
    assert (kept["rejected"], kept["inconclusive"], kept["data_rejected"]) == (1, 1, 1)
    # April: only the first exists. May: the first is the best. June: May's candidate would have been better.
    assert [row["regret"]["roc_auc"] for row in kept["months"]][:2] == [0, 0]
    assert kept["months"][2]["regret"]["roc_auc"] > 0
    assert policies["always"]["months"][1]["regret"]["roc_auc"] > 0
    compared = next(row for row in found["comparisons"] if row["metric"] == "roc_auc")
    assert (compared["policy"], compared["against"], compared["months_apart"]) == ("gated", "always", 2)
    assert compared["better"] == pytest.approx(
        kept["mean"]["roc_auc"] - policies["always"]["mean"]["roc_auc"], abs=1e-5
    )
    assert [loss["month"] for loss in compared["losses"]] == ["2013-06"]
    assert any("decide little" in line for line in found["answer"])


def test_policies_that_served_the_same_say_so() -> None:
    both = [course("gated", {}), course("never", {})]
    months = {month: lived({"first": 0.5}) for month in MONTHS}
    rows = comparisons(both[0], both[1], months)
    assert {row["answer"] for row in rows} == {"the same models served"}
    assert "served the same models" in report(both, months, dataset="test")["answer"][0]
