"""A retrain as a whole: from the cache when nothing changed, next to another one, and broken off anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.errors import StageFailed
from greenlight.operations import leftovers
from greenlight.operations.runs import find_run, list_runs
from greenlight.wiring import Project

STAGES = ["snapshot", "validate", "featurize", "train", "evaluate", "gate"]
ONE_RUN = """
import sys
from pathlib import Path
import retrain_kit as kit
done = kit.retrain(kit.open_at(Path(sys.argv[1])), as_of=sys.argv[2])
print(done.name, done.outcome)
"""


@pytest.fixture
def project(recorded: Recorded, tmp_path: Path) -> Project:
    return kit.copy(recorded, tmp_path / "repo").project


def started(root: Path, as_of: str) -> subprocess.Popen[str]:
    """A retrain in a process of its own."""
    tests = Path(kit.__file__).parent
    env = os.environ | {"PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    command = [sys.executable, "-c", ONE_RUN, str(root), as_of]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stage_process(parent: int, stage: str, seconds: float = 60) -> psutil.Process:
    """The process of a stage below `parent`, as soon as it is there."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for process in psutil.Process(parent).children(recursive=True):
            try:
                command = process.cmdline()
            except psutil.Error:
                continue
            if command[1:] == ["-m", "greenlight.stages", stage]:
                return process
        time.sleep(0.01)
    raise AssertionError(f"the stage {stage} did not start")


def test_with_nothing_changed_no_stage_is_executed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytecode that the interpreter writes into the folders of code, which stages depend on, is no change."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    first = kit.retrain(project)

    second = kit.retrain(project)

    assert [stage.stage for stage in first.run.stages] == STAGES
    assert second.executed == []
    assert second.name != first.name
    locks = {project.repository.read(done.commit, "dvc.lock") for done in (first, second)}
    assert len(locks) == 1


def test_another_limit_executes_the_gate_alone(project: Project) -> None:
    kit.retrain(project)
    kit.change(project.settings.root, {"gates.minimum.roc_auc": 0.55})

    assert kit.retrain(kit.open_at(project.settings.root)).executed == ["gate"]


@pytest.mark.slow
def test_another_champion_executes_what_compares_with_it_alone(project: Project) -> None:
    done = kit.retrain(project)
    project.registry.assign(done.run.register(done.commit))

    assert kit.retrain(project, as_of="2013-04").executed == ["validate", "evaluate", "gate"]


def test_too_few_rows_are_inconclusive_and_no_version(project: Project) -> None:
    kit.change(project.settings.root, {"gates.min_rows": 1_000_000})
    done = kit.retrain(kit.open_at(project.settings.root), as_of="2013-04")

    assert done.outcome == "Inconclusive"
    assert list_runs(project)[0].outcome == "Inconclusive"
    assert "27,564" in list_runs(project)[0].reason
    assert "1,000,000" in list_runs(project)[0].reason


@pytest.mark.slow
def test_a_stage_that_is_killed_is_one_message_and_changes_nothing(project: Project) -> None:
    kit.change(project.settings.root, {"train.seed": 99})
    project = kit.open_at(project.settings.root)
    before = kit.memory(project)
    killer = threading.Thread(target=lambda: stage_process(os.getpid(), "train").kill())
    killer.start()

    with pytest.raises(StageFailed, match="stage train"):
        kit.retrain(project)

    killer.join()
    assert kit.memory(project) == before
    assert (list_runs(project)[0].outcome, list_runs(project)[0].version) == ("Failed", "")
    assert "stage train" in list_runs(project)[0].reason
    again = kit.retrain(project)
    assert again.executed == ["train", "evaluate", "gate"]


def test_a_run_that_is_killed_changes_nothing_and_can_be_run_again(project: Project) -> None:
    root = project.settings.root
    kit.change(root, {"train.seed": 98})
    before = kit.memory(project)
    run = started(root, "2013-04")
    stage = stage_process(run.pid, "train")
    for process in (psutil.Process(run.pid), stage):
        process.send_signal(signal.SIGKILL)
    run.communicate(timeout=60)

    assert kit.memory(project) == before
    assert list_runs(project)[0].outcome == "Failed"
    name = list_runs(project)[0].name
    assert name in leftovers.sweep(project)
    assert not (project.settings.home / "runs" / name / "data").exists()
    assert next((run.name, run.outcome) for run in list_runs(project)) == (name, "Failed")
    assert leftovers.sweep(project) == []
    again = kit.retrain(kit.open_at(root), as_of="2013-04")
    assert again.executed == ["train", "evaluate", "gate"]
    assert find_run(project, again.name) == again.commit


def test_a_stage_ends_with_the_run_that_started_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run would otherwise go on training, beside the one that is started in its place.

    Without SHELL, as under cron, DVC takes /bin/sh, which may stay between run and stage as a process of its own.
    """
    monkeypatch.delenv("SHELL", raising=False)
    kit.change(
        project.settings.root, {"train.seed": 97, "train.max_rounds": 100_000, "train.early_stopping_rounds": 10_000}
    )
    run = started(project.settings.root, "2013-04")
    stage = stage_process(run.pid, "train")
    time.sleep(1)  # it imports first
    run.kill()

    stage.wait(30)
    run.communicate()


@pytest.mark.slow
def test_two_runs_at_once_do_not_meet(project: Project) -> None:
    """Different months, one cache, one remote, one repository."""
    root = project.settings.root
    runs = [started(root, as_of) for as_of in ("2013-05", "2013-06")]
    said = [run.communicate(timeout=300) for run in runs]

    assert [run.returncode for run in runs] == [0, 0], said
    names = [out.split()[0] for out, _ in said]
    listed = {run.name: run for run in list_runs(project)}
    assert [listed[name].as_of for name in names] == ["2013-05", "2013-06"]
    for name in names:
        assert project.repository.read(find_run(project, name), "reports/verdict.json")
