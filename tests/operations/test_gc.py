"""Clean-up over real runs: what goes, what never does, that it may break off anywhere, and that kept runs come back."""

from __future__ import annotations

import gc as garbage
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.adapters import in_use, processes
from greenlight.adapters.desired import DesiredState
from greenlight.adapters.objects import DIR, cache_store, remote_store
from greenlight.errors import DvcError, NotFound, ServerError, UsageError
from greenlight.operations import gc, holdings, holds
from greenlight.operations.gc import collect
from greenlight.operations.gc_plan import ASIDE, Wish, plan
from greenlight.operations.reproduce import reproduce
from greenlight.operations.runs import find_run, list_runs, run_commits
from greenlight.operations.workspace import NOTE, configured
from greenlight.wiring import Project

FORGET = Wish(1, forget=True)
ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from greenlight.adapters import objects
from greenlight.adapters.git import Repository
from greenlight.operations import gc
from greenlight.config import Settings
from greenlight.wiring import open_project

root, where, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
objects.BATCH = 1
real = objects.Store.remove
def remove(self, names, done=lambda _: None):
    left = [count]
    def one(removed):
        left[0] -= 1
        if self.where.endswith(where) and left[0] <= 0:
            die()
    if self.where.endswith(where) and count == 0:
        die()
    return real(self, names, one)
objects.Store.remove = remove
if where == "folders":
    gc._delete = lambda *_: die()
