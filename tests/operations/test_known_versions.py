"""The registry after something deleted it: back from its copies, or from what the bentos say; told by doctor."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import serving_kit as kit

from greenlight.adapters.desired import DesiredState
from greenlight.config import Settings
from greenlight.core.release import Desired
from greenlight.operations import doctor
from greenlight.operations.known_versions import mend
from greenlight.operations.plan import plan
from greenlight.wiring import Project, open_project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """v1 and v2, signed and built; v2 serves by the ledger and by the desired state."""
    settings = kit.project(tmp_path_factory.mktemp("known") / "project", 2)
    registry = open_project(settings).registry
    for name in ("v1", "v2"):
        registry.assign(registry.get(name))
    DesiredState(settings.home).save(Desired(live="v2"), "test")
    return settings


@pytest.fixture
def project(made: Settings, tmp_path: Path) -> Project:
    root = shutil.copytree(made.root, tmp_path / "project")
    return open_project(Settings(root=root, edge_port=made.edge_port, prefect_port=made.prefect_port))


def lose(project: Project, *spaces: str) -> None:
    for ref in [ref for space in spaces for ref in project.repository.refs(space)]:
        project.repository.run("update-ref", "-d", ref)


def versions(project: Project) -> list[tuple[str, str, str, str]]:
    registry = project.registry
    return [(v.name, v.run, v.commit, registry.signature(v)) for v in registry.versions()]


def tags_of(project: Project) -> list[tuple[str, str]]:
    checks = doctor.examine(project.settings).checks
    return [(check.state, check.found) for check in checks if check.name == "tags"]


def test_without_any_ref_the_bentos_still_know_their_versions(project: Project) -> None:
    before = versions(project)
    assert all(signature for *_, signature in before)
    lose(project, "refs/tags/", "refs/greenlight/tags/")
    assert versions(project) == []
    assert ("fail", "v2 serves, and no tag names it") in tags_of(project)

    lines = mend(project)

    assert versions(project) == before
    assert [line.split(" (")[0] for line in lines] == [
        f"version {name} had no tag; it is back from its bento" for name in ("v1", "v2")
    ]
    assert project.registry.faults() == []
    assert mend(project) == []


def test_a_bento_of_a_commit_that_is_not_here_brings_nothing_back(project: Project) -> None:
    lose(project, "refs/tags/", "refs/greenlight/tags/")
    label = project.settings.home / "bentoml/bentos/flight_delay/v1/bento.yaml"
    commit = next(line for line in label.read_text().splitlines() if "commit:" in line).split()[-1].strip("'\"")
    label.write_text(label.read_text().replace(commit, "0" * 40))

    mend(project)

    assert [name for name, *_ in versions(project)] == ["v2"]


def test_doctor_is_loud_about_lost_tags_and_quiet_afterwards(project: Project) -> None:
    assert [state for state, _ in tags_of(project)] == ["ok"]
    lose(project, "refs/tags/")
    assert any(state == "fail" and "4 tags are gone" in found for state, found in tags_of(project))
    mend(project)
    assert tags_of(project) == [("ok", "2 versions, each on the run that it names")]


def test_the_next_retrain_compares_with_the_champion_that_a_prune_deleted(project: Project) -> None:
    lose(project, "refs/tags/")
    made = plan(project, as_of="2013-09")
    assert made.champion is not None
    assert made.champion.name == "v2"
    assert any("flight_delay@v2.0.0 was gone" in line for line in made.warnings)


def test_a_retrain_from_the_command_line_says_what_it_put_back(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """It plans once before the stack comes up: what that puts back, nothing after it finds again."""
    from greenlight.cli.retrain import _checked

    lose(project, "refs/tags/")
    _checked(project, "2013-09", "", ())
    said = capsys.readouterr()
    assert "flight_delay@v2.0.0 was gone" in said.out + said.err
