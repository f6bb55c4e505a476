"""Stages, cache, remote and experiments, with real DVC on a small pipeline."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from greenlight.adapters import dvc
from greenlight.adapters.dvc import Pipeline
from greenlight.adapters.git import Repository
from greenlight.config import STAGE_REPORT_FILE
from greenlight.errors import DataRejected, DvcError, StageFailed

STAGE = f"""
import json, os, sys, yaml
mode = yaml.safe_load(open("params.yaml"))["mode"]
def tell(**said): json.dump(said, open(os.environ["{STAGE_REPORT_FILE}"], "w"))
if mode == "refuse":
    tell(error="DataRejected", what="the data is bad", where="here", todo="mend it"); sys.exit(3)
if mode == "crash":
    os.kill(os.getpid(), 9)
os.makedirs("data/out", exist_ok=True)
open("data/out/file", "w").write(mode)
tell(summary="wrote " + mode)
"""
DVC_YAML = """
stages:
  one:
    cmd: python stage.py
    deps: [stage.py]
    params: [mode]
    outs: [data/out]
"""


class Place:
    """A source repository with its shared cache and remote."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.source = base / "source"
        (self.source / ".dvc").mkdir(parents=True)
        (self.source / ".dvc" / "config").write_text(
            f"[core]\n    remote = local\n['remote \"local\"']\n    url = {dvc.DEFAULT_REMOTE_URL}\n"
        )
        (self.source / ".dvc" / ".gitignore").write_text("/tmp\n/config.local\n")
        (self.source / "stage.py").write_text(STAGE)
        (self.source / "dvc.yaml").write_text(DVC_YAML)
        (self.source / "params.yaml").write_text("mode: plain\n")
        (self.source / ".gitignore").write_text("/data/out\n/data/champion\n")
        subprocess.run(["git", "init", "-q"], cwd=self.source, check=True)
        self.repository = Repository(self.source)
        self.commit("first")

    def recorded(self, pipeline: Pipeline, name: str) -> str:
        """The commit of a workspace's run, as a run is recorded."""
        clone = Repository(pipeline.root)
        commit = clone.snapshot([dvc.LOCK], name, 86_400)
        clone.push_ref(dvc.experiment_ref(clone.head(), name), commit)
        return commit

    def commit(self, message: str) -> None:
        self.repository.run("add", "-A")
        self.repository.run("commit", "-q", "-m", message)

    def workspace(self, name: str, mode: str = "plain") -> Pipeline:
        self.repository.clone(self.base / name, self.repository.head())
        (self.base / name / "params.yaml").write_text(f"mode: {mode}\n")
        pipeline = Pipeline(self.base / name)
        pipeline.configure(self.base / "cache", self.base / "remote", self.source)
        return pipeline


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_stage_runs_once_and_comes_from_the_cache_in_the_next_workspace(place: Place) -> None:
    first = place.workspace("a").run_stage("one")
    second = place.workspace("b").run_stage("one")

    assert (first.executed, first.summary) == (True, "wrote plain")
    assert not second.executed
    assert (place.base / "b" / "data" / "out" / "file").read_text() == "plain"


def test_force_executes_again(place: Place) -> None:
    place.workspace("a").run_stage("one")

    assert place.workspace("b").run_stage("one", force=True).executed


def test_what_the_stage_says_is_raised_as_it_was(place: Place) -> None:
    with pytest.raises(DataRejected) as caught:
        place.workspace("a", "refuse").run_stage("one")

    assert (caught.value.what, caught.value.where, caught.value.todo) == ("the data is bad", "here", "mend it")


def test_a_killed_stage_is_named(place: Place) -> None:
    with pytest.raises(StageFailed, match="stage one"):
        place.workspace("a", "crash").run_stage("one")


def test_a_recorded_run_comes_back_elsewhere_from_the_remote_alone(place: Place) -> None:
    pipeline = place.workspace("a")
    pipeline.run_stage("one")
    assert pipeline.push() > 0
    commit = place.recorded(pipeline, "run-a")

    place.repository.clone(place.base / "elsewhere", commit)
    elsewhere = Pipeline(place.base / "elsewhere")
    elsewhere.configure(place.base / "another cache", place.base / "remote", place.source)
    elsewhere.pull(["data/out"])

    assert (elsewhere.root / "data" / "out" / "file").read_text() == "plain"
    lock = dvc.lock_hashes(Repository(elsewhere.root).read(commit, dvc.LOCK))
    assert lock["one"]["data/out"].endswith(".dir")


