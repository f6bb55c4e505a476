"""Slices: every value of every column, small ones and missing ones too."""

from __future__ import annotations

import math

import numpy as np

from greenlight.core.slices import measure

LABEL = np.array([1, 0, 1, 0, 1, 1], dtype=np.int8)
GOOD = np.array([0.9, 0.1, 0.8, 0.2, 0.7, 0.6], dtype=np.float32)
COLUMNS = {"carrier": np.array(["UA", "UA", None, None, "B6", "B6"], dtype=object)}


def test_every_value_is_measured_with_every_model() -> None:
    found = {row["value"]: row for row in measure(LABEL, {"candidate": GOOD, "champion": 1 - GOOD}, COLUMNS)}
    assert set(found) == {"UA", "B6", "(missing)"}
    assert found["UA"]["roc_auc"] == {"candidate": 1, "champion": 0}
    assert found["(missing)"]["rows"] == 2
    assert found["(missing)"]["positives"] == 1


def test_a_slice_of_one_class_has_no_roc_auc() -> None:
    found = {row["value"]: row for row in measure(LABEL, {"candidate": GOOD}, COLUMNS)}
    assert math.isnan(found["B6"]["roc_auc"]["candidate"])
    assert found["B6"]["positives"] == 2


def test_slices_of_a_column_add_up_to_the_holdout_in_the_order_of_their_values() -> None:
    found = measure(LABEL, {"candidate": GOOD}, COLUMNS | {"origin": np.array(list("ABABAB"), dtype=object)})
    for column in ("carrier", "origin"):
        part = [row for row in found if row["column"] == column]
        assert sum(row["rows"] for row in part) == LABEL.size
        assert [row["value"] for row in part] == sorted(row["value"] for row in part)
