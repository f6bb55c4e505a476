"""Versions and the ledger, as tags that GTO itself can read."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import pytest

from greenlight.adapters.git import Repository
from greenlight.adapters.registry import Registry
from greenlight.errors import NotFound


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    root = tmp_path / "repo"
    root.mkdir()
    repository = Repository(root)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    for number in range(3):
        (root / "a").write_text(str(number))
        repository.run("add", ".")
        repository.run("commit", "-q", "-m", str(number))
    return Registry(repository, "flight_delay")


def commits(registry: Registry) -> list[str]:
    return registry.repository.run("log", "--format=%H", "--reverse").split()


def test_no_version_no_champion(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.champion() is None


def test_numbers_rise_and_the_run_is_remembered(registry: Registry) -> None:
    for number, commit in enumerate(commits(registry)):
        registry.register(commit, f"run-{number}")

    assert [(v.name, v.run) for v in registry.versions()] == [("v1", "run-0"), ("v2", "run-1"), ("v3", "run-2")]


def test_registering_the_same_commit_again_changes_nothing(registry: Registry) -> None:
    first = registry.register(commits(registry)[0], "run-0")

    assert registry.register(commits(registry)[0], "run-0") == first
    assert len(registry.versions()) == 1


def test_history_only_grows_and_the_last_line_is_the_champion(registry: Registry) -> None:
    one, two = (registry.register(commit, "r") for commit in commits(registry)[:2])
    for version in (one, two, two, one):
        registry.assign(version)

    assert [row.version for row in registry.history()] == ["v1", "v2", "v1"]
    assert registry.champion() == one


def test_more_than_nine_assignments_keep_their_order(registry: Registry) -> None:
    one, two = (registry.register(commit, "r") for commit in commits(registry)[:2])
    for index in range(12):
        registry.assign(two if index % 2 else one)

    assert [row.number for row in registry.history()] == list(range(1, 13))
    assert registry.champion() == two


def test_gto_reads_what_was_written(registry: Registry) -> None:
    import gto.api

    version = registry.register(commits(registry)[0], "run-0")
    registry.assign(version)

    assert {e["event"] for e in gto.api.history(str(registry.repository.root))} >= {"registration", "assignment"}


def test_an_unknown_version_names_those_there_are(registry: Registry) -> None:
    registry.register(commits(registry)[0], "run-0")

    with pytest.raises(NotFound, match=r"no version v7.*v1"):
        registry.get("v7")


def test_registering_leaves_the_logging_of_its_process_alone(registry: Registry) -> None:
    """Importing gto resets logging: in a flow that took 5 s, and Prefect's handlers with it."""
    handler = logging.StreamHandler()
    closed: list[bool] = []
    handler.close = lambda: closed.append(True)  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        registry.assign(registry.register(commits(registry)[0], "run-0"))
        assert handler in logging.getLogger().handlers
        assert closed == []
    finally:
        logging.getLogger().removeHandler(handler)


def served(registry: Registry) -> tuple[list[str], list[str]]:
    return [f"{v.name} {v.run} {v.commit}" for v in registry.versions()], [row.version for row in registry.history()]


def two_that_served(registry: Registry) -> tuple[list[str], list[str]]:
    for number, commit in enumerate(commits(registry)[:2]):
        registry.assign(registry.register(commit, f"run-{number}", f"signature {number}"))
    return served(registry)


DELETIONS = {
    "the checkout step of a CI job": ("fetch", "--prune", "origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"),
    "git fetch --prune --prune-tags": ("fetch", "--prune", "--prune-tags", "origin"),
    "git tag -d": ("tag", "-d", "flight_delay@v1.0.0", "flight_delay@v2.0.0", "flight_delay#prod#1", "flight_delay#prod#2"),
}  # fmt: skip


@pytest.mark.parametrize("command", DELETIONS.values(), ids=DELETIONS.keys())
def test_what_deletes_tags_costs_no_version(registry: Registry, tmp_path: Path, command: tuple[str, ...]) -> None:
    before = two_that_served(registry)
    repository = registry.repository
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "origin")], check=True)
    repository.run("remote", "add", "origin", str(tmp_path / "origin"))

    repository.run(*command)
    assert registry.versions() == []
    repository.run("-c", "gc.pruneExpire=now", "gc", "--quiet")

    assert len(registry.lost()) == 4
    assert len(registry.mend()) == 4
    assert served(registry) == before
    assert registry.signature(registry.get("v2")) == "signature 1"
    assert registry.faults() == []
    assert registry.mend() == []


def test_a_number_is_given_once_also_where_its_tag_was_deleted(registry: Registry) -> None:
    two_that_served(registry)
    registry.repository.run("tag", "-d", "flight_delay@v2.0.0")

    assert registry.register(commits(registry)[2], "run-2").name == "v3"


def test_a_repository_from_before_the_copies_gets_them(registry: Registry) -> None:
    before = two_that_served(registry)
    for ref in registry.repository.refs("refs/greenlight/tags/"):
        registry.repository.run("update-ref", "-d", ref)

    assert registry.mend() == []
    registry.repository.run("tag", "-d", *registry.repository.run("tag", "-l").split())
    registry.mend()
    assert served(registry) == before


def test_a_tag_that_somebody_moved_is_not_copied(registry: Registry) -> None:
    two_that_served(registry)
    for ref in registry.repository.refs("refs/greenlight/tags/"):
        registry.repository.run("update-ref", "-d", ref)
    registry.repository.run("tag", "-f", "flight_delay@v2.0.0", commits(registry)[2])  # light: without its words

    registry.mend()
    assert "refs/greenlight/tags/flight_delay@v2.0.0" not in registry.repository.refs("refs/greenlight/tags/")
