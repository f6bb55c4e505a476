"""The disaster drill: a clone, the Git remote and the DVC remote, and nothing else; over the real stack."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import retrain_kit as kit
import serving_kit
from retrain_kit import Recorded

from greenlight import datasets
from greenlight.adapters import processes
from greenlight.adapters.desired import DesiredState
from greenlight.adapters.objects import DIR, remote_store
from greenlight.config import Settings
from greenlight.core.release import Desired
from greenlight.errors import DvcError, GitError, UsageError
from greenlight.operations import backup, stack
from greenlight.operations.reproduce import reproduce
from greenlight.operations.restore import restore
from greenlight.operations.runs import run_commits
from greenlight.wiring import open_project


@dataclass(frozen=True)
class Remotes:
    """All that is left: a bare repository and a DVC remote."""

    origin: Path
    data: Path
    runs: dict[str, str]

    def clone(self, folder: Path) -> Settings:
        """A fresh clone, as on another machine."""
        root = folder / "clone"
        kit.git(folder, "clone", "-q", str(self.origin), str(root))
        ports = {"edge_port": serving_kit.free_port(), "prefect_port": serving_kit.free_port()}
        return Settings(root=root, workers=1, **ports)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def remotes(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Remotes:
    """What `greenlight backup` and a push of the branch leave; the machine that did it is gone."""
    folder = tmp_path_factory.mktemp("remotes")
    root = kit.copy(recorded, folder / "lost").root
    (folder / "data").mkdir()
    kit.remote(root, str(folder / "data"))
    kit.git(folder, "init", "-q", "--bare", "origin.git")
    kit.git(root, "remote", "add", "origin", str(folder / "origin.git"))
    kit.git(root, "push", "-q", "origin", "main")
    project = kit.open_at(root)
    backup.back_up(project)
    runs = run_commits(project.repository)
    shutil.rmtree(root)
    return Remotes(folder / "origin.git", folder / "data", runs)


@pytest.fixture
def settings(remotes: Remotes, tmp_path: Path) -> Iterator[Settings]:
    found = remotes.clone(tmp_path)
    try:
        yield found
    finally:
        stack.down(found)
        assert not processes.marked(found.home)


def answered_by(settings: Settings) -> str:
    body = json.dumps({"rows": [datasets.load("flight_delay").request.EXAMPLE]})
    connection = http.client.HTTPConnection(settings.host, settings.edge_port, timeout=10)
    connection.request("POST", "/predict", body, {"content-type": "application/json"})
    reply = connection.getresponse()
    assert reply.status == 200, reply.read()
    return str(json.loads(reply.read())["predictions"][0]["model_version"])


@pytest.mark.slow
def test_everything_comes_back_and_again_is_left_alone(remotes: Remotes, settings: Settings) -> None:
    report = restore(settings)

    assert (report.live, report.already_live) == ("v1", False)
    assert (report.runs, report.versions, [e["version"] for e in report.history]) == (3, 1, ["v1"])
    assert report.verified
    assert (report.missing, report.lost) == ({}, {})
    steps = list(report.seconds)
    assert steps[:4] == ["refs", "model", "verify", "stack"]
    assert {"bento", "preflight", "start", "switch", "inventory"} <= set(steps)
    assert answered_by(settings) == "v1"
    project = open_project(settings)
    assert run_commits(project.repository) == remotes.runs
    assert len(project.registry.history()) == 1, "what was live already is no new entry in the ledger"
    assert {c.state for c in doctor_checks(settings)} == {"ok"}

    before = stack.status(settings).processes
    again = restore(settings)
    assert (again.live, again.already_live, again.fetched) == ("v1", True, 0)
    assert stack.status(settings).processes == before

    with pytest.raises(UsageError, match=r"v7 serves here, and by the ledger it should be v1.*rollback --to v1"):
        claimed(settings, "v7")

    stack.down(settings)
    DesiredState(settings.home).save(Desired(generation=9, live="v7"), "what this machine once served")
    later = restore(settings)
    assert (later.live, later.already_live) == ("v1", False)
    assert answered_by(settings) == "v1"
    assert [entry.version for entry in open_project(settings).registry.history()] == ["v1"]


def claimed(settings: Settings, version: str) -> None:
    """A machine whose stack serves another version than the ledger says; its servers are those of v1."""
    from greenlight.operations.serving import Serving

    serving = Serving(open_project(settings))
    serving.edge.set_clusters({**serving.clusters(), version: serving.servers.sockets("v1")})
    serving.edge.wait_healthy(version, 1)
    desired = DesiredState(settings.home)
    state = desired.load()
    desired.save(Desired(generation=state.generation + 1, live=version), "test")
    try:
        restore(settings)
    finally:
        desired.save(state, "test")


def doctor_checks(settings: Settings) -> list[object]:
    from greenlight.operations import backup_checks

    return list(backup_checks.examine(settings))  # type: ignore[arg-type]


def test_a_run_reproduces_on_the_restored_machine_without_any_stack(remotes: Remotes, tmp_path: Path) -> None:
    settings = remotes.clone(tmp_path)
    kit.git(settings.root, "fetch", "-q", "origin", *backup.REFSPECS)
    rejected = next(run for run, commit in remotes.runs.items() if outcome_of(settings.root, commit) == "DataRejected")
    assert reproduce(open_project(settings), rejected).verdict == "identical"


def outcome_of(root: Path, commit: str) -> str:
    return str(json.loads(kit.git(root, "show", f"{commit}:reports/run.json"))["outcome"])


def test_a_model_that_the_remote_lacks_is_named_and_nothing_starts(remotes: Remotes, tmp_path: Path) -> None:
    data = shutil.copytree(remotes.data, tmp_path / "data")
    settings = remotes.clone(tmp_path)
    kit.git(settings.root, "config", "user.name", "Test")
    kit.remote(settings.root, str(data))
    store = remote_store(settings.root, settings.home)
    kit.git(settings.root, "fetch", "-q", "origin", *backup.REFSPECS)
    project = open_project(settings)
    commit = project.registry.get("v1").commit
    held = backup.holdings.read(project.repository, [commit], [store])
    store.remove(n for n in held.of(held.by_commit[commit]["data/model"]) if not n.endswith(DIR))
    with pytest.raises(DvcError) as caught:
        restore(settings)
    assert "the model of v1 (run 2013-03-" in caught.value.what
    assert caught.value.where == str(data)
    assert "greenlight backup where it was made" in caught.value.todo
    assert not processes.marked(settings.home)


def test_a_version_that_is_not_what_was_signed_is_not_brought_back(remotes: Remotes, tmp_path: Path) -> None:
    """Somebody moves the version's tag to a run that was rejected; the signature in it is that of another model."""
    kit.git(tmp_path, "clone", "-q", "--bare", str(remotes.origin), "other.git")
    bare = tmp_path / "other.git"
    kit.git(bare, "fetch", "-q", "origin", "refs/exps/*:refs/exps/*", "refs/greenlight/*:refs/greenlight/*")
    message = kit.git(bare, "for-each-ref", "--format=%(contents)", "refs/tags/flight_delay@v1.0.0")
    kept = next(run for run, commit in remotes.runs.items() if outcome_of(bare, commit) == "KeptChampion")
    for tag, said in (("flight_delay@v1.0.0", message), ("flight_delay#prod#1", "v1 serves")):
        kit.git(bare, "tag", "-f", "-a", tag, "-m", said, remotes.runs[kept])
    settings = Remotes(bare, remotes.data, {}).clone(tmp_path)
    with pytest.raises(GitError, match="somebody moved it"):
        restore(settings)
    assert not processes.marked(settings.home)


