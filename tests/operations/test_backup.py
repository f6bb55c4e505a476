"""Doctor says when `origin` or the DVC remote is behind, backup mends exactly that; over real runs and remotes."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.adapters.objects import DIR, remote_store
from greenlight.config import Settings
from greenlight.errors import GitError
from greenlight.operations import backup, backup_checks
from greenlight.operations.checks import Check
from greenlight.wiring import Project


@pytest.fixture
def project(recorded: Recorded, tmp_path: Path) -> Project:
    """The three runs with an empty bare repository as origin."""
    root = kit.copy(recorded, tmp_path / "repo").root
    kit.git(tmp_path, "init", "-q", "--bare", "origin.git")
    kit.git(root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    return kit.open_at(root)


def checks(project: Project) -> dict[str, Check]:
    found = backup_checks.examine(project.settings)
    return {check.name: check for check in found}  # type: ignore[union-attr]


def elsewhere(project: Project, folder: Path) -> Project:
    """With a DVC remote outside of Greenlight's home, empty."""
    folder.mkdir()
    kit.git(project.settings.root, "config", "user.name", "Test")
    kit.remote(project.settings.root, str(folder))
    return kit.open_at(project.settings.root)


def test_what_is_behind_is_named_and_a_backup_mends_it(project: Project, tmp_path: Path) -> None:
    project = elsewhere(project, tmp_path / "remote")
    before = checks(project)
    git, data = before["backup: git"], before["backup: data"]
    assert (git.state, data.state) == ("warn", "warn")
    assert "lacks 2 tags, 3 runs" in git.found
    assert "commits of your branch" in git.found
    assert "git push origin 'refs/tags/*:refs/tags/*' 'refs/exps/*:refs/exps/*'" in git.todo
    assert "git push origin HEAD" in git.todo
    assert str(tmp_path / "remote") in data.found
    assert "v1" in data.found
    assert data.todo == "greenlight backup"

    lines: list[str] = []
    report = backup.back_up(project, lines.append)
    assert report.exit_code == 0
    assert report.objects > 30
    assert len([ref for ref in report.refs if ref.startswith("refs/exps/")]) == 3
    kit.git(project.settings.root, "push", "-q", "origin", "HEAD")

    after = checks(project)
    assert {check.state for check in after.values()} == {"ok"}, after
    assert "objects of the versions and the newest runs" in after["backup: data"].found
    again = backup.back_up(project)
    assert (again.objects, again.refs) == (0, ())


def test_what_came_since_is_named_alone(project: Project, tmp_path: Path) -> None:
    project = elsewhere(project, tmp_path / "remote")
    backup.back_up(project)
    kit.git(project.settings.root, "push", "-q", "origin", "HEAD")
    kit.git(project.settings.root, "tag", "-a", "flight_delay#prod#9", "-m", "v1 serves", "flight_delay@v1.0.0^{}")
    kit.git(project.settings.root, "commit", "-q", "--allow-empty", "-m", "New")
    found = checks(project)["backup: git"]
    assert found.found == "origin lacks 1 tags, lacks 1 commits of your branch"
    kit.git(project.settings.root, "push", "-q", "origin", "HEAD", "--tags")
    kit.git(project.settings.root, "tag", "-f", "-a", "flight_delay#prod#9", "-m", "moved", "HEAD")
    moved = checks(project)["backup: git"]
    assert "has refs/tags/flight_delay#prod#9 with other content" in moved.found
    with pytest.raises(GitError, match="flight_delay#prod#9"):
        backup.back_up(project)


def test_without_origin_it_says_how_to_have_one(recorded: Recorded) -> None:
    found = checks(recorded.project)
    assert found["backup: git"].state == "warn"
    assert "git remote add origin" in found["backup: git"].todo
    assert "below Greenlight's own folder" in found["backup: data"].found
    with pytest.raises(GitError, match="no Git remote origin"):
        backup.back_up(recorded.project)


def test_an_origin_that_does_not_answer_costs_seconds_and_no_other_check(project: Project) -> None:
    kit.git(project.settings.root, "remote", "set-url", "origin", "http://127.0.0.1:9/nothing.git")
    began = time.monotonic()
    found = checks(project)
    assert time.monotonic() - began < backup.TIMEOUT_S + 5
    assert found["backup: git"].state == "warn"
    assert "does not answer" in found["backup: git"].found
    assert "backup: data" in found


def test_one_lost_file_of_a_version_is_found_and_a_damaged_copy_is_not_sent(project: Project, tmp_path: Path) -> None:
    project = elsewhere(project, tmp_path / "remote")
    backup.back_up(project)
    settings = project.settings
    remote = remote_store(settings.root, settings.home)
    version = project.registry.get("v1")
    held = backup.holdings.read(project.repository, [version.commit], [remote])
    outputs = held.by_commit[version.commit]
    shared = set(held.of(outputs["data/features"]))  # the model's folder holds a copy of the encoding
    victim = next(name for name in held.of(outputs["data/model"]) if name not in shared and not name.endswith(DIR))
    remote.remove([victim])
    data = checks(project)["backup: data"]
    assert (data.state, "v1" in data.found) == ("warn", True)

    copy = settings.home / "cache" / "files" / "md5" / victim[:2] / victim[2:]
    copy.chmod(0o644)
    copy.write_bytes(b"damaged")
    report = backup.back_up(project)
    assert report.exit_code == 1
    assert report.objects == 0
    assert ("data/model",) in report.lost.values()
    assert not remote.existing([victim])

    copy.unlink()
    lost = checks(project)["backup: data"]
    assert "neither the cache nor" in lost.found
    assert "data/model" in lost.found


def test_nothing_recorded_means_nothing_to_back_up(checkout: Path) -> None:
    (only,) = backup_checks.examine(Settings(root=checkout))  # type: ignore[misc]
    assert (only.state, only.found) == ("ok", "no run is recorded yet")
    assert not (checkout / ".greenlight").exists()
    assert shutil.which("git")
    assert os.listdir(checkout)