gc.collect(open_project(Settings(root=root)), gc.Wish(1, forget=True))
"""


@pytest.fixture
def repo(recorded: Recorded, tmp_path: Path) -> Recorded:
    return kit.copy(recorded, tmp_path / "repo")


def stores(project: Project) -> dict[str, set[str]]:
    settings = project.settings
    return {
        "cache": set(cache_store(settings.home).sizes()),
        "remote": set(remote_store(settings.root, settings.home).sizes()),
    }


def needed(project: Project, *runs: str) -> set[str]:
    """Objects of runs, by what their commits name."""
    settings = project.settings
    commits = [find_run(project, run) for run in runs]
    found = holdings.read(project.repository, commits, [remote_store(settings.root, settings.home)])
    assert not found.unlisted
    return found.objects(commits)


def on_disk(folder: Path) -> int:
    seen = {(s.st_dev, s.st_ino): s.st_blocks * 512 for p in folder.rglob("*") if (s := p.lstat())}
    return sum(seen.values())


@pytest.mark.slow
def test_without_forget_only_copies_go_and_every_run_is_still_there(repo: Recorded) -> None:
    project = repo.project
    runs, before, settings = run_commits(project.repository), stores(project), project.settings
    leftover = settings.home / "tmp" / "reproduce-broken"
    leftover.mkdir(parents=True)
    (leftover / "file").write_bytes(b"x" * 100_000)
    shown = plan(project, Wish(1))
    assert shown.dropped == (repo.rejected,)
    assert shown.kept == {repo.kept: "among the 1 newest", repo.promoted: "v1, live"}
    assert (shown.refs, shown.remote, shown.leftovers) == ({}, frozenset(), (leftover,))
    assert shown.folders == (settings.home / "runs" / repo.rejected,)
    assert stores(project) == before, "a plan only reads"
    used = on_disk(settings.home)

    done = collect(project, Wish(1))

    assert used - on_disk(settings.home) == pytest.approx(shown.frees, abs=20_000)
    assert shown.frees > 100_000
    assert run_commits(project.repository) == runs
    after = stores(project)
    assert after["remote"] == before["remote"]
    assert after["cache"] == before["cache"] - done.cache
    assert needed(project, repo.kept, repo.promoted) <= after["cache"]
    assert needed(project, repo.rejected) - after["cache"] == done.cache - (done.cache - needed(project, repo.rejected))
    assert not shown.folders[0].exists()
    assert not leftover.exists()
    assert plan(project, Wish(1)).empty
    assert reproduce(project, repo.rejected).verdict == "identical", "from the remote"


def test_what_the_remote_lacks_stays_in_the_cache(repo: Recorded) -> None:
    project = repo.project
    settings = project.settings
    wanted = needed(project, repo.rejected) - needed(project, repo.kept, repo.promoted)
    remote_store(settings.root, settings.home).remove(n for n in wanted if not n.endswith(DIR))
    done = collect(project, Wish(1))
    assert any("greenlight backup" in note for note in done.notes)
    assert {n for n in wanted if not n.endswith(DIR)} <= stores(project)["cache"]


def test_forgotten_runs_are_gone_and_the_others_come_back_from_a_fresh_clone(repo: Recorded, tmp_path: Path) -> None:
    """Refs here and in origin, objects in cache and remote; `kept` needs the champion's model too."""
    project = repo.project
    kit.git(tmp_path, "init", "-q", "--bare", "origin.git")
    kit.git(repo.root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    kit.git(repo.root, "push", "-q", "origin", "main", "--tags", "refs/exps/*:refs/exps/*")
    before = stores(project)
    gone = needed(project, repo.rejected) - needed(project, repo.kept, repo.promoted)

    done = collect(project, FORGET)

    assert done.remote == gone
    assert done.frees_remote > 0
    assert stores(project)["remote"] == before["remote"] - gone
    assert set(run_commits(project.repository)) == {repo.kept, repo.promoted}
    assert repo.rejected not in kit.git(repo.root, "ls-remote", "origin")
    assert kit.git(repo.root, "for-each-ref", ASIDE) == ""
    with pytest.raises(NotFound):
        find_run(project, repo.rejected)

    clone = tmp_path / "clone"
    kit.git(tmp_path, "clone", "-q", str(tmp_path / "origin.git"), str(clone))
    kit.git(clone, "fetch", "-q", "origin", "refs/exps/*:refs/exps/*")
    kit.remote(clone, str(repo.root / ".greenlight" / "remote"))
    assert reproduce(kit.open_at(clone), repo.kept).verdict == "identical"


def test_held_runs_versions_and_young_runs_stay(repo: Recorded) -> None:
    project = repo.project
    assert holds.hold(project, repo.rejected[:-2]) == repo.rejected
    shown = plan(project, Wish(0, forget=True))
    assert shown.kept == {repo.rejected: "held", repo.promoted: "v1, live"}
    assert shown.dropped == (repo.kept,)
    assert holds.let_go(project, repo.rejected) == repo.rejected == holds.let_go(project, repo.rejected)
    assert set(plan(project, Wish(0)).dropped) == {repo.kept, repo.rejected}
    assert plan(project, Wish(0, older_than_days=1)).dropped == ()
    kit.git(repo.root, "tag", "mine", find_run(project, repo.kept))
    tagged = plan(project, Wish(0, forget=True))
    assert not tagged.remote & needed(project, repo.kept), "somebody's own tag names that commit"


def test_a_run_that_broke_off_goes_with_its_folder(repo: Recorded) -> None:
    project = repo.project
    folder = project.settings.home / "runs" / "2013-02-broken"
    (folder / ".git").mkdir(parents=True)
    note = {"name": folder.name, "created": "2013-01-01T00:00:00+00:00", "as_of": "2013-02", "outcome": "Running"}
    (folder / ".git" / NOTE).write_text(json.dumps(note | {"pid": 1, "began": "1"}))
    assert [run.name for run in list_runs(project) if not run.commit] == [folder.name]
    done = collect(project, Wish(3))
    assert (done.dropped, done.broken) == ((folder.name,), (folder.name,))
    assert not folder.exists()
    assert folder.name not in {run.name for run in list_runs(project)}
    live = {"pid": os.getpid(), "began": processes.began(os.getpid())}
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / NOTE).write_text(json.dumps(note | live))
    assert plan(project, Wish(0)).kept[folder.name] == "under way"


def test_nothing_is_dropped_while_a_run_works_with_the_cache(repo: Recorded) -> None:
    project, home = repo.project, repo.project.settings.home
    before = stores(project)
    pipeline = configured(project.settings, home / "runs" / repo.kept)
    with pytest.raises(UsageError, match="is under way"):
        collect(project, FORGET)
    assert stores(project) == before
    del pipeline
    garbage.collect()  # its parts know each other
    with in_use.alone(home) as alone:
        assert alone
        with pytest.raises(DvcError, match="greenlight gc has held the cache"):
            in_use.share(home, timeout_s=0.2)
        begun = threading.Thread(target=lambda: os.close(in_use.share(home)))
        begun.start()
        time.sleep(0.3)
        assert begun.is_alive(), "a run that begins meanwhile waits"
    begun.join(5)
    assert not begun.is_alive()


