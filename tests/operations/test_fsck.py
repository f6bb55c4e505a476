"""What happened to the memory of the runs is found, named, and mended where another copy makes it good."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.adapters import dvc
from greenlight.errors import GitError
from greenlight.operations import plan as plans
from greenlight.operations.fsck import fsck
from greenlight.operations.reproduce import reproduce
from greenlight.operations.runs import find_run, get_run, list_runs
from greenlight.wiring import Project


@pytest.fixture
def project(recorded: Recorded, tmp_path: Path) -> Project:
    return kit.copy(recorded, tmp_path / "repo").project


def model_file(project: Project, side: str, run: str) -> Path:
    """The object of a run's model.ubj."""
    store = project.settings.home / side / "files" / "md5"
    folder = dvc.lock_hashes(project.repository.read(find_run(project, run), dvc.LOCK))["train"]["data/model"]
    listing = json.loads((store / folder[:2] / folder[2:]).read_bytes())
    oid = next(entry["md5"] for entry in listing if entry["relpath"] == "model.ubj")
    return store / oid[:2] / oid[2:]


def damage(path: Path) -> bytes:
    """Flip a bit and leave everything else of the file as it was; returns the good content."""
    before, good = path.stat(), path.read_bytes()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(len(good) // 2)
        file.write(bytes([good[len(good) // 2] ^ 1]))
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return good


def test_objects_are_looked_at_on_both_sides_and_mended_from_the_other(project: Project, recorded: Recorded) -> None:
    assert fsck(project).findings == ()
    for side in ("cache", "remote"):
        path = model_file(project, side, recorded.promoted)
        good = damage(path)

        found = fsck(project)
        assert found.exit_code == 1
        assert [f.where for f in found.findings] == [str(path)]
        assert "data/model/model.ubj is damaged in the " + side in found.findings[0].what
        assert path.read_bytes() != good, "without --mend nothing changes"

        mended = fsck(project, mend=True)
        assert (mended.exit_code, mended.findings[0].mended) == (0, True)
        assert path.read_bytes() == good
    assert fsck(project).findings == ()


def test_what_is_damaged_on_both_sides_is_lost_and_said_so(project: Project, recorded: Recorded) -> None:
    for side in ("cache", "remote"):
        damage(model_file(project, side, recorded.promoted))

    found = fsck(project, mend=True)

    assert found.exit_code == 1
    assert len(found.findings) == 2
    assert all("nowhere else is a good one" in f.what for f in found.findings)


def test_a_deleted_ref_of_a_version_is_noticed_and_put_back(project: Project, recorded: Recorded) -> None:
    before = kit.memory(project)
    commit = find_run(project, recorded.promoted)
    ref = next(ref for ref in project.repository.refs("refs/exps/") if ref.endswith(recorded.promoted))
    project.repository.run("update-ref", "-d", ref)

    assert (recorded.promoted, "v1") in {(run.name, run.version) for run in list_runs(project)}
    assert find_run(project, recorded.promoted) == find_run(project, "v1") == commit
    assert get_run(project, "v1")["outcome"] == "Promoted"
    found = fsck(project, mend=True).findings
    assert [f.mended for f in found] == [True]
    assert recorded.promoted in found[0].what
    assert kit.memory(project) == before


def test_a_deleted_ref_of_another_run_is_put_back_from_its_folder(project: Project, recorded: Recorded) -> None:
    before = kit.memory(project)
    ref = next(ref for ref in project.repository.refs("refs/exps/") if ref.endswith(recorded.kept))
    project.repository.run("update-ref", "-d", ref)

    listed = next(run for run in list_runs(project) if run.name == recorded.kept)
    assert "its ref is not in the repository" in listed.reason
    assert [f.mended for f in fsck(project, mend=True).findings] == [True]
    assert kit.memory(project) == before


def test_a_moved_version_is_refused_by_everything_that_would_use_it(project: Project, recorded: Recorded) -> None:
    other = find_run(project, recorded.kept)
    project.repository.run("tag", "-f", "flight_delay@v1.0.0", other)

    for use in (
        lambda: plans.plan(project),
        lambda: find_run(project, "v1"),
        lambda: reproduce(project, "v1"),
        lambda: project.registry.get("v1"),
    ):
        with pytest.raises(GitError, match=r"flight_delay@v1\.0\.0"):
            use()
    assert next(run for run in list_runs(project) if run.name == recorded.kept).version == ""
    assert "flight_delay@v1.0.0" in fsck(project).findings[0].what
    env = os.environ | {"GREENLIGHT_ROOT": str(project.settings.root)}
    said = subprocess.run(
        [sys.executable, "-m", "greenlight.cli", "runs"], env=env, capture_output=True, text=True, check=True
    )
    assert "flight_delay@v1.0.0" in said.stderr
    assert recorded.kept in said.stdout
