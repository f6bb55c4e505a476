"""Faults within a part of a month's rows break a relation of the right kind; real months break none."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import polars as pl
import pytest

from greenlight.core.faults import DataFault, matches
from greenlight.core.relations import KINDS, Relations
from greenlight.datasets.flight_delay import source
from greenlight.datasets.flight_delay.contract import FLIGHTS, TIES, WEATHER
from greenlight.datasets.flight_delay.faults import FAULTS

EARLIER = [f"2013-{month:02d}" for month in range(1, 7)]
JULY = "2013-07"
WITHIN = [fault for fault in FAULTS if any(name.startswith("relations.") for name in fault.expected)]


@pytest.fixture(scope="module")
def known() -> Relations:
    found = Relations({ties.table: ties for ties in TIES})
    for period in EARLIER:
        _add(found, period, source.fetch(period))
    return found


def _add(found: Relations, period: str, tables: dict[str, pl.DataFrame]) -> None:
    for table in (FLIGHTS, WEATHER):
        found.add(period, table, tables[table.name])


def broken(known: Relations, tables: dict[str, pl.DataFrame]) -> list[str]:
    found = deepcopy(known)
    _add(found, JULY, tables)
    rows = [row for row in found.rows() if row["period"] == JULY]
    return [f"relations.{kind} between" for kind in KINDS if any(row.get(kind) for row in rows)]


def test_there_are_at_least_twelve():
    assert len(WITHIN) >= 12


def test_july_as_it_is_breaks_none(known):
    assert broken(known, source.fetch(JULY)) == []


@pytest.mark.parametrize("fault", WITHIN, ids=lambda fault: fault.name)
def test_a_fault_within_a_part_of_the_rows_is_caught_by_the_right_kind(known, fault: DataFault):
    now = source.fetch(JULY)
    changed = {**now, **fault.inject(now, source.fetch(EARLIER[-1]), np.random.default_rng(1))}
    assert any(matches(name, fault.expected) for name in broken(known, changed))
