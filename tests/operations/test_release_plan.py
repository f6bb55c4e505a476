"""Releases by the shipped plan where nobody asks: what waits, what is taken at once, and what a newer version does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serving_kit as kit
import yaml
from stack_kit import Stack

from greenlight.adapters import processes
from greenlight.adapters.waiting import wait_until
from greenlight.errors import UsageError
from greenlight.operations import rollout as rollouts
from greenlight.operations.release import drive_on, turn_of

RELEASE = (
    "import sys; from greenlight.config import Settings; from greenlight.operations.release import release\n"
    "print(release(Settings(root=sys.argv[1], edge_port=int(sys.argv[2]), workers=1), 'v2').outcome)"
)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(kit.project(tmp_path / "project", 3, workers=1))
    choose(made, strategy="plan", quiet_s=1.0, drain_s=1)
    try:
        made.up()
        assert made.release("v1", unattended=True).outcome == "promoted", "the first of all needs no requests"
        yield made
    finally:
        made.serving.supervisor.stop()
        assert not processes.marked(made.settings.home)


def choose(up: Stack, **release: Any) -> None:
    params = yaml.safe_load(up.settings.params_file.read_text())
    params["release"] |= release
    up.settings.params_file.write_text(yaml.safe_dump(params))


@pytest.mark.slow
def test_without_requests_a_version_waits_soon_and_a_person_can_have_all_of_it_at_once(up: Stack) -> None:
    assert drive_on(up.settings).summary() == "no release is under way; v1 serves"
    waits = up.release("v2", unattended=True, instead_of="v1")
    assert (waits.outcome, waits.version, waits.behind) == ("waiting", "v1", "")
    assert waits.reason.startswith("for 0 of 200 requests to v2 in shadow 100 %"), waits.reason
    assert "more is needed" not in waits.reason, "no share of nothing"
    rollout = up.serving.desired.load().rollout
    assert rollout
    assert [step.kind for step in rollout.steps] == ["shadow", *["canary"] * 5, "full"]
    again = up.release("v2", unattended=True, instead_of="v1")
    assert again.outcome == "waiting", "a retrain of the same drives the same release on"
    assert up.serving.desired.load().rollout.id == rollout.id  # type: ignore[union-attr]
    preflights = [line for line in up.lines if line.startswith("preflight of v2")]
    taken = up.release("v2", strategy="full")
    assert (taken.outcome, taken.version, taken.previous) == ("promoted", "v2", "v1")
    assert (up.version(), up.champion()) == ("v2", "v2")
    assert [line for line in up.lines if line.startswith("preflight of v2")] == preflights, "its servers ran already"


@pytest.mark.slow
def test_a_newer_version_ends_what_stands_or_waits_for_it_and_leaves_what_a_person_holds(up: Stack) -> None:
    assert up.release("v2", unattended=True, instead_of="v1").outcome == "waiting"
    choose(up, newer="wait")
    behind = up.release("v3", unattended=True, instead_of="v1")
    assert (behind.outcome, behind.behind) == ("waiting", "v2")
    assert up.serving.desired.load().candidate == "v2"
    choose(up, newer="supersede")
    with pytest.raises(UsageError, match="v1 serves by now, and v3 was compared with v9"):
        up.release("v3", unattended=True, instead_of="v9")
    assert up.serving.desired.load().candidate == "v2", "what may not come in ends nothing"
    rollouts.pause(up.serving)
    assert up.release("v3", unattended=True, instead_of="v1").behind == "v2"
    rollouts.resume(up.serving)
    newer = up.release("v3", unattended=True, instead_of="v1")
    assert (newer.outcome, newer.behind) == ("waiting", "")
    state = up.serving.desired.load()
    assert (state.candidate, state.next) == ("v3", None)
    assert up.models() == {"v1", "v3"}
    ended = up.serving.desired.last_of("v2")
    assert ended
    assert (ended.outcome, ended.reason) == ("superseded", "by v3")


@pytest.mark.slow
def test_all_of_it_at_once_waits_for_no_driver(up: Stack) -> None:
    """A driver elsewhere looks on for ten minutes; a person who says "full" has it now, and the driver sees that."""
    driver = subprocess.Popen(
        [sys.executable, "-c", RELEASE, str(up.settings.root), str(up.settings.edge_port)],
        cwd=kit.ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert wait_until(lambda: up.serving.desired.load().candidate == "v2", 90, 0.1)
    assert turn_of(up.settings.home).is_file()
    assert up.release("v2", strategy="full").outcome == "promoted"
    assert driver.communicate(timeout=90)[0].strip() == "promoted"
    assert up.version() == "v2"
