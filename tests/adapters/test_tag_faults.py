"""Tags moved or deleted by hand: named, with the command that puts them back, and refused by what would use them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from greenlight.adapters.git import Repository
from greenlight.adapters.registry import Registry
from greenlight.errors import GitError


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions, both of recorded runs, of which v1, v2 and v1 again served; and a third run."""
    root = tmp_path_factory.mktemp("tagged")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    registry = Registry(Repository(root), "flight_delay")
    repository = registry.repository
    repository.run("commit", "-q", "--allow-empty", "-m", "Start")
    for number in range(1, 4):
        repository.run("commit", "-q", "--allow-empty", "-m", f"run r{number}: Promoted")
        repository.run("update-ref", f"refs/exps/aa/bb{number}/r{number}", "HEAD")
    for number in (1, 2):
        registry.register(run(registry, number), f"r{number}")
    for name in ("v1", "v2", "v1"):
        registry.assign(registry.get(name))
    return root


@pytest.fixture
def registry(tagged: Path, tmp_path: Path) -> Registry:
    return Registry(Repository(shutil.copytree(tagged, tmp_path / "repo")), "flight_delay")


def run(registry: Registry, number: int) -> str:
    return registry.repository.refs("refs/exps/")[f"refs/exps/aa/bb{number}/r{number}"]


def put_back(registry: Registry, todo: str) -> None:
    command = todo.rsplit(", else ", 1)[1].partition(" (then ")[0]
    subprocess.run(shlex.split(command), cwd=registry.repository.root, check=True)


def test_tags_as_they_were_left_have_no_fault(registry: Registry) -> None:
    assert registry.faults() == []


@pytest.mark.parametrize(
    "moved",
    [
        ("tag", "-f", "flight_delay@v2.0.0", "refs/exps/aa/bb3/r3"),
        ("tag", "-f", "-a", "flight_delay@v2.0.0", "refs/exps/aa/bb3/r3", "-m", "run r2"),
        ("tag", "-f", "-a", "flight_delay@v2.0.0", "refs/exps/aa/bb3/r3", "-m", "moved"),
        ("tag", "-f", "-a", "flight_delay@v2.0.0", "refs/exps/aa/bb1/r1", "-m", "run r1"),
        ("tag", "-f", "-a", "flight_delay@v2.0.0", "refs/exps/aa/bb1/r1^", "-m", "run r2"),
        ("tag", "-d", "flight_delay@v2.0.0"),
    ],
    ids=["plain", "same words", "other words", "onto another version", "onto no run", "deleted"],
)
def test_a_moved_version_is_refused_and_its_number_not_given_again(registry: Registry, moved: tuple[str, ...]) -> None:
    registry.repository.run(*moved)

    with pytest.raises(GitError, match=r"flight_delay@v2\.0\.0") as caught:
        registry.get("v2")
    assert registry.at(run(registry, 3)) is None, "the run that it was moved to is no version"
    if "refs/exps/aa/bb3/r3" in moved or "refs/exps/aa/bb1/r1" in moved:
        with pytest.raises(GitError, match=r"flight_delay@v2\.0\.0"):
            registry.register(run(registry, 3), "r3")
    else:
        assert registry.register(run(registry, 3), "r3").name == "v3"

    put_back(registry, caught.value.todo)
    assert registry.faults() == []
    assert registry.get("v2").commit == run(registry, 2)


def test_only_the_moved_version_is_refused(registry: Registry) -> None:
    registry.repository.run("tag", "-f", "flight_delay@v2.0.0", run(registry, 3))

    assert registry.get("v1").commit == run(registry, 1)
    champion = registry.champion()
    assert champion is not None
    assert champion.name == "v1"


@pytest.mark.parametrize("how", [["-f"], ["-f", "-a", "-m", "v1 serves"]], ids=["plain", "same words"])
def test_a_moved_line_of_the_ledger_is_refused(registry: Registry, how: list[str]) -> None:
    registry.repository.run("tag", *how, "flight_delay#prod#3", run(registry, 2))

    with pytest.raises(GitError, match=r"flight_delay#prod#3 .* stands on v2"):
        registry.champion()
    with pytest.raises(GitError, match=r"flight_delay#prod#3"):
        registry.history()
    assert len(registry.history(strict=False)) >= 2
    assert registry.get("v2").commit == run(registry, 2), "a version by name is no matter of the ledger"


def test_a_moved_line_of_the_ledger_is_put_back(registry: Registry) -> None:
    registry.repository.run("tag", "-f", "-a", "-m", "v1 serves", "flight_delay#prod#3", run(registry, 2))

    put_back(registry, registry.faults()[0].todo)

    champion = registry.champion()
    assert champion is not None
    assert champion.name == "v1"


def test_a_gap_in_the_ledger_is_refused(registry: Registry) -> None:
    registry.repository.run("tag", "-d", "flight_delay#prod#2")

    with pytest.raises(GitError, match=r"flight_delay#prod#2 is gone"):
        registry.history()


def test_an_emergency_goes_on_with_a_broken_ledger(registry: Registry) -> None:
    registry.repository.run("tag", "-d", "flight_delay#prod#2")

    registry.assign(registry.get("v2"))

    assert registry.history(strict=False)[-1].version == "v2"


def test_versions_and_ledger_go_by_their_numbers_whatever_the_clock_said(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third version and the fourth line of the ledger are written by a clock that stands in 2001."""
    monkeypatch.setenv("GIT_COMMITTER_DATE", "978307200 +0000")
    third = run(registry, 3)
    registry.repository.run("tag", "-a", "flight_delay@v3.0.0", third, "-m", "run r3")
    registry.repository.run("tag", "-a", "flight_delay#prod#4", third, "-m", "v3 serves")

    assert registry.get("v3").created.year == 2001
    assert [v.name for v in registry.versions()] == ["v1", "v2", "v3"]
    assert [row.version for row in registry.history()] == ["v1", "v2", "v1", "v3"]
    assert registry.champion() == registry.get("v3")
    assert registry.faults() == []
