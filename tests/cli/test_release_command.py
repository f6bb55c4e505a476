"""``greenlight release``: what it refuses, and what a person sees of a release by steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import serving_kit as kit
from typer.testing import CliRunner, Result

from greenlight.adapters.desired import DesiredState
from greenlight.cli.app import app
from greenlight.core import rollout as steps
from greenlight.core.release import Desired
from greenlight.core.release_evidence import Evidence, Seen
from greenlight.core.release_plan import FULL, Step, Wish
from greenlight.operations.evidence import EvidenceFile, limits
from greenlight.wiring import open_project

CANARY = Step("canary", weight=500, min_requests=100)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "none").mkdir()
    return kit.project(tmp_path / "project", 3, bentos=tmp_path / "none").root


@pytest.fixture
def greenlight(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(root)
    return lambda *args: CliRunner().invoke(app, args)


@pytest.fixture
def under_way(root: Path) -> DesiredState:
    """v2 is a canary at 5 %, has been asked something, and v3 waits for its turn."""
    project = open_project()
    begun = steps.begin_rollout(Desired(live="v1"), "v2", (CANARY, FULL), strategy="canary", salt="s", now=5.0)
    store = DesiredState(project.settings.home)
    state = store.save(steps.enqueue(steps.warmed(begun, 6.0), Wish("v3")), "test")
    assert state.rollout
    evidence = Evidence(state.rollout.id, limits(project.params, state.rollout), 20.0)
    evidence.look(state.rollout, 10.0)
    evidence.add("edge", Seen(40, 760, {"failures": (1, 0)}, 0.05), {}, 10.0)
    said = {"labels": "12 of 40 answers of v2 have a label", "ab": "A/B: accuracy of v2: advantage [-0.01, +0.02]"}
    evidence.add("labels", Seen(notes=said), {}, 10.0)
    EvidenceFile(project.settings.home).save(evidence)
    return store


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "no release is under way"),
        (("--pause",), "no release is under way"),
        (("--abort",), "no release is under way"),
        (("--resume",), "no release is under way"),
        (("v2", "--pause"), "--pause stands alone"),
        (("--abort", "--pause"), "stands alone"),
        (("--strategy", "canary"), "the version is missing"),
        (("v2", "--strategy", "fast"), "'fast' is no strategy"),
        (("v2", "--strategy", "full,canary"), "a step twice, or one after full"),
        (("v9",), "v9"),
    ],
)
def test_what_cannot_be_done_is_said(greenlight: Callable[..., Result], args: tuple[str, ...], said: str) -> None:
    done = greenlight("release", *args)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert "Traceback" not in done.output


def test_status_shows_where_a_release_is_and_what_is_known(
    greenlight: Callable[..., Result], under_way: DesiredState
) -> None:
    text = " ".join(greenlight("status").stdout.split())
    assert "v2 at step 1 of 2, canary 5 %, beside v1" in text
    assert "5 % of the requests" in text
    assert "40 in this step, 40 in all" in text
    assert "labels 12 of 40 answers of v2 have a label" in text
    assert "A/B accuracy of v2: advantage [-0.01, +0.02]" in text
    assert "failures: 1 in 40 requests" in text
    assert "v3 waits for its turn" in text
    found = json.loads(greenlight("status", "--json").stdout)["release"]
    assert (found["candidate"], found["weight"], found["next"]) == ("v2", 500, "v3")
    under_way.save(steps.wait(under_way.load(), "60 requests more"), "test")
    text = " ".join(greenlight("status").stdout.split())
    assert "no users" in text
    assert "waits for 60 requests more; greenlight release drives it on" in text


def test_a_drill_ends_no_release(greenlight: Callable[..., Result], under_way: DesiredState) -> None:
    done = greenlight("drill", "rollback", "--yes")
    assert done.exit_code == 2, done.output
    assert "a release is under way, and the drill would end it: v2 at step 1 of 2" in done.output
    assert under_way.load().candidate == "v2"


def test_a_pause_is_kept_and_shown(greenlight: Callable[..., Result], under_way: DesiredState) -> None:
    done = greenlight("release", "--pause")
    assert done.exit_code == 0, done.output
    assert "paused; greenlight release --resume" in done.stdout
    rollout = under_way.load().rollout
    assert rollout
    assert rollout.paused
    assert json.loads(greenlight("release", "--pause", "--json").stdout)["under_way"]["paused"] is True
