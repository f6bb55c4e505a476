"""Assignment in Python: the plain walk through the arms, growth that only adds, salts that shuffle."""

from __future__ import annotations

import math

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlight.core.assignment import assign, split
from greenlight.errors import UsageError

KEYS = st.text(min_size=1, max_size=40)
SALTS = st.text(max_size=12)
WEIGHTS = st.lists(st.integers(0, 20), min_size=1, max_size=4).filter(lambda weights: sum(weights) > 0)


@settings(deadline=None)
@given(KEYS, SALTS.filter(bool), WEIGHTS)
def test_it_is_a_walk_over_one_slot_per_unit_of_weight(key: str, salt: str, weights: list[int]) -> None:
    slots = [f"arm{index}" for index, weight in enumerate(weights) for _ in range(weight)]
    expected = slots[xxhash.xxh64_intdigest(f"{salt}:{key}".encode()) % len(slots)]
    assert assign(key, salt, [(f"arm{index}", weight) for index, weight in enumerate(weights)]) == expected


@settings(deadline=None)
@given(KEYS, SALTS, st.integers(0, 10_000), st.integers(0, 10_000))
def test_growing_a_weight_only_adds_users(key: str, salt: str, one: int, other: int) -> None:
    small, large = sorted((one, other))
    if assign(key, salt, split("v2", small, "v1")) == "v2":
        assert assign(key, salt, split("v2", large, "v1")) == "v2"


def test_growth_needs_the_same_order_and_the_same_total() -> None:
    """What `split` is for: with another order, or another total, a larger share takes users away from the newcomer."""
    keys = [f"user-{i}" for i in range(2000)]

    def newcomers(*weights: tuple[str, int]) -> set[str]:
        return {key for key in keys if assign(key, "s", weights) == "v2"}

    before = newcomers(("v2", 10), ("v1", 90))
    assert before <= newcomers(("v2", 30), ("v1", 70))
    assert not before & newcomers(("v1", 70), ("v2", 30))
    assert len(before - newcomers(("v2", 40), ("v1", 93))) > len(before) / 2


def test_shares_are_the_weights_and_salts_are_independent() -> None:
    """Overlap of two experiments at 30 % each: 9 % of the keys, as by chance (five standard errors)."""
    n, keys = 20_000, [f"user-{i}" for i in range(20_000)]
    arms = {salt: {k for k in keys if assign(k, salt, split("v2", 3000, "v1")) == "v2"} for salt in ("exp7", "exp8")}
    for chosen in arms.values():
        assert abs(len(chosen) / n - 0.3) < 5 * math.sqrt(0.21 / n)
    both = len(arms["exp7"] & arms["exp8"]) / n
    assert abs(both - 0.09) < 5 * math.sqrt(0.09 * 0.91 / n)


def test_without_a_salt_the_key_alone_is_hashed() -> None:
    whole = [("a", 2**31), ("b", 2**31 - 1)]
    expected = "a" if xxhash.xxh64_intdigest(b"k") % (2**32 - 1) < 2**31 else "b"
    assert assign("k", "", whole) == expected


@pytest.mark.parametrize("weights", [[], [("a", 0)], [("a", -1), ("b", 5)], [("a", 2**32)]])
def test_weights_that_are_none_are_refused(weights: list[tuple[str, int]]) -> None:
    with pytest.raises(UsageError, match="the weights are"):
        assign("k", "s", weights)


def test_a_request_without_a_key_cannot_be_recomputed() -> None:
    with pytest.raises(UsageError, match="by chance"):
        assign("", "s", [("a", 1)])


def test_a_split_needs_two_arms_and_a_weight_within_the_total() -> None:
    assert split("v2", 100, "v1") == (("v2", 100), ("v1", 9900))
    for given_ in (("v1", 1, "v1"), ("v2", -1, "v1"), ("v2", 10_001, "v1")):
        with pytest.raises(UsageError):
            split(*given_)
