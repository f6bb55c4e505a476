"""When a candidate that passed its gates is not released by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from greenlight.adapters.desired import DesiredState
from greenlight.adapters.dvc import LOCK
from greenlight.adapters.git import Repository
from greenlight.adapters.registry import Registry
from greenlight.config import Params, Settings
from greenlight.core.release import Desired
from greenlight.core.release_plan import Ended
from greenlight.operations.plan import Plan
from greenlight.operations.retrain import Run
from greenlight.operations.workspace import Workspace
from greenlight.wiring import Project

ROOT = Path(__file__).resolve().parents[2]


def lock(model: str) -> str:
    return f"schema: '2.0'\nstages:\n  train:\n    cmd: x\n    outs:\n    - path: data/model\n      md5: {model}.dir\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """v1, v2 and v3 served, then v4; v4 was rolled back from."""
    root = tmp_path_factory.mktemp("withdrawn")
    repository = Repository(root)
    repository.run("init", "-q")
    registry = Registry(repository, "flight_delay")
    for number in range(1, 5):
        (root / LOCK).write_text(lock(f"{number}" * 32))
        repository.run("add", "-A")
        repository.run("commit", "-q", "-m", f"Run {number}")
        registry.assign(registry.register(repository.head(), f"run-v{number}"))
    registry.assign(registry.get("v3"))
    return Project(Settings(root=root), Params.load(ROOT / "params.yaml"), repository, registry)


@pytest.mark.parametrize(("model", "withdrawn"), [("4", True), ("2", False), ("1", False), ("3", False), ("9", False)])
def test_only_what_was_rolled_back_from_is_withdrawn(
    project: Project, tmp_path: Path, model: str, withdrawn: bool
) -> None:
    """A version that a later one superseded was good; nobody withdrew it."""
    (tmp_path / LOCK).write_text(lock(model * 32))
    workspace = Workspace("r", tmp_path, project.params, "", dirty=False, created="")
    run = Run(project, Plan("r", project.params, None, None), workspace, None)  # type: ignore[arg-type]
    why = run.withdrawn()
    assert ("greenlight rollback --to v4" in why) if withdrawn else why == ""


@pytest.mark.parametrize(("ends", "said"), [(("rolled_back",), "rolled back: slow"), (("aborted",), "aborted: slow"),
    (("superseded",), ""), (("given_up",), ""), (("rolled_back", "promoted"), "")])  # fmt: skip
def test_a_version_whose_release_the_evidence_or_a_person_ended_is_withdrawn(
    project: Project, tmp_path: Path, ends: tuple[str, ...], said: str
) -> None:
    """v2 again, to the byte: the month is settled by that, and the next run goes on to the month after."""
    (tmp_path / LOCK).write_text(lock("2" * 32))
    workspace = Workspace("r", tmp_path, project.params, "", dirty=False, created="")
    here = replace(project, settings=Settings(root=project.settings.root, home=tmp_path / "home"))
    store = DesiredState(here.settings.home)
    for at, outcome in enumerate(ends):
        store.save(Desired(live="v1", last=Ended("v2", "v1", outcome, "slow", float(at))), "test")
    store.save(Desired(live="v1", last=Ended("v9", "v1", "rolled_back", "another", 9.0)), "test")
    store.save(Desired(live="v1"), "test")
    why = Run(here, Plan("r", here.params, None, None), workspace, None).withdrawn()  # type: ignore[arg-type]
    assert (said in why) if said else why == ""
    assert ("greenlight release v2" in why) == bool(said)
