"""The folder that a run works in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.config import Params
from greenlight.datasets.flight_delay import source
from greenlight.errors import DvcError, GitError, GreenlightError, NotFound
from greenlight.operations.plan import plan
from greenlight.operations.runs import list_runs
from greenlight.operations.workspace import create, materialize, model_hash
from greenlight.stages import snapshot


@pytest.fixture
def repo(recorded: Recorded, tmp_path: Path) -> Path:
    return kit.copy(recorded, tmp_path / "repo").root


def test_params_are_concrete_and_keep_their_comments(repo: Path) -> None:
    project = kit.open_at(repo)
    found = plan(project)
    workspace = create(project, found)

    assert Params.load(workspace.root / "params.yaml") == found.params
    before, after = ((folder / "params.yaml").read_text() for folder in (repo, workspace.root))
    assert "# what every candidate must reach on the holdout" in after
    assert len(before.splitlines()) == len(after.splitlines())


def test_the_users_checkout_is_only_read(repo: Path) -> None:
    (repo / "README.md").write_text("edited")
    project = kit.open_at(repo)
    before = kit.memory(project)
    create(project, plan(project))

    assert kit.memory(project) == before


def test_the_champion_is_laid_out_with_its_model_and_its_own_code(repo: Path) -> None:
    (repo / "greenlight" / "datasets" / "flight_delay" / "features.py").write_text("raise SystemExit")
    project = kit.open_at(repo)
    champion = project.registry.champion()
    assert champion is not None
    workspace = create(project, plan(project))
    folder = workspace.path("champion")

    assert json.loads((folder / "champion.json").read_text()) == {
        "version": "v1",
        "run": champion.run,
        "model_md5": model_hash(project, champion),
    }
    assert (folder / "model" / "model.ubj").is_file()
    assert "def row_features" in (folder / "code/greenlight/datasets/flight_delay/features.py").read_text()


def test_changes_of_every_kind_travel(repo: Path) -> None:
    (repo / "README.md").write_bytes(bytes(range(256)))
    (repo / "LICENSE").unlink()
    (repo / "greenlight" / "core" / "new.py").write_text("NEW = 1\n")
    kit.git(repo, "add", "greenlight/core/new.py")
    (repo / "greenlight" / "core" / "untracked.py").write_text("")
    project = kit.open_at(repo)
    workspace = create(project, plan(project))

    assert workspace.dirty
    assert (workspace.root / "README.md").read_bytes() == bytes(range(256))
    assert not (workspace.root / "LICENSE").exists()
    assert (workspace.root / "greenlight/core/new.py").read_text() == "NEW = 1\n"
    assert not (workspace.root / "greenlight/core/untracked.py").exists()
    assert "greenlight/core/new.py" not in workspace.repository.untracked()


@pytest.mark.parametrize("setting", ["diff.noprefix", "diff.mnemonicPrefix", "color.ui"])
def test_changes_travel_whatever_the_user_likes_diffs_to_look_like(repo: Path, setting: str) -> None:
    kit.git(repo, "config", setting, "always" if setting == "color.ui" else "true")
    (repo / "README.md").write_text("edited\n")
    project = kit.open_at(repo)

    assert (create(project, plan(project)).root / "README.md").read_text() == "edited\n"


def test_a_month_handed_in_is_what_the_snapshot_takes(repo: Path) -> None:
    rows = kit.month("flights", "2013-04").head(100)
    path = kit.hand_in(repo, "flights", "2013-04", rows)
    project = kit.open_at(repo)
    workspace = create(project, plan(project))
    snapshot.run(workspace.params, workspace.root)

    assert (workspace.root / "data/snapshot/flights/2013-04.parquet").read_bytes() == path.read_bytes()


def test_a_month_handed_in_may_be_committed_too(repo: Path) -> None:
    path = kit.hand_in(repo, "flights", "2013-04", kit.month("flights", "2013-04").head(100))
    kit.git(repo, "add", "--force", "data/incoming")
    kit.git(repo, "commit", "-q", "-m", "April")
    other = kit.hand_in(repo, "weather", "2013-04", kit.month("weather", "2013-04"))
    project = kit.open_at(repo)
    incoming = create(project, plan(project)).root / "data" / "incoming"

    assert (incoming / "flights/2013-04.parquet").read_bytes() == path.read_bytes()
    assert (incoming / "weather/2013-04.parquet").read_bytes() == other.read_bytes()


def test_a_folder_may_be_called_anything(recorded: Recorded, tmp_path: Path) -> None:
    """DVC's configuration holds ASCII only."""
    root = kit.copy(recorded, tmp_path / "übung mit Leerzeichen").root
    project = kit.open_at(root)
    workspace = create(project, plan(project))

    assert (workspace.path("champion") / "model" / "model.ubj").is_file()


