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
