"""What the report of a release says: how it went, what goes on, and what a person decided against a gate."""

from __future__ import annotations

import json
import subprocess

import pytest
import serving_kit as kit

from greenlight.cli.release_views import release_view
from greenlight.operations.release_report import ReleaseReport, with_overrides
from greenlight.wiring import Project, open_project

GIVEN = {"by": "Ada", "reason": "strike in July", "expires": "2013-12-31"}
CHECK = {"name": "min_roc_auc", "passed": False, "explanation": "too low", "override": GIVEN}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """v1 as its gates let it through, v2 because a person did."""
    folder = tmp_path_factory.mktemp("overridden")
    (folder / "none").mkdir()
    settings = kit.project(folder / "project", 1, bentos=folder / "none")
    project = open_project(settings)
    (settings.root / "reports").mkdir(exist_ok=True)
    (settings.root / "reports" / "verdict.json").write_text(json.dumps({"decision": "promote", "checks": [CHECK]}))
    subprocess.run([*kit.git(settings.root), "add", "-f", "reports"], check=True)
    subprocess.run([*kit.git(settings.root), "commit", "-q", "-m", "Run 2"], check=True)
    project.registry.register(project.repository.head(), "run-v2")
    return project


def test_a_gate_that_a_person_overrode_is_named_wherever_the_release_is(project: Project) -> None:
    report = with_overrides(project, ReleaseReport("v2", "v1", False, seconds={"switch": 0.1}, asked="v2"))
    assert report.to_json()["overridden"] == ({"gate": "min_roc_auc", **GIVEN},)
    said = "overridden by Ada until 2013-12-31: strike in July"
    assert f"**min_roc_auc** {said}" in report.markdown()
    assert f"min_roc_auc {said}" in str(release_view(report.to_json()))
    waits = with_overrides(project, ReleaseReport("v1", "v1", False, outcome="waiting", asked="v2", reason="for x"))
    assert f"min_roc_auc {said}" in str(release_view(waits.to_json())), "the candidate's, while another one serves"


def test_nothing_is_named_where_the_gates_decided(project: Project) -> None:
    for report in (ReleaseReport("v1", "", False, asked="v1"), ReleaseReport("v9", "", False, asked="v9")):
        assert with_overrides(project, report).overridden == ()
    assert "overridden" not in ReleaseReport("v1", "", False).markdown()


def test_a_release_that_waits_says_what_goes_on_from_there() -> None:
    report = ReleaseReport("v1", "v1", False, outcome="waiting", asked="v2", reason="for 3 of 200 requests")
    text = report.markdown()
    assert "v2 waits (for 3 of 200 requests); v1 serves" in text
    for way in ("greenlight traffic", "`greenlight release`", "--advance", "greenlight release v2 --strategy full"):
        assert way in text
    behind = ReleaseReport("v1", "v1", False, outcome="waiting", asked="v3", reason="for v2", behind="v2")
    assert "greenlight release v3 --supersede" in behind.markdown()
    assert ReleaseReport("v2", "v1", False, asked="v2").ways_on == ()


def test_nothing_to_drive_on_is_said() -> None:
    unchanged = ReleaseReport("v1", "v1", False, outcome="unchanged", reason="no release is under way")
    assert unchanged.summary() == "no release is under way; v1 serves"
