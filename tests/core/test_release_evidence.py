"""What follows from what is known of a candidate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from greenlight.core.release_evidence import Evidence, Seen
from greenlight.core.release_limits import Limits
from greenlight.core.release_plan import FULL, Rollout, Step
from greenlight.errors import UsageError

CANARY = tuple(Step("canary", weight=w, min_requests=100, min_seconds=10) for w in (500, 5_000, 10_000))
LIMITS = Limits(0.05, 1.25, 2.0, {"failures": 0.01, "slow": 0.05}, 300)
ROLLOUT = Rollout("v2", "v1", "canary", (*CANARY, FULL), warm=True)


def shares(rng: np.random.Generator, step: int, rates: tuple[float, float]) -> Seen:
    """One second of 400 requests a second, shared as the step says."""
    p = ROLLOUT.steps[step].weight / 10_000
    mine = int(rng.binomial(400, p))
    bad = (int(rng.binomial(mine, rates[0])), int(rng.binomial(400 - mine, rates[1])))
    return Seen(mine, 400 - mine, {"failures": bad, "slow": (0, 0)}, p)


def drive(
    rates: tuple[float, float], seed: int, seconds: int = 400, rollout: Rollout = ROLLOUT
) -> Iterator[tuple[int, int, str, Sequence[str]]]:
    """Second, step, move and reasons; ends with the release. The state is written and read at every look."""
    rng, evidence = np.random.default_rng(seed), Evidence("v2-0.000", LIMITS, 50)
    for second in range(seconds):
        evidence.look(rollout, 1_000.0 + second)
        evidence.add("edge", shares(rng, rollout.step, rates), {"n": second}, 1_000.0 + second)
        evidence = Evidence.from_json(json.loads(json.dumps(evidence.to_json())), LIMITS)
        judged = evidence.judge(rollout)
        yield second, rollout.step, judged.move, judged.reasons
        if judged.move in ("promote", "roll_back"):
            return
        if judged.move == "advance":
            rollout = replace(rollout, step=rollout.step + 1)


@pytest.mark.parametrize("rate", [0.0, 0.002])
def test_a_healthy_candidate_takes_every_step_and_is_promoted(rate: float) -> None:
    moves = list(drive((rate, rate), 1))
    assert [move for _, _, move, _ in moves if move != "hold"] == ["advance", "advance", "promote"]
    by_step = {step: sum(s == step for _, s, _, _ in moves) for step in range(3)}
    assert min(by_step.values()) >= 10, "each step takes its time"


@pytest.mark.parametrize("seed", range(5))
def test_a_candidate_that_always_fails_goes_back_within_two_seconds_at_five_percent(seed: int) -> None:
    second, step, move, reasons = list(drive((1.0, 0.001), seed))[-1]
    assert (move, step) == ("roll_back", 0)
    assert second <= 1
    assert "failures" in reasons[0]


def test_a_candidate_that_fails_once_it_has_all_traffic_goes_back_without_anything_to_compare() -> None:
    rollout = replace(ROLLOUT, step=2)
    rng, evidence = np.random.default_rng(3), Evidence("x", LIMITS, 50)
    evidence.look(rollout, 1.0)
    evidence.add("edge", Seen(0, 4_000, {"failures": (0, 8)}, 0.05), {}, 1.0)
    assert evidence.judge(rollout).move == "hold"
    for _ in range(30):
        evidence.add("edge", Seen(400, 0, {"failures": (int(rng.binomial(400, 0.05)), 0)}, 1.0), {}, 2.0)
        if evidence.judge(rollout).move == "roll_back":
            break
    assert "with all traffic, shown to be above" in evidence.judge(rollout).reasons[0]


def test_nothing_passes_by_silence() -> None:
    evidence = Evidence("x", LIMITS, 50)
    for second in range(100_000, 200_000, 50):
        evidence.look(ROLLOUT, float(second))
        evidence.add("edge", Seen(routing=0.05), {}, float(second))
    judged = evidence.judge(ROLLOUT)
    assert judged.move == "hold"
    assert judged.reasons == ("0 of 100 requests to v2 in canary 5 %",)
    assert evidence.last_request_at == 0


def test_time_without_a_driver_is_not_time_under_its_eyes() -> None:
    evidence = Evidence("x", LIMITS, 50)
    evidence.look(ROLLOUT, 1_000.0)
    evidence.look(ROLLOUT, 900_000.0)
    assert evidence.seconds == 60
    evidence.look(replace(ROLLOUT, waits_for="traffic"), 900_030.0)
    assert evidence.seconds == 60, "nor is time in which it had no users"


def test_a_source_may_hold_a_step_or_end_it() -> None:
    evidence = Evidence("x", LIMITS, 50)
    evidence.look(ROLLOUT, 1.0)
    evidence.look(ROLLOUT, 31.0)
    evidence.add("edge", Seen(500, 500, {}, 0.5), {}, 31.0)
    assert evidence.judge(ROLLOUT).move == "advance"
    evidence.add("log", Seen(lacks=("100 pairs more",)), {}, 31.0)
    assert evidence.judge(ROLLOUT).reasons == ("100 pairs more",)
    evidence.add("log", Seen(against=("it answers NaN",)), {}, 31.0)
    evidence.add("log", Seen(), {}, 32.0)
    assert evidence.judge(ROLLOUT) == replace(evidence.judge(ROLLOUT), move="roll_back", reasons=("it answers NaN",))


@pytest.mark.parametrize("weight", [100, 1_000, 5_000])
def test_failures_of_one_long_look_are_not_read_as_if_the_candidates_had_come_first(weight: int) -> None:
    """A driver was away for an hour in which both versions failed alike."""
    evidence, share = Evidence("x", LIMITS, 50), weight / 10_000
    evidence.look(ROLLOUT, 1.0)
    evidence.add(
        "edge", Seen(weight, 10_000 - weight, {"failures": (weight // 10, 1_000 - weight // 10)}, share), {}, 1.0
    )
    assert evidence.judge(ROLLOUT).move != "roll_back"
    evidence.add("edge", Seen(weight, 10_000 - weight, {"failures": (weight, 1_000)}, share), {}, 2.0)
    assert evidence.judge(ROLLOUT).move == "roll_back", "and where it is truly worse it is told"


def test_what_is_no_evidence_is_refused() -> None:
    document = Evidence("x", LIMITS, 50).to_json()
    with pytest.raises(UsageError, match="schema"):
        Evidence.from_json({**document, "schema": 9}, LIMITS)
    with pytest.raises(UsageError, match="cannot be read"):
        Evidence.from_json({"schema": 1}, LIMITS)


@pytest.mark.slow
def test_a_candidate_that_is_no_worse_is_rolled_back_at_most_as_often_as_promised() -> None:
    """200 releases of 400 looks each, both versions failing alike at 2 %: alpha 5 %, at every step and also alone."""
    back = sum(any(move == "roll_back" for _, _, move, _ in drive((0.02, 0.02), seed, 150)) for seed in range(200))
    assert back <= 18, "5 % of 200 and two and a half standard deviations"
