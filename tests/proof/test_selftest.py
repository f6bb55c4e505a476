"""The injected faults: that each is caught by the right check, and that the self-test would tell if one were not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from conftest import ROOT
from retrain_kit import Recorded, month, open_at
from typer.testing import CliRunner

from greenlight import datasets
from greenlight.cli.app import app
from greenlight.core.faults import DataFault
from greenlight.errors import UsageError
from greenlight.proof import selftest as operation
from greenlight.proof.model_faults import FAULTS

ISSUE = (  # what the self-test must at least know
    "label shuffle",
    "label flip of 20 %",
    "target leak",
    "unit change",
    "null spike",
    "category rename",
    "stale copy of last month",
    "duplicated rows",
    "time-zone shift",
    "feature order swapped",
    "training on the holdout",
    "half of the trees",
    "constant predictions",
    "inverted slice",
    "miscalibration",
    "future rows",
    "wrong join",
    "silent type change",
    "encoding break",
    "extreme outliers",
)


def test_every_fault_of_the_list_is_known_once() -> None:
    names = [fault.name for fault in operation.faults_of(datasets.load("flight_delay"))]
    assert set(ISSUE) <= set(names)
    assert len(set(names)) == len(names)


@pytest.mark.slow
def test_every_fault_is_caught_by_the_right_check() -> None:
    found = operation.selftest(open_at(ROOT))
    assert found.results[0].caught, found.results[0]
    missed = {one.fault.name: (one.decision, one.by, one.fault.expected) for one in found.results if not one.caught}
    assert not missed


def test_a_fault_in_the_data_and_one_in_the_labels_are_caught(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the small settings of the other tests, whose limits are wide: the whole is a slow test."""
    monkeypatch.setenv("GREENLIGHT_ROOT", str(recorded.root))
    command = ["selftest", "--only", "duplicated rows", "--only", "training on the holdout", "--json"]
    found = CliRunner().invoke(app, command)
    answer = json.loads(found.stdout)
    assert [(row["name"], row["caught"]) for row in answer["faults"]] == [
        ("duplicated rows", True),
        ("training on the holdout", True),
    ]
    assert answer["faults"][0]["decision"] == "data rejected"
    assert answer["faults"][1]["by"][0] == "holdout_unseen"
    assert answer["faults"][1]["decision"] == "reject"
    assert (found.exit_code == 0) == answer["passed"]


def test_a_fault_that_nobody_catches_ends_red(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that is none, and one that is caught by another check than the one named."""

    def nothing(now: Any, before: Any, rng: Any) -> Any:
        return {}

    dataset = datasets.load("flight_delay")
    known = {fault.name: fault for fault in dataset.faults}
    harmless = DataFault("harmless", "Nothing.", ("flights.*",), nothing)
    misnamed = replace(known["duplicated rows"], expected=("flights.distance between",))
    monkeypatch.setattr(operation, "faults_of", lambda dataset: (harmless, misnamed))
    monkeypatch.setenv("GREENLIGHT_ROOT", str(recorded.root))
    found = CliRunner().invoke(app, ["selftest"])
    assert found.exit_code == 1
    assert "0 of 2 faults are caught by the right check; not: harmless, duplicated rows" in found.stdout
    assert "expected of flights.distance between" in found.stdout


def test_a_fault_that_nobody_knows_is_told() -> None:
    with pytest.raises(UsageError, match="there are unit change"):
        operation.selftest(open_at(ROOT), ["no such fault"])


def test_a_month_without_a_window_is_told() -> None:
    with pytest.raises(UsageError, match="the data lacks"):
        operation.selftest(open_at(ROOT), month="2013-02")


@pytest.mark.parametrize("fault", datasets.load("flight_delay").faults, ids=lambda fault: fault.name)
def test_a_data_fault_changes_something_and_is_the_same_each_time(fault: DataFault) -> None:
    import numpy as np

    now, before = ({t: month(t, p) for t in ("flights", "weather")} for p in ("2013-07", "2013-06"))
    changed = fault.inject(now, before, np.random.default_rng(1))
    again = fault.inject(now, before, np.random.default_rng(1))
    assert changed
    assert any(not rows.equals(now[table]) for table, rows in changed.items())
    assert all(rows.equals(again[table]) for table, rows in changed.items())
    assert all(isinstance(rows, pl.DataFrame) and rows.height for rows in changed.values())


def test_every_fault_names_who_must_catch_it_and_says_what_it_does() -> None:
    for fault in (*datasets.load("flight_delay").faults, *FAULTS):
        assert fault.expected, fault.name
        assert fault.what.endswith("."), fault.name
