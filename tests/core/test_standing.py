"""Which versions a roll back can go back to, from what served when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlight.core.release import standing


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ("", ""),
        ("v1", "v1"),
        ("v1 v3", "v1 v3"),
        ("v1 v3 v1", "v1"),  # the second roll back must not go to v3 again
        ("v1 v2 v3 v2 v1", "v1"),
        ("v1 v2 v3 v2", "v1 v2"),
        ("v1 v2 v3 v1 v4", "v1 v4"),
        ("v1 v3 v1 v3", "v1 v3"),  # put back by name
        ("v2 v2", "v2"),
    ],
)
def test_going_back_takes_off_what_was_rolled_back_from(history: str, expected: str) -> None:
    assert standing(history.split()) == tuple(expected.split())


@given(st.lists(st.sampled_from(["v1", "v2", "v3", "v4"]), min_size=1))
def test_rolling_back_again_and_again_ends_and_never_serves_a_version_twice(history: list[str]) -> None:
    """What serves is on top, and every default roll back makes the stack one shorter."""
    stack = standing(history)
    assert stack[-1] == history[-1]
    assert len(set(stack)) == len(stack)
    while len(stack) > 1:
        history = [*history, stack[-2]]
        assert standing(history) == stack[:-1]
        stack = stack[:-1]