def test_a_release_under_way_is_not_made_to_wait(repo: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release holds the right to change what serves, then works with the cache; a clean-up asks in that order too."""
    project, home = repo.project, repo.project.settings.home
    monkeypatch.setattr(gc, "BUSY_S", 1.0)
    refused: list[str] = []

    def clean_up() -> None:
        with pytest.raises(ServerError) as caught:
            collect(project, FORGET)
        refused.append(caught.value.what)

    with DesiredState(home).changing("release of v1"):
        waiting = threading.Thread(target=clean_up)
        waiting.start()
        time.sleep(0.3)
        os.close(in_use.share(home, timeout_s=0.1))
        waiting.join(10)
    assert "release of v1" in refused[0]


def test_more_than_was_agreed_to_is_not_dropped(repo: Recorded) -> None:
    project = repo.project
    agreed = plan(project, Wish(1))
    before = stores(project)
    with pytest.raises(UsageError, match=f"by now {repo.kept} would go too"):
        collect(project, Wish(0), agreed=agreed)
    assert stores(project) == before


def test_a_kept_folder_without_a_listing_stops_everything(repo: Recorded) -> None:
    project = repo.project
    settings = project.settings
    lock = holdings.read(project.repository, [find_run(project, "v1")], [cache_store(settings.home)])
    model = lock.by_commit[find_run(project, "v1")]["data/model"]
    for store in (cache_store(settings.home), remote_store(settings.root, settings.home)):
        store.path(model).unlink()
    before = stores(project)
    with pytest.raises(DvcError, match=r"nothing is dropped.*data/model"):
        collect(project, FORGET)
    assert stores(project) == before


def test_runs_of_others_in_origin_stop_a_forgetting(repo: Recorded, tmp_path: Path) -> None:
    project = repo.project
    kit.git(tmp_path, "init", "-q", "--bare", "origin.git")
    kit.git(repo.root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    ref = f"refs/exps/00/{'0' * 38}/2013-05-others"
    kit.git(repo.root, "push", "-q", "origin", f"HEAD:{ref}")
    before = stores(project)
    with pytest.raises(UsageError, match="2013-05-others; what they need is not known"):
        collect(project, FORGET)
    assert stores(project) == before


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("remote", 1),
        ("cache", 2),
        *(pytest.param(w, c, marks=pytest.mark.slow) for w, c in (("remote", 0), ("remote", 3))),
        *(pytest.param(w, c, marks=pytest.mark.slow) for w, c in (("cache", 0), ("folders", 0))),
    ],
)
def test_killed_anywhere_it_is_finished_by_the_next(recorded: Recorded, tmp_path: Path, where: str, count: int) -> None:
    """kill -9: no listed run lacks an object, and repeating ends where an undisturbed clean-up ends."""
    undisturbed = kit.copy(recorded, tmp_path / "undisturbed").project
    collect(undisturbed, FORGET)
    repo = kit.copy(recorded, tmp_path / "repo")
    project = repo.project
    command = [sys.executable, "-c", KILLED, str(repo.root), where, str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    listed = set(run_commits(project.repository))
    assert listed == {repo.kept, repo.promoted}, "dropped from the list before its data goes"
    assert needed(project, *listed) <= stores(project)["remote"] & stores(project)["cache"]
    assert plan(project, Wish(1)).unfinished == (repo.rejected,)

    collect(project, Wish(1))

    assert stores(project) == stores(undisturbed)
    assert kit.git(repo.root, "for-each-ref", ASIDE) == ""
    assert not list((project.settings.home / "tmp").glob("*"))
    assert sorted(p.name for p in (project.settings.home / "runs").iterdir()) == sorted(listed)
    shutil.rmtree(tmp_path / "undisturbed")