def test_fetch_lays_a_folder_by_its_hash_alone(place: Place) -> None:
    pipeline = place.workspace("a")
    pipeline.run_stage("one")
    pipeline.push()
    digest = dvc.lock_hashes((pipeline.root / dvc.LOCK).read_bytes())["one"]["data/out"]

    other = place.workspace("b")
    (other.root / "data" / "champion").mkdir(parents=True)
    other.fetch(digest, other.root / "data" / "champion" / "model")

    assert (other.root / "data" / "champion" / "model" / "file").read_text() == "plain"
    assert os.listdir(other.root / "data" / "champion") == ["model"]


def test_push_to_a_remote_that_cannot_be_written_records_nothing(place: Place) -> None:
    pipeline = place.workspace("a")
    pipeline.run_stage("one")
    (place.base / "remote").write_text("a file where the remote's folder should be")

    with pytest.raises(DvcError, match="dvc push failed"):
        pipeline.push()


def test_pull_of_what_the_remote_lacks_is_named(place: Place) -> None:
    pipeline = place.workspace("a")
    pipeline.run_stage("one")
    commit = place.recorded(pipeline, "run-a")
    place.repository.clone(place.base / "elsewhere", commit)
    elsewhere = Pipeline(place.base / "elsewhere")
    elsewhere.configure(place.base / "another cache", place.base / "remote", place.source)

    with pytest.raises(DvcError, match="dvc pull data/out failed"):
        elsewhere.pull(["data/out"])


def test_why_a_file_could_not_be_copied_is_in_the_message_and_not_in_the_log(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    (place.source / ".dvc" / "config").write_text(
        "[core]\n    remote = r\n['remote \"r\"']\n    url = http://127.0.0.1:1/away\n"
    )
    pipeline = place.workspace("a")
    pipeline.run_stage("one")

    with pytest.raises(DvcError, match=r"dvc push failed: .*failed to upload: Cannot connect to host 127") as caught:
        pipeline.push()

    assert caught.value.retryable
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("scheme", ["ssh", "gs"])
def test_a_kind_of_remote_without_its_driver_is_refused_at_once(place: Place, scheme: str) -> None:
    (place.source / ".dvc" / "config").write_text(
        f"[core]\n    remote = r\n['remote \"r\"']\n    url = {scheme}://host/path\n"
    )

    with pytest.raises(DvcError, match=f"requires 'dvc-{scheme}'"):
        dvc.remote(place.source)


def test_no_default_remote_says_how_to_add_one(place: Place) -> None:
    (place.source / ".dvc" / "config").write_text("[core]\n    analytics = false\n")

    with pytest.raises(DvcError, match="dvc remote add --default"):
        place.workspace("a")


def test_another_remote_is_left_as_it_is(place: Place) -> None:
    url = "https://host/path"
    (place.source / ".dvc" / "config").write_text(f"[core]\n    remote = mine\n['remote \"mine\"']\n    url = {url}\n")

    assert dvc.remote(place.source) == ("mine", url)
    assert f"url = {url}" in (place.workspace("a").root / ".dvc" / "config.local").read_text()


def test_an_absolute_folder_is_a_remote(place: Place) -> None:
    (place.source / ".dvc" / "config").write_text(
        f"[core]\n    remote = mine\n['remote \"mine\"']\n    url = {place.base / 'mine'}\n"
    )
    pipeline = place.workspace("a")
    pipeline.run_stage("one")

    assert pipeline.push() == sum(path.is_file() for path in (place.base / "mine").rglob("*"))


def test_a_relative_remote_is_relative_to_the_checkout(place: Place) -> None:
    (place.source / ".dvc" / "config").write_text("[core]\n    remote = r\n['remote \"r\"']\n    url = ../../storage\n")

    workspace = place.workspace("deep/er/a").root

    assert dvc.remote(workspace) == ("r", str(place.base / "storage"))


def test_working_directory_and_environment_are_left_as_they_were(place: Place) -> None:
    before = (os.getcwd(), dict(os.environ))
    place.workspace("a").run_stage("one")
    after = dict(os.environ)
    after.pop("DVC_NO_ANALYTICS", None), before[1].pop("DVC_NO_ANALYTICS", None)

    assert (os.getcwd(), after) == before


def test_lock_hashes_of_nothing_is_nothing() -> None:
    assert dvc.lock_hashes(None) == {}
    assert dvc.lock_hashes(json.dumps({"schema": "2.0"}).encode()) == {}
