"""Which version a run stands for when somebody asks to roll back to it, and that its bento can always be built."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.adapters.bento import SOURCES
from greenlight.adapters.objects import remote_store
from greenlight.errors import NotFound, ServerError
from greenlight.operations import holdings
from greenlight.operations.rollback import rollback
from greenlight.operations.run_version import version_of
from greenlight.operations.runs import find_run
from greenlight.operations.serving import Serving
from greenlight.wiring import Project


def again(project: Project, run: str, name: str) -> None:
    """A second record of a run: the same files in another commit."""
    root, commit = project.settings.root, find_run(project, run)
    other = kit.git(root, "commit-tree", f"{commit}^{{tree}}", "-p", commit, "-m", f"run {name}")
    kit.git(root, "update-ref", f"refs/exps/{commit[:2]}/{commit[2:]}/{name}", other)


def test_a_run_that_no_gate_let_through_is_refused_with_why(recorded: Recorded) -> None:
    project = recorded.project
    with pytest.raises(NotFound, match=r"no version came from run '2013-04.*ended as KeptChampion\. .*roc_auc"):
        rollback(project.settings, to_run=recorded.kept)
    with pytest.raises(NotFound, match=r"ended as DataRejected\. .*breaks the contract.*Next: greenlight runs shows"):
        rollback(project.settings, to_run=recorded.rejected)
    with pytest.raises(ServerError, match="the stack is down"):
        rollback(project.settings, to_run=recorded.promoted)


def test_a_promoted_run_stands_for_the_version_of_its_model(recorded: Recorded, tmp_path: Path) -> None:
    """A retrain that broke off after its record was started again: two records, one version."""
    project = kit.copy(recorded, tmp_path / "repo").project
    again(project, recorded.promoted, "2013-03-again0")
    assert version_of(project, "2013-03-again0").name == "v1"
    assert version_of(project, recorded.promoted[:-1]).name == "v1"
    again(project, recorded.kept, "2013-04-again0")
    with pytest.raises(NotFound, match="ended as KeptChampion"):
        version_of(project, "2013-04-again0")
    kit.git(project.settings.root, "tag", "-d", "flight_delay@v1.0.0")
    with pytest.raises(NotFound, match=r"broke off before it was registered.*greenlight retrain --as-of 2013-03"):
        version_of(project, "2013-03-again0")


def test_a_bento_is_built_again_when_all_else_of_its_run_is_gone(recorded: Recorded, tmp_path: Path) -> None:
    """No run folder, no bento, no cache: the version's commit and the DVC remote are enough."""
    project = kit.copy(recorded, tmp_path / "repo").project
    home = project.settings.home
    for name in ("runs", "cache", "bentoml"):
        shutil.rmtree(home / name, ignore_errors=True)
    version = project.registry.get("v1")

    found = Serving(project).bento(version)

    model = found / SOURCES / "data" / "model"
    files = {hashlib.md5(path.read_bytes()).hexdigest() for path in model.rglob("*") if path.is_file()}
    held = holdings.read(
        project.repository, [version.commit], [remote_store(project.settings.root, project.settings.home)]
    )
    listing = held.by_commit[version.commit]["data/model"]
    assert files == held.of(listing) - {listing}
    built = (found / "bento.yaml").stat().st_mtime_ns
    assert Serving(project).bento(version) == found
    assert (found / "bento.yaml").stat().st_mtime_ns == built, "what is there is not built again"
