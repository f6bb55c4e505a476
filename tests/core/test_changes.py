"""What differs between documents, environments and tables."""

from __future__ import annotations

import polars as pl
import pytest

from greenlight.core.changes import Change, changes
from greenlight.core.environments import environment_changes, reasons
from greenlight.core.rows import RowChanges, compare_rows

ENVIRONMENT = {
    "python": "3.11.7",
    "seed": 1,
    "from_cache": ["snapshot"],
    "imported": {"numpy": "2.4.1", "polars": "2.1.0"},
    "threads": {"train": {"openmp": 2}},
    "variables": {"OMP_NUM_THREADS": "2"},
    "device": {"kind": "cpu", "reason": "asked for"},
}


def test_changes_are_named_by_their_path() -> None:
    before = {"train": {"seed": 1, "booster": {"eta": 0.1}}, "gone": True}
    after = {"train": {"seed": 2, "booster": {"eta": 0.1}}, "new": [1]}

    assert changes(before, after) == (
        Change("train.seed", 1, 2),
        Change("gone", True, None),
        Change("new", None, [1]),
    )


@pytest.mark.parametrize(
    ("changed", "sentence", "reason"),
    [
        ({"imported": {"numpy": "2.4.2"}}, "imported.numpy 2.4.1 -> 2.4.2", "other versions of the libraries"),
        ({"threads": {"train": {"openmp": 8}}}, "threads.train.openmp 2 -> 8", "another number of threads"),
        ({"device": {"kind": "cuda", "reason": ""}}, "device.kind cpu -> cuda", "another device sums in another order"),
        ({"variables": {}}, "variables.OMP_NUM_THREADS 2 -> (none)", "other environment variables"),
    ],
)
def test_an_environment_that_differs_says_why_bits_may(changed: dict[str, object], sentence: str, reason: str) -> None:
    found = environment_changes(ENVIRONMENT, ENVIRONMENT | changed)

    assert [change.sentence() for change in found] == [sentence]
    assert reasons(found) == (reason,)


def test_what_one_side_does_not_say_is_no_difference() -> None:
    other = {key: value for key, value in ENVIRONMENT.items() if key not in ("device", "threads")}
    other |= {"imported": {"numpy": "2.4.1"}, "seed": 2, "from_cache": []}

    assert environment_changes(ENVIRONMENT, other) == ()
    assert environment_changes({}, ENVIRONMENT) == ()


def table(**columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame(columns, strict=False)


def test_rows_with_a_key_are_added_removed_and_changed() -> None:
    old = table(day=[1, 2, None], value=[1.0, None, 3.0], other=["a", "b", "c"])
    new = table(day=[None, 2, 4], value=[3.0, 5.0, 1.0], other=["c", "b", "a"])

    found = compare_rows(old, new, ("day",))

    assert found == RowChanges(added=1, removed=1, changed=1, columns={"value": 1}, key=("day",))


def test_the_order_of_rows_and_columns_is_no_change() -> None:
    old = table(day=[1, 2], value=[1.0, None])

    assert compare_rows(old, old.reverse().select("value", "day"), ("day",)) == RowChanges(0, 0, key=("day",))
    assert compare_rows(old, old.reverse(), ()) == RowChanges(0, 0)


def test_a_key_that_names_no_row_falls_back_to_whole_rows() -> None:
    old = table(day=[1, 1, 2], value=[1, 1, 2])
    new = table(day=[1, 2, 2], value=[1, 2, 3])

    assert compare_rows(old, new, ("day",)) == RowChanges(added=1, removed=1)
    assert compare_rows(old, new, ("hour",)) == RowChanges(added=1, removed=1)


def test_columns_that_come_go_and_change_their_type_are_named() -> None:
    old = table(day=[1, 2], value=[1, 2], gone=["x", "y"])
    new = table(day=[1, 2], value=["1", "3"], more=["x", "y"])

    found = compare_rows(old, new, ("day",))

    assert found.schema == ("gone is gone", "more is new", "value is String instead of Int64")
    assert (found.added, found.removed, found.columns) == (0, 0, {"value": 1})


def test_a_file_that_is_new_or_gone_counts_all_its_rows() -> None:
    rows = table(day=[1, 2])

    assert compare_rows(None, rows, ("day",)) == RowChanges(added=2, removed=0)
    assert compare_rows(rows, None, ("day",)) == RowChanges(added=0, removed=2)
