"""The desired state and its transitions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlight.core.release import Desired, abandon, begin, retire, switch
from greenlight.errors import UsageError

MOVES: dict[str, Callable[[Desired, str], Desired]] = {
    "begin": begin,
    "switch": lambda state, _: switch(state),
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
        assert state.live not in state.retiring or not state.live
        assert Desired.from_json(state.to_json()) == state
