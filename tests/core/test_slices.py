"""Slices: every value of every column, small ones and missing ones too."""

from __future__ import annotations

import math

import numpy as np

from greenlight.core.paired import Clusters
from greenlight.core.slice_search import Cut, search
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


def test_a_part_within_one_cluster_is_not_searched() -> None:
    """A weekday of a weekly holdout is one day: there is no standard error, and nothing to be found."""
    rng = np.random.default_rng(3)
    day = np.repeat(np.arange(7), 100)
    label = rng.integers(0, 2, day.size).astype(np.int8)
    score = rng.random(day.size).astype(np.float32)
    cuts = [Cut([f"day {k}" for k in range(7)], day), Cut(["even", "odd"], np.arange(day.size) % 2)]
    found = search(label, {"candidate": score}, cuts, clusters=Clusters.of(day), min_rows=10, min_positives=5)
    assert found["looked_at"] == 2
    assert {row["name"] for row in found["rows"]} == {"even", "odd"}
