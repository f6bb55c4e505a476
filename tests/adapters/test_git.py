"""Clones, patches, refs and tags, on real repositories."""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from greenlight.adapters.git import Repository
from greenlight.errors import GitError, UsageError


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "repo"
    root.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    (root / "a.txt").write_text("one\n")
    found = Repository(root)
    found.run("add", ".")
    found.run("commit", "-q", "-m", "first")
    return found


def test_clone_carries_the_commit_and_leaves_the_checkout_alone(repository: Repository, tmp_path: Path) -> None:
    before = repository.run("status", "--porcelain")
    clone = repository.clone(tmp_path / "deep" / "clone", repository.head())

    assert (clone.root / "a.txt").read_text() == "one\n"
    assert clone.head() == repository.head()
    assert repository.run("status", "--porcelain") == before


def test_uncommitted_changes_travel_binary_too(repository: Repository, tmp_path: Path) -> None:
    (repository.root / "a.txt").write_bytes(bytes(range(256)))
    clone = repository.clone(tmp_path / "clone", repository.head())
    clone.apply(repository.changes())

    assert (clone.root / "a.txt").read_bytes() == bytes(range(256))


def test_a_file_that_is_new_in_the_index_travels_into_the_next_commit(repository: Repository, tmp_path: Path) -> None:
    (repository.root / "new.txt").write_text("new\n")
    repository.run("add", "new.txt")
    clone = repository.clone(tmp_path / "clone", repository.head())
    clone.apply(repository.changes())
    clone.run("commit", "-q", "-a", "-m", "with it")

    assert clone.read("HEAD", "new.txt") == b"new\n"


def test_a_failure_with_a_line_for_every_file_ends_with_its_reason(repository: Repository) -> None:
    names = [f"no-such-file-{i}" for i in range(50)]
    with pytest.raises(GitError) as caught:
        repository.run("checkout", "HEAD", "--", *names)

    assert len(str(caught.value).splitlines()) <= 4


def test_hooks_of_the_user_do_not_run(repository: Repository) -> None:
    hook = repository.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    (repository.root / "a.txt").write_text("two\n")

    repository.run("commit", "-q", "-am", "second")

    assert repository.run("log", "--format=%s", "-1") == "second"


def test_read_many_tells_missing_from_empty(repository: Repository) -> None:
    (repository.root / "empty").write_text("")
    repository.run("add", ".")
    repository.run("commit", "-q", "-m", "empty")

    found = repository.read_many(["HEAD:a.txt", "HEAD:no such file", "HEAD:empty", "nonsense:x"])

    assert found == [b"one\n", None, b"", None]


def test_no_repository_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="git init"):
        Repository(tmp_path).require()


def test_a_folder_inside_another_repository_is_not_taken_for_one(repository: Repository) -> None:
    inner = repository.root / "inner"
    inner.mkdir()

    with pytest.raises(UsageError, match="not the top"):
        Repository(inner).require()


def test_a_repository_without_a_commit_is_named(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    with pytest.raises(UsageError, match="no commit"):
        Repository(tmp_path).require()


def test_git_errors_carry_what_git_said(repository: Repository) -> None:
    with pytest.raises(GitError, match=r"pathspec|did not match"):
        repository.run("checkout", "no-such-branch")


def test_pushed_ref_arrives_under_its_name(repository: Repository, tmp_path: Path) -> None:
    clone = repository.clone(tmp_path / "clone", repository.head())
    clone.run("update-ref", "refs/exps/ab/cd/run-1", "HEAD")

    clone.push_ref("refs/exps/ab/cd/run-1", clone.head())

    assert repository.refs("refs/exps/") == {"refs/exps/ab/cd/run-1": repository.head()}


def test_what_a_run_made_stays_when_its_folder_goes_and_nobody_takes_its_ref(
    repository: Repository, tmp_path: Path
) -> None:
    clone = repository.clone(tmp_path / "clone", repository.head())
    (clone.root / "b.txt").write_text("made\n")
    first, second = (clone.snapshot(["b.txt"], message, 86_400) for message in ("first", "second"))
    for _ in range(2):  # a run that is started again may come here again
        clone.push_ref("refs/exps/ab/cd/run-1", first)
    with pytest.raises(GitError, match="refs/exps/ab/cd/run-1"):
        clone.push_ref("refs/exps/ab/cd/run-1", second)
    shutil.rmtree(clone.root)

    assert repository.refs("refs/exps/") == {"refs/exps/ab/cd/run-1": first}
    assert repository.read(first, "b.txt") == b"made\n"
    assert repository.latest("refs/exps/") == 86_400
    assert repository.run("fsck", "--strict", "--no-dangling") == ""


@pytest.mark.parametrize(
    ("lock", "command"),
    [
        ("index.lock", ("add", "-A")),
        ("packed-refs.lock", ("pack-refs", "--all")),
        ("refs/tags/t.lock", ("tag", "t")),
    ],
)
def test_a_lock_that_a_killed_git_left_is_named_and_one_that_goes_is_waited_for(
    tmp_path: Path, lock: str, command: tuple[str, ...]
) -> None:
    Repository(tmp_path).run("init", "-q")
    repository = Repository(tmp_path)
    repository.run("commit", "-q", "--allow-empty", "-m", "Start")
    path = tmp_path / ".git" / lock
    path.touch()

    with pytest.raises(GitError, match=path.name) as caught:
        repository.run(*command)
    assert caught.value.where == str(path)
    assert f"rm '{path}'" in caught.value.todo

    gone = threading.Timer(0.5, path.unlink)
    gone.start()
    repository.run(*command)
    assert not path.exists()