def test_history_alone_comes_back_before_the_first_release(remotes: Remotes, tmp_path: Path) -> None:
    kit.git(tmp_path, "clone", "-q", "--bare", str(remotes.origin), "other.git")
    kit.git(tmp_path / "other.git", "fetch", "-q", "origin", "refs/exps/*:refs/exps/*")
    kit.git(tmp_path / "other.git", "tag", "-d", "flight_delay#prod#1")
    report = restore(Remotes(tmp_path / "other.git", remotes.data, {}).clone(tmp_path))
    assert (report.live, report.runs, report.versions, report.history) == ("", 3, 1, ())


def test_without_an_origin_that_answers_it_says_what_to_do(remotes: Remotes, tmp_path: Path) -> None:
    settings = remotes.clone(tmp_path)
    kit.git(settings.root, "remote", "set-url", "origin", str(tmp_path / "nothing"))
    with pytest.raises(GitError, match="does not answer"):
        restore(settings)
    kit.git(settings.root, "remote", "remove", "origin")
    with pytest.raises(GitError, match="git remote add origin"):
        restore(settings)


def test_a_tag_that_says_otherwise_here_is_not_overwritten(remotes: Remotes, tmp_path: Path) -> None:
    settings = remotes.clone(tmp_path)
    kit.git(settings.root, "tag", "-f", "-a", "flight_delay@v1.0.0", "-m", "run other", "HEAD")
    before = kit.git(settings.root, "show-ref", "--tags")
    with pytest.raises(GitError, match=r"flight_delay@v1\.0\.0"):
        restore(settings)
    assert before in kit.git(settings.root, "show-ref", "--tags")
