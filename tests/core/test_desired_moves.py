"""The desired state and its transitions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlight.core.release import Desired, abandon, begin, cool, retire, switch, switch_back
from greenlight.errors import UsageError

MOVES: dict[str, Callable[[Desired, str], Desired]] = {
    "begin": begin,
    "switch": lambda state, _: switch(state),
    "switch keeping one": lambda state, _: switch(state, keep_warm=1),
    "switch back": lambda state, version: switch_back(state, version, keep_warm=1),
    "cool": cool,
    "abandon": lambda state, _: abandon(state),
    "retire": retire,
}
VERSIONS = st.sampled_from(["v1", "v2", "v3"])


def test_first_release() -> None:
    state = switch(begin(Desired(), "v1"))
    assert (state.live, state.incoming, state.retiring, state.generation) == ("v1", "", (), 2)


def test_old_version_retires_only_after_the_switch() -> None:
    begun = begin(Desired(live="v1"), "v2")
    assert begun.live == "v1"
    assert begun.running == ("v1", "v2")
    switched = switch(begun)
    assert switched.live == "v2"
    assert switched.retiring == ("v1",)
    assert retire(switched, "v1").running == ("v2",)


def test_abandoned_release_leaves_the_live_version() -> None:
    assert abandon(begin(Desired(live="v1"), "v2")).running == ("v1",)


def test_nothing_to_abandon_changes_nothing() -> None:
    state = Desired(generation=4, live="v1")
    assert abandon(state) is state
    assert retire(state, "v9") is state


def test_version_on_its_way_out_can_come_back() -> None:
    state = begin(Desired(live="v2", retiring=("v1",)), "v1")
    assert state.incoming == "v1"
    assert state.retiring == ()


def test_version_before_stays_on_standby_and_the_one_before_that_retires() -> None:
    second = switch(begin(Desired(live="v1"), "v2"), keep_warm=1)
    assert (second.live, second.standby, second.retiring, second.running) == ("v2", ("v1",), (), ("v2", "v1"))
    third = switch(begin(second, "v3"), keep_warm=1)
    assert (third.live, third.standby, third.retiring) == ("v3", ("v2",), ("v1",))


def test_switch_back_swaps_without_a_start() -> None:
    state = switch(begin(Desired(live="v1"), "v2"), keep_warm=1)
    back = switch_back(state, "v1", keep_warm=1)
    assert (back.live, back.incoming, back.standby, back.retiring) == ("v1", "", ("v2",), ())
    assert switch_back(state, "v1", keep_warm=0).retiring == ("v2",)
    with pytest.raises(UsageError, match="not on standby"):
        switch_back(state, "v3")


def test_standby_that_must_be_started_again_is_no_longer_on_standby() -> None:
    state = begin(switch(begin(Desired(live="v1"), "v2"), keep_warm=1), "v1")
    assert (state.incoming, state.standby) == ("v1", ())
    assert abandon(state).running == ("v2",)


def test_document_of_before_standby_is_read() -> None:
    document = Desired(live="v1").to_json()
    del document["standby"]
    assert Desired.from_json(document) == Desired(live="v1")


@pytest.mark.parametrize("version", ["", "1", "v0", "v1 ", "../v1", "V1", "v01"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(UsageError):
        begin(Desired(), version)


def test_live_version_cannot_be_released_again() -> None:
    with pytest.raises(UsageError, match="serves already"):
        begin(Desired(live="v1"), "v1")


def test_switch_needs_an_incoming_version() -> None:
    with pytest.raises(UsageError):
        switch(Desired(live="v1"))


def test_newer_document_is_refused() -> None:
    with pytest.raises(UsageError, match="schema"):
        Desired.from_json(Desired().to_json() | {"schema": 99})


@given(st.lists(st.tuples(st.sampled_from(sorted(MOVES)), VERSIONS)))
def test_no_sequence_of_moves_loses_the_live_version(steps: list[tuple[str, str]]) -> None:
    """Once something serves, something serves; the generation never falls; the document reads back the same."""
    state = Desired()
    for move, version in steps:
        before = state
        try:
            state = MOVES[move](before, version)
        except UsageError:
            continue
        assert not (before.live and not state.live)
        assert state.generation >= before.generation
        assert state.live != state.incoming or not state.live
        assert state.live not in (*state.retiring, *state.standby) or not state.live
        assert not set(state.standby) & set(state.retiring)
        if "keeping one" in move or "back" in move:
            assert set(before.running) - {""} <= set(state.running), "no version with servers is forgotten"
        assert Desired.from_json(state.to_json()) == state
