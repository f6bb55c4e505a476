"""Whose turn a promotion is, beside a release that somebody drives."""

from __future__ import annotations

import threading
from pathlib import Path

from greenlight.adapters import locks
from greenlight.adapters.waiting import wait_until
from greenlight.config import Params, Settings
from greenlight.operations import turns
from greenlight.operations.plan import Plan
from greenlight.operations.release import turn_of
from greenlight.operations.retrain import Run
from greenlight.operations.workspace import Workspace
from greenlight.wiring import Project

ROOT = Path(__file__).resolve().parents[2]


def test_a_candidate_is_compared_once_the_release_that_somebody_drives_is_over(tmp_path: Path) -> None:
    """So it is compared with what serves then, and not released instead of a version that is gone by that time."""
    params = Params.load(ROOT / "params.yaml")
    settings = Settings(root=tmp_path)
    project = Project(settings, params, None, None)  # type: ignore[arg-type]
    workspace = Workspace("2013-08-abcdef", tmp_path, params, "", dirty=False, created="")
    run = Run(project, Plan("r", params, None, None), workspace, None)  # type: ignore[arg-type]
    lines: list[str] = []
    entered = threading.Event()

    def promote() -> None:
        with turns.promotion(run, lines.append):
            entered.set()

    thread = threading.Thread(target=promote)
    assert not locks.is_held(turn_of(settings.home))
    with locks.turn(turn_of(settings.home), "the release of v2", lines.append):
        assert locks.is_held(turn_of(settings.home))
        thread.start()
        assert wait_until(lambda: any("waiting for the release of v2" in line for line in lines), 30, 0.02)
        assert not entered.is_set()
    assert entered.wait(30)
    thread.join(30)
    assert not locks.is_held(turn_of(settings.home)), "nothing is left of it"
