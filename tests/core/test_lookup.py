from __future__ import annotations

import json

import numpy as np
import pytest

from greenlight.core.lookup import Lookup, Vocabulary


def test_an_unknown_category_is_missing_and_counted() -> None:
    codes, unseen = Vocabulary({"carrier": ("AA", "UA")}).encode("carrier", ["UA", "ZZ", None, "AA"])
    np.testing.assert_array_equal(codes, np.array([1, np.nan, np.nan, 0], np.float32))
    assert unseen == 1  # a null is missing, not unseen


def test_codes_follow_the_sorted_order_whatever_the_order_of_the_rows() -> None:
    one, other = (Vocabulary.of({"x": values}) for values in (["b", "a", None, "b"], ["a", "b"]))
    assert one.categories == other.categories == {"x": ("a", "b")}


def test_an_unknown_key_gives_not_known() -> None:
    table = Lookup(("N1", "N2"), {"seats": np.array([55, 182], np.float32)})
    found = table.take("seats", table.positions(["N2", None, "N9", "N1"]))
    np.testing.assert_array_equal(found, np.array([182, np.nan, np.nan, 55], np.float32))


def test_a_lookup_survives_json_bit_by_bit() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=500).astype(np.float32) * np.float32(1e-7)
    values[3] = np.nan
    keys = tuple(f"k{i}" for i in range(500))
    back = Lookup.from_json(json.loads(json.dumps(Lookup(keys, {"v": values}).to_json(), allow_nan=False)))
    where, origin = back.positions(keys), np.arange(500)
    assert back.take("v", where).tobytes() == Lookup(keys, {"v": values}).take("v", origin).tobytes()


def test_a_lookup_of_nothing_knows_nothing() -> None:
    table = Lookup((), {"v": np.empty(0, np.float32)})
    assert np.isnan(table.take("v", table.positions(["a"]))).all()


@pytest.mark.parametrize(("keys", "n"), [(("a", "a"), 2), (("a", "b"), 1)])
def test_keys_are_unique_and_have_one_value_each(keys: tuple[str, ...], n: int) -> None:
    with pytest.raises(ValueError, match="unique keys"):
        Lookup(keys, {"v": np.zeros(n, np.float32)})