def test_a_champion_that_neither_cache_nor_remote_holds_is_an_error_that_leaves_word(repo: Path) -> None:
    shutil.rmtree(repo / ".greenlight" / "cache")
    shutil.rmtree(repo / ".greenlight" / "remote")
    project = kit.open_at(repo)
    before = kit.memory(project)
    found = plan(project)

    with pytest.raises(DvcError, match="neither the cache nor the remote holds it") as caught:
        create(project, found)

    assert "\x1b" not in str(caught.value)
    assert "https" not in str(caught.value)
    assert kit.memory(project) == before
    assert (list_runs(project)[0].name, list_runs(project)[0].outcome) == (found.run, "Failed")
    assert "neither the cache" in list_runs(project)[0].reason


def test_a_champion_comes_from_the_remote_when_the_cache_is_gone(repo: Path) -> None:
    shutil.rmtree(repo / ".greenlight" / "cache")
    project = kit.open_at(repo)

    assert (create(project, plan(project)).path("champion") / "model" / "model.ubj").is_file()


def test_a_version_tag_on_a_commit_that_is_no_run_is_named(repo: Path) -> None:
    project = kit.open_at(repo)
    version = project.registry.register(project.repository.head(), "by hand")

    with pytest.raises(NotFound, match="v2 is tagged on"):
        model_hash(project, version)


def test_materialize_gives_an_output_of_a_run_and_takes_the_folder_away(repo: Path) -> None:
    project = kit.open_at(repo)
    champion = project.registry.champion()
    assert champion is not None
    with materialize(project.settings, champion.commit, ["data/model"]) as folder:
        assert (folder / "data/model/model.ubj").is_file()
        assert not (folder / "data/snapshot").exists()

    assert not folder.exists()


def test_materialize_of_no_commit_is_an_error(repo: Path) -> None:
    project = kit.open_at(repo)
    with pytest.raises(GitError), materialize(project.settings, "0" * 40, []):
        raise AssertionError("no folder should have come")


def test_a_month_handed_in_through_a_linked_folder_reaches_the_snapshot(repo: Path, tmp_path: Path) -> None:
    shared = tmp_path / "[share] *"
    shared.mkdir()
    source.fetch("2013-08")["flights"].head(100).write_parquet(shared / "2013-08.parquet")
    (repo / "data/incoming").mkdir(parents=True, exist_ok=True)
    (repo / "data/incoming/flights").symlink_to(shared)
    project = kit.open_at(repo)
    workspace = create(project, plan(project, as_of="2013-08"))
    snapshot.run(workspace.params, workspace.root)

    assert pl.read_parquet(workspace.path("snapshot") / "flights/2013-08.parquet", glob=False).height == 100


def test_a_committed_link_in_place_of_the_whole_folder_is_laid_anew(repo: Path, tmp_path: Path) -> None:
    """Relative, so that it points elsewhere, or nowhere, from a run's folder; nothing is written through it."""
    shared = repo.parent / "share"
    (shared / "flights").mkdir(parents=True)
    source.fetch("2013-08")["flights"].head(100).write_parquet(shared / "flights/2013-08.parquet")
    (repo / "data").mkdir(exist_ok=True)
    (repo / "data/incoming").symlink_to(
        Path("../../share"), target_is_directory=True
    )  # from data/: beside the repository
    kit.git(repo, "add", "-f", "data/incoming")
    kit.git(repo, "commit", "-q", "-m", "Link")
    project = kit.open_at(repo)

    workspace = create(project, plan(project, as_of="2013-08"))

    laid = workspace.root / "data/incoming/flights/2013-08.parquet"
    assert laid.resolve() == shared / "flights/2013-08.parquet"
    assert not (workspace.root / "data/incoming").is_symlink()
    assert [path.name for path in (shared / "flights").iterdir()] == ["2013-08.parquet"]


def test_a_snapshot_of_other_files_than_were_planned_with_is_refused(repo: Path) -> None:
    project = kit.open_at(repo)
    workspace = create(project, plan(project, as_of="2013-08"))
    late = workspace.root / "data/incoming/flights/2013-08.parquet"
    late.parent.mkdir(parents=True, exist_ok=True)
    source.fetch("2013-08")["flights"].head(100).write_parquet(late)
    with pytest.raises(GreenlightError, match="is not what this run was planned with"):
        snapshot.run(workspace.params, workspace.root)
