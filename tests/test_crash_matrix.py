"""The crash matrix as a test: every cell survives."""

from __future__ import annotations

from pathlib import Path

import crash_cells
import crash_driver
import crash_matrix
import pytest


@pytest.mark.slow
def test_every_cell_survives(tmp_path: Path) -> None:
    rows = crash_matrix.run(crash_cells.select(list(crash_cells.CELLS)), tmp_path)
    assert not [row for row in rows if not row.survived]


def test_every_boundary_that_can_be_asked_for_is_one_that_the_driver_knows() -> None:
    known = {*crash_driver.WRAPPED, "in build", "before snapshot", *crash_cells.IN_STAGES, *crash_cells.BETWEEN}
    assert set(crash_cells.BOUNDARIES) == known
    assert {b for bs in crash_cells.CELLS.values() for b in bs} == known
