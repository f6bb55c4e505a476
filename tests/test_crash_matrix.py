"""The crash matrix as a test: every cell survives."""

from __future__ import annotations

from pathlib import Path

import crash_matrix
import pytest


@pytest.mark.slow
def test_every_cell_survives(tmp_path: Path) -> None:
    rows = crash_matrix.run(crash_matrix.select(list(crash_matrix.CELLS)), tmp_path)
    assert not [row for row in rows if not row.survived]


def test_every_boundary_that_can_be_asked_for_is_one_that_the_driver_knows() -> None:
    import crash_driver

    known = {*crash_driver.WRAPPED, "in build", "before snapshot", *crash_matrix.IN_STAGES, *crash_matrix.BETWEEN}
    assert set(crash_matrix.BOUNDARIES) == known
    assert {b for bs in crash_matrix.CELLS.values() for b in bs} == known
