"""The commands to recover with: what they answer, what they refuse, and that showing is not doing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import retrain_kit as kit
from retrain_kit import Recorded
from typer.testing import CliRunner, Result

from greenlight.cli.app import app


@pytest.fixture
def repo(recorded: Recorded, tmp_path: Path) -> Recorded:
    return kit.copy(recorded, tmp_path / "repo")


@pytest.fixture
def greenlight(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def run(folder: Path, *args: str) -> Result:
        monkeypatch.chdir(folder)
        return CliRunner().invoke(app, args)

    return run


def test_gc_shows_first_and_drops_only_with_yes(repo: Recorded, greenlight: Callable[..., Result]) -> None:
    shown = greenlight(repo.root, "gc", "--keep", "1")
    assert shown.exit_code == 0, shown.stderr
    text = " ".join(shown.stdout.split())
    assert f"{repo.rejected} would go" in text
    assert f"{repo.promoted} stays v1, live" in text
    assert "Nothing was dropped; --yes does it." in text
    found = json.loads(greenlight(repo.root, "gc", "--keep", "1", "--json").stdout)
    assert (found["done"], found["dropped"], found["frees_bytes"] > 0) == (False, [repo.rejected], True)

    done = greenlight(repo.root, "gc", "--keep", "1", "--forget", "--yes")
    assert "Gone: 1 run folders, 1 refs" in " ".join(done.stdout.split())
    assert repo.rejected not in kit.git(repo.root, "for-each-ref")
    again = json.loads(greenlight(repo.root, "gc", "--keep", "1", "--forget", "--json").stdout)
    assert (again["dropped"], again["frees_bytes"], again["cache_objects"]) == ([], 0, 0)


def test_gc_needs_to_be_told_how_many_stay(repo: Recorded, greenlight: Callable[..., Result]) -> None:
    assert greenlight(repo.root, "gc").exit_code == 2
    assert greenlight(repo.root, "gc", "--keep", "-1").exit_code == 2


def test_hold_lists_marks_and_lets_go(repo: Recorded, greenlight: Callable[..., Result]) -> None:
    assert greenlight(repo.root, "hold").stdout == "No run is held.\n"
    assert greenlight(repo.root, "hold", repo.rejected).stdout == f"{repo.rejected} is held.\n"
    assert json.loads(greenlight(repo.root, "hold", "v1", "--json").stdout) == {
        "held": sorted([repo.promoted, repo.rejected])
    }
    assert greenlight(repo.root, "gc", "--keep", "0", "--json").stdout.count('"held"') == 1
    assert (
        greenlight(repo.root, "hold", repo.rejected, "--release").stdout == f"{repo.rejected} is not held any more.\n"
    )
    assert greenlight(repo.root, "hold").stdout == f"{repo.promoted}\n"
    refused = greenlight(repo.root, "hold", "--release")
    assert (refused.exit_code, "greenlight hold lists them" in refused.stderr) == (2, True)
    assert greenlight(repo.root, "hold", "2012-01").exit_code == 2


def test_what_cannot_be_is_refused_with_what_to_do(repo: Recorded, greenlight: Callable[..., Result]) -> None:
    for args, status, said in (
        (("drill", "rollback"), 2, "next:  greenlight drill rollback --yes"),
        (("drill", "rollback", "--yes"), 1, "next:  run greenlight up"),
        (("backup",), 1, "git remote add origin"),
        (("restore",), 1, "git remote add origin"),
    ):
        result = greenlight(repo.root, *args, "--json")
        assert result.exit_code == status, (args, result.output)
        assert said in result.stderr
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
