"""The guard of a release: one that is worse rolls back, all that are fine promote, silence does neither."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlight.core.eprocess import Comparison, Guard, GuardVerdict, Measure, discordant
from greenlight.errors import UsageError

FAILURES = Measure("failures", ceiling=0.01)
SLOW = Measure("slow", ceiling=0.02)
INVALID = Measure("invalid", ceiling=0.01)
LABELS = Measure("labels", ceiling=0.05, needed=False, paired=True)
ALL = (FAILURES, SLOW, INVALID, LABELS)


def guard(*measures: Measure, **given: float) -> Guard:
    return Guard(measures or ALL, min_requests=200, min_seconds=60, **given)  # type: ignore[arg-type]


def test_silence_is_never_success() -> None:
    """Neither nothing at all, nor time without requests, nor requests without time."""
    for requests, seconds in ((0, 0), (0, 1e6), (150, 1e6), (10**6, 10)):
        verdict = guard().observe(requests, seconds).verdict()
        assert verdict.decision == "undecided", (requests, seconds)
        assert any("of at least" in reason for reason in verdict.reasons)


def test_a_candidate_without_a_failure_is_promoted_by_its_own_rate() -> None:
    """And not before: the least number of requests says what it still waits for."""
    its = guard(FAILURES).observe(300, 120)
    waits = its.verdict()
    assert waits.decision == "undecided"
    assert waits.reasons == ("failures: 0 in 300 requests; 115 more without one would show it below 1.00%",)
    assert its.observe(114, 1).verdict().decision == "undecided"
    promoted = its.observe(1, 1).verdict()
    assert promoted.decision == "promote"
    assert "0 in 415 requests, shown to be below 1.00%" in promoted.reasons[0]


def test_without_a_ceiling_a_candidate_without_failures_is_never_told_from_a_bad_one() -> None:
    verdict = guard(replace(FAILURES, ceiling=None)).observe(10**9, 1e9).verdict()
    assert verdict.decision == "undecided"
    assert "no ceiling is set" in verdict.reasons[0]


def test_a_broken_candidate_is_rolled_back_before_any_least_exposure() -> None:
    verdict = guard().observe(5, 1).update("failures", [True] * 5, [0.05] * 5).verdict()
    assert verdict.decision == "roll_back"
    assert "5 of 5 were the candidate's" in verdict.reasons[0]
    assert len(verdict.reasons) == 1


def test_one_bad_measure_outweighs_all_good_ones() -> None:
    its = guard().observe(100_000, 3600).update("slow", [True] * 20, [0.1] * 20)
    assert {f.name: f.state for f in its.verdict().findings} == {
        "failures": "fine",
        "slow": "worse",
        "invalid": "fine",
        "labels": "open",
    }
    assert its.verdict().decision == "roll_back"


def test_late_labels_roll_back_and_are_not_waited_for() -> None:
    its = guard().observe(100_000, 3600)
    assert its.verdict().decision == "promote"
    mine, p = discordant([True] * 30 + [False] * 70, [False] * 100)
    assert its.update("labels", mine, p, judged=100).verdict().decision == "roll_back"


def test_labels_that_are_needed_are_waited_for_and_their_agreement_is_enough() -> None:
    its = guard(FAILURES, replace(LABELS, needed=True)).observe(10_000, 3600)
    assert "labels: 0 of at least 200 pairs judged" in its.verdict().reasons
    its.update("labels", *discordant([False] * 250, [False] * 250), judged=250)
    assert its.verdict().decision == "promote"


def test_a_guard_that_needs_nothing_promotes_nothing() -> None:
    verdict = guard(replace(FAILURES, needed=False)).observe(10**6, 1e6).verdict()
    assert verdict.decision == "undecided"


def test_both_failing_alike_is_not_the_candidates_fault() -> None:
    """5 % in both: above the ceiling, but shown to be no worse; that promotes, and never rolls back."""
    rng = np.random.default_rng(2)
    its = guard(FAILURES).observe(20_000, 3600).update("failures", rng.random(2000) < 0.5, np.full(2000, 0.5))
    verdict = its.verdict()
    assert verdict.decision == "promote"
    assert "less than 2 times as often" in verdict.reasons[0]
    assert verdict.findings[0].upper > 0.01


def test_more_failures_than_requests_show_nothing() -> None:
    verdict = guard(FAILURES).observe(0, 100).update("failures", [True, True], [0.9, 0.9]).verdict()
    assert verdict.decision == "undecided"
    assert any("counts disagree" in reason for reason in verdict.reasons)
    assert verdict.findings[0].upper == 1.0


def test_alpha_is_split_by_share() -> None:
    its = Guard([replace(FAILURES, share=3), SLOW], alpha=0.04)
    assert its.comparisons["failures"].alpha == pytest.approx(0.03)
    assert sum(c.alpha for c in its.comparisons.values()) == pytest.approx(0.04)


STEP = st.tuples(st.sampled_from([m.name for m in ALL]), st.booleans(), st.floats(0.01, 0.99), st.integers(0, 900))


@given(st.lists(STEP, max_size=20))
@settings(max_examples=40, deadline=None)
def test_a_killed_controller_goes_on_as_if_nothing_had_happened(steps: list[tuple[str, bool, float, int]]) -> None:
    """Kept as JSON after every step, the verdict is word for word that of one that lived."""
    lived, kept = guard(), guard()
    for name, mine, p, requests in steps:
        kept = Guard.from_json(json.loads(json.dumps(kept.to_json(), allow_nan=False)))
        for its in (lived, kept):
            its.observe(requests, 10).update(name, [mine], [p])
    assert kept.verdict() == lived.verdict()
    assert json.loads(json.dumps(lived.verdict().to_json(), allow_nan=False))["decision"] == lived.verdict().decision


def run(rng: np.random.Generator, stable: float, candidate: float, requests: int) -> GuardVerdict:
    """A canary at 10 %, looked at every 100 requests until it is decided."""
    its = Guard([FAILURES, SLOW], min_requests=100)
    arm = rng.random(requests) < 0.1
    fails = [rng.random(requests) < np.where(arm, candidate, stable) for _ in range(2)]
    for begin in range(0, requests, 100):
        part = slice(begin, begin + 100)
        its.observe(int(arm[part].sum()), 10)
        for name, fail in zip(("failures", "slow"), fails, strict=True):
            failed = arm[part][fail[part]]
            its.update(name, failed, np.full(failed.size, 0.1))
        if (verdict := its.verdict()).decision != "undecided":
            return verdict
    return its.verdict()


@pytest.mark.parametrize(("stable", "candidate", "right"), [(0.001, 0.001, "promote"), (0.001, 0.2, "roll_back")])
def test_whole_canaries_end_as_they_should(stable: float, candidate: float, right: str) -> None:
    rng = np.random.default_rng(8)
    ends = [run(rng, stable, candidate, 20_000).decision for _ in range(8)]
    assert ends.count(right) >= 6  # alpha 5 %: three wrong of eight have a chance of 0.6 % at the very most


def test_a_candidate_at_its_ceiling_is_hardly_ever_promoted() -> None:
    """The other mistake: it fails as often as it may at the very most; looked at every 75 requests."""
    rng, promoted, runs = np.random.default_rng(4), 0, 150
    for _ in range(runs):
        its = guard(replace(FAILURES, margin=1e6, not_worse_margin=1e6)).observe(0, 100)
        for _ in range(20):
            failed = int(rng.binomial(75, FAILURES.ceiling or 0))
            its.observe(75, 1).update("failures", [True] * failed, [0.5] * failed)
            if its.verdict().decision == "promote":
                promoted += 1
                break
    assert promoted / runs <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / runs)


@pytest.mark.parametrize(
    "given_",
    [
        {"measures": []},
        {"measures": [FAILURES, FAILURES]},
        {"measures": [FAILURES], "alpha": 1.0},
        {"measures": [FAILURES], "min_requests": 0},
        {"measures": [FAILURES], "min_seconds": math.nan},
    ],
)
def test_a_guard_that_makes_no_sense_is_refused(given_: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Guard(**given_)  # type: ignore[arg-type]


@pytest.mark.parametrize("given_", [{"name": ""}, {"ceiling": 0.0}, {"share": 0.0}, {"share": math.nan}])
def test_a_measure_that_makes_no_sense_is_refused(given_: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(FAILURES, **given_)


def test_exposure_only_grows_and_unknown_measures_are_named() -> None:
    for requests, seconds in ((-1, 0), (0, -1), (0, math.inf)):
        with pytest.raises(UsageError, match="only grows"):
            guard().observe(requests, seconds)
    with pytest.raises(UsageError, match="only grows"):
        guard().update("slow", [], [], judged=-1)
    with pytest.raises(UsageError, match="does not watch 'errors', it watches failures, slow, invalid, labels"):
        guard().update("errors", [], [])


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 9},
        {"measures": 1},
        {"judged": {}},
        {"judged": dict.fromkeys((m.name for m in ALL), -1)},
        {"alpha": 0.5},
        {"seconds": -1},
        {"comparisons": {}},
        {"min_requests": "x"},
    ],
)
def test_a_broken_state_of_the_guard_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Guard.from_json(guard().to_json() | change)


@pytest.mark.parametrize("document", [[], {}, "guard", None, {"schema": 1}])
def test_what_is_no_state_at_all_is_refused(document: object) -> None:
    for kind in (Guard, Comparison):
        with pytest.raises(UsageError):
            kind.from_json(document)  # type: ignore[attr-defined]
