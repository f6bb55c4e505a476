"""The list of runs and everything about one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.adapters import scratch
from greenlight.errors import NotFound
from greenlight.operations import clock, doctor, gc_plan, leftovers
from greenlight.operations.checks import Check
from greenlight.operations.gc_plan import Wish
from greenlight.operations.plan import plan
from greenlight.operations.runs import find_run, get_run, list_runs
from greenlight.operations.workspace import NOTE, create
from greenlight.wiring import Project


@pytest.fixture
def project(recorded: Recorded, tmp_path: Path) -> Project:
    return kit.copy(recorded, tmp_path / "repo").project


def begun(project: Project) -> str:
    """A run of this process that has its folder and nothing else."""
    return create(project, plan(project)).run


def test_every_run_is_listed_newest_first_with_outcome_version_and_metrics(recorded: Recorded) -> None:
    runs = list_runs(recorded.project)

    assert [(run.name, run.as_of, run.outcome, run.version) for run in runs] == [
        (recorded.kept, "2013-04", "KeptChampion", ""),
        (recorded.rejected, "2013-04", "DataRejected", ""),
        (recorded.promoted, "2013-03", "Promoted", "v1"),
    ]
    for run in (runs[0], runs[2]):
        assert set(run.metrics) == {"roc_auc", "average_precision", "log_loss", "calibration_error"}
        assert 0.5 < run.metrics["roc_auc"] < 0.9
    assert runs[1].metrics == {}
    assert all(run.reason for run in runs)
    json.dumps([run.to_json() for run in runs])


def test_everything_about_a_run(recorded: Recorded) -> None:
    found = get_run(recorded.project, "v1")

    assert found["name"] == recorded.promoted
    assert found["verdict"]["decision"] == "promote"
    assert found["validation"]["passed"] is True
    assert found["evaluation"]["candidate"]["roc_auc"] == found["metrics"]["roc_auc"]
    assert found["params"]["data"]["as_of"] == "2013-03"
    assert "train" in found["lock"]["stages"]
    assert found["device"]["kind"] == "cpu"


def test_a_run_is_found_by_name_version_or_beginning(recorded: Recorded) -> None:
    project = recorded.project
    commit = find_run(project, recorded.promoted)

    assert find_run(project, "v1") == find_run(project, "2013-03") == commit
    with pytest.raises(NotFound, match="2 runs begin with 2013-04"):
        find_run(project, "2013-04")
    with pytest.raises(NotFound, match=r"no run nope .*3 runs"):
        find_run(project, "nope")


def test_a_version_is_found_after_its_ref_was_cleaned_up(project: Project) -> None:
    for ref in project.repository.refs("refs/exps/"):
        project.repository.run("update-ref", "-d", ref)

    assert get_run(project, "v1")["verdict"]["decision"] == "promote"


def test_a_run_under_way_is_listed_as_running(project: Project) -> None:
    name = begun(project)

    assert (list_runs(project)[0].name, list_runs(project)[0].outcome) == (name, "Running")


def test_a_run_whose_process_was_killed_is_listed_as_failed(recorded: Recorded, project: Project) -> None:
    code = (
        "import os, sys, pathlib, retrain_kit as kit\n"
        "from greenlight.operations.plan import plan\n"
        "from greenlight.operations.workspace import create\n"
        "project = kit.open_at(pathlib.Path(sys.argv[1]))\n"
        "create(project, plan(project))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    tests = Path(kit.__file__).parent
    env = os.environ | {"PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    killed = subprocess.run([sys.executable, "-c", code, str(project.settings.root)], env=env)
    assert killed.returncode == -9

    failed = list_runs(project)[0]

    assert (failed.outcome, failed.as_of) == ("Failed", "2013-05")
    assert "ended without a word" in failed.reason


def test_a_number_that_another_process_has_now_does_not_keep_a_dead_run_alive(project: Project) -> None:
    """After a reboot the same small process ids come back."""
    name = begun(project)
    path = project.settings.home / "runs" / name / ".git" / NOTE
    note = json.loads(path.read_text())
    path.write_text(json.dumps(note | {"pid": 1}))

    assert list_runs(project)[0].outcome == "Failed"


def test_a_run_without_a_record_can_be_shown_and_says_that_it_cannot_come_back(project: Project) -> None:
    name = begun(project)

    shown = get_run(project, name)

    assert (shown["name"], shown["outcome"], shown["commit"]) == (name, "Running", "")
    assert shown["params"]["data"]["as_of"] == "2013-05"
    assert set(shown) == set(get_run(project, "v1"))
    with pytest.raises(NotFound, match=f"{name} has no record"):
        find_run(project, name)


def test_the_list_needs_no_folder_of_any_run(recorded: Recorded, tmp_path: Path) -> None:
    """It is read from Git: another clone has it too."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(recorded.root), str(clone)], check=True)
    subprocess.run(["git", "fetch", "-q", "origin", "refs/exps/*:refs/exps/*"], cwd=clone, check=True)

    assert list_runs(kit.open_at(clone)) == list_runs(recorded.project)


def test_damaged_notes_are_passed_over(project: Project) -> None:
    broken = project.settings.home / "runs" / begun(project) / ".git" / NOTE
    broken.write_text('{"name": "2013')

    assert len(list_runs(project)) == 3


def test_a_clock_that_jumps_is_told_and_changes_neither_order_nor_what_gc_keeps(
    project: Project, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run is recorded by a clock that stands in 2001."""
    assert clock.fault(project.repository) == ""
    monkeypatch.setattr("greenlight.operations.clock.time.time", lambda: 978307200.0)
    late = kit.retrain(project)

    assert [run.name for run in list_runs(project)][:2] == [late.name, recorded.kept]
    assert project.repository.newest([find_run(project, recorded.kept), late.commit])[0] == late.commit
    assert late.name in gc_plan.plan(project, Wish(keep=1)).kept
    told = clock.fault(project.repository)
    assert told.startswith("the clock says 2001-01-01T00:00:00+00:00, and the newest run was recorded at 20")
    assert f"{told}; {clock.TODO}" in plan(project).warnings
    (check,) = [check for check in doctor.examine(project.settings).checks if check.name == "clock"]
    assert (check.state, check.found) == ("warn", told)


def test_doctor_counts_what_the_dead_left_and_not_what_the_living_use(project: Project) -> None:
    with scratch.work(project.settings.home, "mine"):
        assert folders(project).state == "ok"
        dead = project.settings.home / "tmp" / f"clone.p{2**22 + 1}-1-abcdef"
        dead.mkdir()
        assert (folders(project).state, dead.name in folders(project).found) == ("warn", True)
        assert leftovers.sweep(project)[0] == dead.name
        assert folders(project).state == "ok"


def folders(project: Project) -> Check:
    """What `greenlight doctor` says of work folders."""
    return next(check for check in doctor.examine(project.settings).checks if check.name == "work folders")
