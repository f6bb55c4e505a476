"""The score card of this repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from retrain_kit import open_at
from typer.testing import CliRunner

from greenlight.cli.app import app
from greenlight.core.ml_test_score import Evidence
from greenlight.proof import scorecard
from greenlight.proof.score_items import ITEMS


@pytest.fixture
def look(checkout: Path) -> Any:
    return scorecard._Look(open_at(checkout))


def test_there_are_28_tests_seven_a_section() -> None:
    assert [(one.section, one.number) for one in ITEMS] == [
        (section, number) for section in ("data", "model", "infrastructure", "monitoring") for number in range(1, 8)
    ]
    assert all(claim.evidence for one in ITEMS for claim in one.claims)


def test_no_claim_lacks_its_evidence() -> None:
    """Evidence that was renamed would take a point away without anyone noticing."""
    rows = scorecard.scorecard(open_at(ROOT))["tests"]
    assert {row["title"] for row in rows if row["missing"]} == set()


def test_the_command_says_the_score_and_what_it_rests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLIGHT_ROOT", str(ROOT))
    found = CliRunner().invoke(app, ["scorecard", "--json"])
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert len(answer["tests"]) == 28
    assert answer["score"] == min(answer["sections"].values())
    assert all(bool(row["evidence"]) == (row["points"] > 0) for row in answer["tests"])
    words = CliRunner().invoke(app, ["scorecard"]).stdout
    assert f"ML Test Score {answer['score']:g}" in words


def test_a_test_that_is_gone_or_skipped_is_no_evidence(look: Any) -> None:
    path = "tests/core/test_training.py"
    name = "test_the_seed_changes_the_model"
    there = Evidence("test", f"{path}::{name}")
    assert look.holds(there)
    text = (look.root / path).read_text()
    (look.root / path).write_text(text.replace(f"def {name}", f'@pytest.mark.skip("later")\ndef {name}'))
    assert not look.holds(there)
    (look.root / path).write_text(text.replace(name, "another"))
    assert not look.holds(there)
    (look.root / path).unlink()
    assert not look.holds(there)


def test_other_evidence_is_looked_up(look: Any) -> None:
    assert look.holds(Evidence("gate", "champion_roc_auc"))
    assert not look.holds(Evidence("gate", "no_such_gate"))
    assert look.holds(Evidence("stage", "validate"))
    assert not look.holds(Evidence("stage", "explain"))
    assert look.holds(Evidence("file", "params.yaml"))
    assert not look.holds(Evidence("file", "none.yaml"))
    assert look.holds(Evidence("command", "rollback"))
    assert not look.holds(Evidence("command", "explain_one"))
    assert look.holds(Evidence("expectations", "10"))
    assert not look.holds(Evidence("expectations", "100000"))
    assert not look.holds(Evidence("text", "README.md::words that nobody wrote"))


@pytest.mark.slow
def test_a_test_that_fails_when_run_is_no_evidence(look: Any) -> None:
    path = "tests/core/test_periods.py"
    (look.root / path).write_text("def test_good() -> None: ...\n\n\ndef test_bad() -> None:\n    raise ValueError\n")
    said: list[str] = []
    look.run([f"{path}::test_good", f"{path}::test_bad"], said.append)
    assert said == [f"passed  {path}::test_good", f"FAILED  {path}::test_bad"]
    assert look.holds(Evidence("test", f"{path}::test_good"))
    assert not look.holds(Evidence("test", f"{path}::test_bad"))
