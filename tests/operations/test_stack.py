"""The whole stack, with Prefect: up, up again, down."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
import serving_kit as kit

from greenlight.adapters import processes
from greenlight.adapters.desired import DesiredState
from greenlight.config import Settings
from greenlight.operations import stack


@pytest.fixture
def settings(checkout: Path) -> Settings:
    return Settings(root=checkout, edge_port=kit.free_port(), prefect_port=kit.free_port(), workers=1)


def test_up_is_repeatable_and_down_leaves_nothing(settings: Settings) -> None:
    lines: list[str] = []
    try:
        status = stack.up(settings, log=lines.append)
        assert status.up
        assert status.live["version"] == ""
        states = {p.name: p for p in status.processes}
        assert set(states) == {"edge", "edge-log", "prefect-server", "prefect-worker", "release-watch"}
        assert {name: p.state for name, p in states.items()} == dict.fromkeys(states, "active")
        assert all(processes.is_alive(p.pid) for p in states.values()), states
        assert any("retrain" in line for line in lines), lines
        with urllib.request.urlopen(status.urls["prefect"], timeout=10) as page:
            assert page.status == 200
        again = stack.up(settings)
        assert {p.name: p.pid for p in again.processes} == {p.name: p.pid for p in status.processes}
        document = again.to_json()
        assert document["urls"]["predict"].endswith("/predict")
        assert document["processes"][0].keys() == {"name", "state", "pid"}
    finally:
        stack.down(settings, log=lines.append)
    assert lines[-1] == "stopped"
    assert not processes.marked(settings.home)
    assert processes.port_is_free(settings.host, settings.edge_port)
    assert processes.port_is_free(settings.host, settings.prefect_port)
    stack.down(settings, log=lines.append)
    assert lines[-1] == "nothing was running"
    assert not stack.status(settings).up


def test_damaged_desired_state_is_named(settings: Settings) -> None:
    store = DesiredState(settings.home)
    store.folder.mkdir(parents=True)
    store.file.write_text("{")
    with pytest.raises(stack.ServerError, match=r"desired\.json"):
        stack.status(settings)


def test_one_port_for_both_is_refused(checkout: Path) -> None:
    port = kit.free_port()
    with pytest.raises(stack.ServerError, match=str(port)):
        stack.up(Settings(root=checkout, edge_port=port, prefect_port=port))
