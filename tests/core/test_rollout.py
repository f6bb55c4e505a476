"""The state machine of a release by steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from greenlight.core import release as moves
from greenlight.core import rollout as steps
from greenlight.core.release import Desired
from greenlight.core.release_plan import FULL, Step, Wish, parse
from greenlight.core.rollout import Traffic, traffic
from greenlight.errors import UsageError

SHADOW = Step("shadow", mirror=10_000, min_requests=10)
CANARY = tuple(Step("canary", weight=w, min_requests=10) for w in (100, 500, 10_000))
AB = Step("ab", weight=5_000, sticky=True, min_requests=10, hypothesis="fewer calls")
PLANS = {"shadow": (SHADOW, FULL), "canary": (*CANARY, FULL), "ab": (AB, FULL), "plan": (SHADOW, *CANARY, FULL)}
VERSIONS = ("v1", "v2", "v3", "v4")


def begun(plan: str = "plan", live: str = "v1", version: str = "v2") -> Desired:
    return steps.begin_rollout(Desired(live=live), version, PLANS[plan], strategy=plan, salt="s1", now=1.0)


def at(step: int, plan: str = "plan") -> Desired:
    state = steps.warmed(begun(plan), 2.0)
    for number in range(step):
        state = steps.advance(state, 3.0 + number)
    return state


def test_a_version_that_is_getting_ready_has_neither_traffic_nor_label() -> None:
    state = begun("canary")
    assert (state.incoming, state.candidate, state.running) == ("v2", "", ("v1", "v2"))
    assert traffic(state) == Traffic("v1", addressable=("v1",))
    assert traffic(steps.warmed(state, 2.0)) == Traffic("v1", "v2", 100, salt="s1", addressable=("v1", "v2"))


def test_every_step_says_what_the_edge_must_do() -> None:
    assert [(t.weight, t.mirror) for t in (traffic(at(i)) for i in range(4))] == [
        (0, 10_000), (100, 0), (500, 0), (10_000, 0)
    ]  # fmt: skip
    assert traffic(at(0, "ab")) == Traffic("v1", "v2", 5_000, sticky=True, salt="s1", addressable=("v1", "v2"))
    with pytest.raises(UsageError, match="the next step is all traffic"):
        steps.advance(at(3), 9.0)


def test_promotion_is_a_switch_that_keeps_the_one_before_warm() -> None:
    state = steps.promote(at(3), keep_warm=1, reason="not worse", now=9.0)
    assert (state.live, state.standby, state.rollout, state.candidate) == ("v2", ("v1",), None, "")
    assert state.last
    assert (state.last.outcome, state.last.reason) == ("promoted", "not worse")
    assert moves.switch_back(state, "v1").last is None, "another release followed"


@pytest.mark.parametrize("outcome", ["rolled_back", "aborted", "superseded"])
@pytest.mark.parametrize("step", range(4))
def test_from_every_step_the_way_back_is_one_move(outcome: str, step: int) -> None:
    state = steps.end(at(step), outcome, "because", 9.0)
    assert traffic(state) == Traffic("v1", addressable=("v1",))
    assert (state.live, state.retiring, state.rollout) == ("v1", ("v2",), None)
    assert state.last
    assert (state.last.version, state.last.outcome) == ("v2", outcome)


def test_a_pause_leaves_the_traffic_and_a_wait_takes_users_from_a_canary_only() -> None:
    assert traffic(steps.pause(at(1))) == traffic(at(1))
    waiting = steps.wait(at(1), "200 requests")
    assert traffic(waiting) == Traffic("v1", "v2", addressable=("v1", "v2"))
    assert traffic(steps.proceed(waiting)) == traffic(at(1))
    assert traffic(steps.wait(at(0), "requests")).mirror == 10_000
    assert traffic(steps.wait(at(0, "ab"), "labels")).weight == 5_000
    assert steps.wait(waiting, "200 requests") is waiting
    assert steps.pause(steps.pause(at(1))) == steps.pause(at(1))
    assert steps.resume(steps.pause(at(1))).rollout == at(1).rollout


def test_one_release_at_a_time_and_a_newer_one_waits() -> None:
    with pytest.raises(UsageError, match=r"a release is under way: v2 at step 2 of 5, canary 1 %"):
        steps.begin_rollout(at(1), "v3", PLANS["canary"], strategy="canary", salt="", now=5.0)
    for move in (lambda s: moves.begin(s, "v3"), moves.switch, lambda s: moves.switch_back(s, "v0")):
        with pytest.raises(UsageError):
            move(at(1))
    queued = steps.enqueue(steps.enqueue(at(1), Wish("v3")), Wish("v4", "full"))
    assert queued.next == Wish("v4", "full")
    with pytest.raises(UsageError, match="being released already"):
        steps.enqueue(queued, Wish("v2"))
    free = steps.end(queued, "aborted", "", 5.0)
    assert free.next == Wish("v4", "full")
    assert steps.begin_rollout(free, "v4", PLANS["ab"], strategy="ab", salt="", now=6.0).next is None


def test_a_start_that_broke_off_is_given_up_whole() -> None:
    assert moves.abandon(begun()).rollout is None
    assert moves.abandon(begun()).running == ("v1",)
    assert steps.end(begun(), "given_up", "no", 2.0).retiring == ("v2",)


def test_the_first_release_is_never_by_steps() -> None:
    with pytest.raises(UsageError, match="nothing serves yet"):
        steps.begin_rollout(Desired(), "v1", PLANS["canary"], strategy="canary", salt="", now=0.0)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Step("canary", weight=100, mirror=100, min_requests=1), "at once"),
        (lambda: Step("canary", weight=0, min_requests=1), "would get nothing"),
        (lambda: Step("shadow", weight=5, min_requests=1), "would get nothing"),
        (lambda: Step("canary", weight=10_001, min_requests=1), "0 to 10000"),
        (lambda: Step("canary", weight=100), "silent"),
        (lambda: Step("big bang", weight=100), "no step"),
        (lambda: replace(at(1).rollout, salt="a b"), "salt"),
        (lambda: replace(at(1).rollout, step=4), "step 4 of 5"),
        (lambda: replace(at(1).rollout, steps=CANARY), "does not end"),
        (lambda: replace(at(1).rollout, stable="v2"), "compared"),
        (lambda: Traffic("v1", "v2", 1, 1), "one of them 0"),
        (lambda: Traffic("v1", "", 1), "no candidate"),
    ],
)  # fmt: skip
def test_what_no_release_may_be_cannot_be_made(made: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        made()


def test_strategies_by_name() -> None:
    plan = ("shadow", "canary", "full")
    assert parse("full", plan) == ("full",)
    assert parse("canary", plan) == ("canary", "full")
    assert parse("plan", plan) == plan
    assert parse(" shadow, ab ", plan) == ("shadow", "ab", "full")
    for wrong in ("", "fast", "canary,canary", "full,canary", "canary,plan"):
        with pytest.raises(UsageError):
            parse(wrong, plan)


def test_a_document_of_before_releases_by_steps_is_read_and_a_contradiction_is_not() -> None:
    old = {
        "schema": 1, "generation": 4, "live": "v2", "incoming": "", "retiring": [], "standby": ["v1"], "strategy": "full"
    }  # fmt: skip
    assert Desired.from_json(old) == Desired(4, "v2", standby=("v1",))
    document = at(2).to_json()
    assert Desired.from_json(document) == at(2)
    with pytest.raises(UsageError, match="v9 serves"):
        Desired.from_json({**document, "live": "v9"})
    with pytest.raises(UsageError, match="cannot be read"):
        Desired.from_json({**document, "rollout": {"version": "v2"}})


class Machine(RuleBasedStateMachine):
    """Any order of moves by drivers, people and crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Desired()
        self.verified: set[str] = set()
        self.clock = 0.0

    def do(self, move: Callable[[Desired], Desired]) -> bool:
        before = self.state
        self.clock += 1
        try:
            self.state = move(before)
        except UsageError:
            assert self.state is before
            return False
        assert self.state.generation >= before.generation
        assert not (before.live and not self.state.live), "once something serves, something serves"
        return True

    @initialize()
    def first(self) -> None:
        self.do(lambda s: moves.begin(s, "v1"))
        self.verified.add("v1")
        self.do(moves.switch)

    @rule(version=st.sampled_from(VERSIONS), plan=st.sampled_from(sorted(PLANS)))
    def begin(self, version: str, plan: str) -> None:
        warm = version in self.state.standby
        if (
            self.do(lambda s: steps.begin_rollout(s, version, PLANS[plan], strategy=plan, salt="s", now=self.clock))
            and not warm
        ):
            self.verified.discard(version)

    @rule(version=st.sampled_from(VERSIONS))
    def begin_full(self, version: str) -> None:
        if self.do(lambda s: moves.begin(s, version)):
            self.verified.discard(version)

    @rule()
    def get_ready(self) -> None:
        """What the operation does before it moves a label or the traffic: preflight, start, health."""
        self.verified |= {self.state.incoming} - {""}
        if self.state.rollout:
            self.do(lambda s: steps.warmed(s, self.clock))
        else:
            self.do(lambda s: moves.switch(s, keep_warm=1))

    @rule()
    def advance(self) -> None:
        self.do(lambda s: steps.advance(s, self.clock))

    @rule()
    def promote(self) -> None:
        self.do(lambda s: steps.promote(s, keep_warm=1, reason="", now=self.clock))

    @rule()
    def pause(self) -> None:
        self.do(steps.pause)

    @rule()
    def resume(self) -> None:
        self.do(steps.resume)

    @rule()
    def wait(self) -> None:
        self.do(lambda s: steps.wait(s, "traffic"))

    @rule()
    def proceed(self) -> None:
        self.do(steps.proceed)

    @rule(outcome=st.sampled_from(["rolled_back", "aborted", "superseded", "given_up"]))
    def end(self, outcome: str) -> None:
        before = self.state
        if self.do(lambda s: steps.end(s, outcome, "", self.clock)):
            assert traffic(self.state).candidate == ""
            assert traffic(self.state).stable == before.live

    @rule(version=st.sampled_from(VERSIONS))
    def enqueue(self, version: str) -> None:
        self.do(lambda s: steps.enqueue(s, Wish(version)))

    @rule(version=st.sampled_from(VERSIONS))
    def back(self, version: str) -> None:
        self.do(lambda s: moves.switch_back(s, version, keep_warm=1))

    @rule(version=st.sampled_from(VERSIONS))
    def stopped(self, version: str) -> None:
        self.do(lambda s: moves.retire(s, version))

    @rule()
    def crash(self) -> None:
        """Everything in memory is gone; the document is read, and what had not got ready is given up, as `up` does."""
        self.state = Desired.from_json(self.state.to_json())
        self.do(moves.abandon)

    @invariant()
    def one_stable_and_nothing_unverified_has_traffic(self) -> None:
        now = traffic(self.state)
        assert now.stable == self.state.live
        assert now.candidate != now.stable or not now.stable
        assert 0 <= now.weight <= 10_000
        assert not (now.weight and now.mirror), "never a mirror and a weight at once"
        answering = {now.stable, now.candidate if now.weight or now.mirror else ""} - {""}
        assert answering <= self.verified
        assert set(now.addressable) <= self.verified
        assert set(now.addressable) <= set(self.state.running)
        assert not set(now.addressable) & set(self.state.retiring)
        if self.state.rollout is None:
            assert (now.weight, now.mirror, now.candidate) == (0, 0, "")

    @invariant()
    def the_document_is_the_whole_state(self) -> None:
        again = Desired.from_json(self.state.to_json())
        assert again == self.state
        assert traffic(again) == traffic(self.state)


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMachine = Machine.TestCase


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_share_is_the_candidates_or_a_copy(weight: int, mirror: int) -> None:
    if weight and mirror:
        with pytest.raises(UsageError):
            Traffic("v1", "v2", weight, mirror)
    else:
        assert Traffic("v1", "v2", weight, mirror).weight == weight
