"""The workflows: valid, pinned, and nothing in them that can't be run by hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def workflow(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text())
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


def test_both_are_there() -> None:
    assert [path.stem for path in FILES] == ["cd", "ci"]


def test_they_follow_the_published_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, *map(str, FILES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_step_runs_the_same_by_hand(path: Path) -> None:
    for step in steps(path):
        if "run" in step:
            program, target, *_ = step["run"].split()
            assert program == "make"
            assert target in TARGETS
        else:
            assert re.search(r"@[0-9a-f]{40}$", step["uses"]), f"{step['uses']} is not pinned to a commit"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_text_from_outside_becomes_shell(path: Path) -> None:
    assert not [step["run"] for step in steps(path) if "${{" in step.get("run", "")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_runs_once_at_a_time(path: Path) -> None:
    found = workflow(path)
    # CD pushes what it made; nothing else writes.
    assert found["permissions"] == {"contents": "write" if path.stem == "cd" else "read"}
    assert found["concurrency"]["group"]
    assert all("timeout-minutes" in job for job in found["jobs"].values())


def test_what_cd_makes_is_pushed_whatever_became_of_it() -> None:
    last = steps(ROOT / ".github" / "workflows" / "cd.yml")[-1]
    assert (last["run"], last["if"], last["continue-on-error"]) == ("make backup", "always()", True)


def test_a_release_starts_on_main_alone_and_is_never_cut_off() -> None:
    found = workflow(ROOT / ".github" / "workflows" / "cd.yml")
    assert found[True]["push"] == {"branches": ["main"]}  # YAML reads the key "on" as true
    assert found["concurrency"]["cancel-in-progress"] is False
    (job,) = found["jobs"].values()
    assert "self-hosted" in job["runs-on"]
