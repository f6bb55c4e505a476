"""The roll back drill over a real edge: figures, no failed request, and always the version that was live before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving_kit as kit

from greenlight.adapters import bento, processes
from greenlight.adapters.desired import DesiredState
from greenlight.config import Settings
from greenlight.errors import NotFound, PreflightFailed, ServerError
from greenlight.operations.drill import drill_rollback
from greenlight.operations.release import release
from greenlight.operations.rollback import rollback
from greenlight.operations.serving import Serving
from greenlight.wiring import open_project


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """An edge with v1 to v3 built; v1, v2, v3 served one after the other."""
    made = kit.project(tmp_path_factory.mktemp("drill") / "project", 3, workers=1)
    serving = Serving(open_project(made))
    try:
        serving.supervisor.start({})
        with serving.desired.changing("test"):
            serving.edge_up()
        for version in ("v1", "v2", "v3"):
            release(made, version)
        yield made
    finally:
        serving.supervisor.stop()
        assert not processes.marked(made.home)


def served(settings: Settings) -> list[str]:
    return [entry.version for entry in open_project(settings).registry.history()]


def live(settings: Settings) -> str:
    return DesiredState(settings.home).load().live


def test_it_measures_both_ways_and_a_roll_back_afterwards_goes_where_it_would_have(settings: Settings) -> None:
    report = drill_rollback(settings)
    assert report.failures == ()
    assert (report.failed, report.exit_code, report.live) == (0, 0, "v3")
    assert (report.back.version, report.forward.version) == ("v2", "v3")
    assert report.requests > 50
    for move in (report.back, report.forward):
        assert 0 < move.switched_s <= move.done_s
        assert move.last_old_s <= move.done_s
        checked = move.steps["recheck"] if move.warm else move.steps["preflight"]
        assert move.switched_s >= checked, "nothing answers before it was checked"
    kept = json.loads(Path(report.record).read_text())
    assert (kept["state"], kept["back"]["switched_s"]) == ("done", report.back.switched_s)
    assert Path(report.record).parent == settings.home / "drills"
    assert live(settings) == "v3"
    assert served(settings) == ["v1", "v2", "v3", "v2", "v3"]

    assert rollback(settings).version == "v2"
    assert rollback(settings).version == "v1", "the drill has not put anything else on the stack"
    with pytest.raises(NotFound, match="nothing served before v1"):
        drill_rollback(settings)
    for version in ("v2", "v3"):
        release(settings, version)


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["v2", "v3"])
def test_one_that_breaks_off_ends_with_what_was_live(settings: Settings, broken: str) -> None:
    """The version to go back to fails its preflight, or the one to come back to; then its bento is mended."""
    golden = bento.path_of("flight_delay", broken, settings.home) / "src/data/model/golden.json"
    good = golden.read_text()
    document = json.loads(good)
    document["rows"][0]["probability"] += 2**-20
    golden.write_text(json.dumps(document))
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        if "the drill broke off" in line:
            golden.write_text(good)

    with pytest.raises(PreflightFailed, match=broken):
        drill_rollback(settings, log=log)
    golden.write_text(good)
    assert live(settings) == "v3"
    assert any("putting v3 back" in line for line in lines) == (broken == "v3")


def test_it_needs_a_stack_that_is_up(tmp_path: Path) -> None:
    home = tmp_path / "bentos"
    bento.store(home).mkdir(parents=True)
    with pytest.raises(ServerError, match="the stack is down"):
        drill_rollback(kit.project(tmp_path / "project", 1, bentos=home))
