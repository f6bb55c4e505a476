"""Distributions as counts, and their distance."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from greenlight.core.profiles import Profile, add, count, distance, shifts

SHARES = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 1000), min_size=1)


@settings(deadline=None)
@given(SHARES, SHARES)
def test_the_distance_is_scipys(one, other):
    keys = sorted({*one, *other})
    theirs = jensenshannon([one.get(k, 0) for k in keys], [other.get(k, 0) for k in keys], base=2)
    assert distance(one, other) == pytest.approx(theirs, abs=1e-7)


@settings(deadline=None)
@given(SHARES, SHARES, SHARES)
def test_it_is_a_metric_between_0_and_1(a, b, c):
    ab, bc, ac = distance(a, b), distance(b, c), distance(a, c)
    assert 0 <= ab <= 1
    assert ab == distance(b, a)
    assert ac <= ab + bc + 1e-6


def test_it_knows_its_ends_and_nothing_of_the_empty():
    assert distance({"a": 1}, {"a": 7}) == 0
    assert distance({"a": 1}, {"b": 1}) == 1
    assert distance({}, {"a": 1}) is None


def test_each_period_is_set_beside_all_before_it():
    assert shifts([{"a": 1}, {"b": 1}, {"a": 1, "b": 1}]) == [None, 1.0, 0.0]


def test_numbers_are_counted_by_fixed_edges_and_nulls_by_none():
    profile = Profile("t", "x", (0, 10))
    frame = pl.DataFrame({"x": [-1.0, 0.0, 9.9, 10.0, 11.0, None]})
    assert count(profile, frame) == {"under 0": 1, "0 to 10": 2, "10 and more": 2}
    assert count(Profile("t", "x", (5,)), frame) == {"under 5": 2, "5 and more": 3}


def test_counts_of_parts_add_up_to_those_of_the_whole():
    profile = Profile("t", "s")
    frame = pl.DataFrame({"s": ["b", "a", "b", None, "c"]})
    assert add([count(profile, frame.head(2)), count(profile, frame.tail(3))]) == count(profile, frame)
    assert profile.labels([count(profile, frame)]) == ["b", "a", "c"]
