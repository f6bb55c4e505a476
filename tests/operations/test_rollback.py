"""What a roll back goes to, and that mistakes in params.yaml do not stand in its way; nothing needs to serve for it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import serving_kit as kit

from greenlight.adapters import bento
from greenlight.adapters.desired import DesiredState
from greenlight.config import Settings
from greenlight.core.release import Desired
from greenlight.errors import ConfigError, NotFound, ServerError
from greenlight.operations import stack
from greenlight.operations.rollback import rollback
from greenlight.wiring import open_project

MISTAKES = ("surprise: 1\nanother: 2\n", "2 mistakes"), ("a: [\n", "is not YAML"), (None, "is missing")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A repository with v1 to v3; the ledger says v1, v3, v1. To be copied, not changed."""
    home = tmp_path_factory.mktemp("empty")
    bento.store(home).mkdir(parents=True)
    settings = kit.project(tmp_path_factory.mktemp("rollback") / "project", 3, bentos=home)
    serve(settings, "v1", "v3", "v1")
    return settings


@pytest.fixture
def settings(made: Settings, tmp_path: Path) -> Settings:
    root = shutil.copytree(made.root, tmp_path / "project")
    return Settings(root=root, edge_port=made.edge_port, prefect_port=made.prefect_port)


def serve(settings: Settings, *versions: str) -> None:
    registry = open_project(settings).registry
    for version in versions:
        registry.assign(registry.get(version))


def chosen(settings: Settings, **wanted: str) -> str:
    """The version that a roll back decides for, before it finds that the stack is down."""
    lines: list[str] = []
    with pytest.raises(ServerError, match="the stack is down"):
        rollback(settings, log=lines.append, **wanted)
    return lines[-1].removeprefix("rolling back to ")


def mistaken(settings: Settings, text: str | None) -> None:
    if text is None:
        settings.params_file.unlink()
    else:
        settings.params_file.write_text(settings.params_file.read_text() + text)


def warnings(records: Sequence[logging.LogRecord]) -> list[str]:
    return [record.getMessage() for record in records if record.levelno >= logging.WARNING]


def test_a_second_roll_back_does_not_put_back_what_was_rolled_back_from(settings: Settings) -> None:
    with pytest.raises(NotFound, match=r"nothing served before v1.*name one with --to"):
        rollback(settings)
    serve(settings, "v2")
    assert chosen(settings) == "v1"


def test_what_serves_counts_when_a_crash_kept_it_from_the_ledger(settings: Settings) -> None:
    DesiredState(settings.home).save(Desired(live="v2"), "test")
    assert chosen(settings) == "v1"


def test_a_run_may_be_named_by_its_beginning(settings: Settings) -> None:
    assert chosen(settings, to_run="run-v2") == "v2"
    with pytest.raises(NotFound, match="3 runs begin with run"):
        rollback(settings, to_run="run")
    with pytest.raises(NotFound, match="no run other"):
        rollback(settings, to_run="other")
    repository = open_project(settings).repository
    for name in ("2013-07-aaaaaa", "2013-08-bbbbbb"):
        repository.run("update-ref", f"refs/exps/00/{'0' * 38}/{name}", repository.resolve("flight_delay@v2.0.0") or "")
    assert chosen(settings, to_run="2013-07") == "v2"
    repository.run("commit", "-q", "--allow-empty", "-m", "Kept the champion")
    repository.run("update-ref", f"refs/exps/00/{'0' * 38}/2013-09-cccccc", repository.head())
    with pytest.raises(NotFound, match="no version came from run '2013-09'"):
        rollback(settings, to_run="2013-09")


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_mistakes_in_params_do_not_stop_a_roll_back(
    settings: Settings, caplog: pytest.LogCaptureFixture, text: str | None, said: str
) -> None:
    mistaken(settings, text)
    assert chosen(settings, to="v2") == "v2"
    lines = warnings(caplog.records)
    assert len(lines) == 1, lines
    assert said in lines[0]
    assert "going by that of v1, run run-v1" in lines[0]
    with pytest.raises(ConfigError):
        open_project(settings)


def test_status_tells_what_is_live_beside_mistakes_in_params(settings: Settings) -> None:
    DesiredState(settings.home).save(Desired(live="v1"), "test")
    mistaken(settings, "surprise: 1\n")
    found = stack.status(settings)
    assert (found.live["version"], found.live["run"], found.note) == ("v1", "run-v1", "")
    assert [entry["version"] for entry in found.history] == ["v1", "v3", "v1"]


def test_a_wrong_dataset_gives_way_to_the_only_model_that_has_versions(settings: Settings) -> None:
    text = settings.params_file.read_text()
    settings.params_file.write_text(text.replace("dataset: flight_delay", "dataset: Flight-Delay"))
    assert open_project(settings, lenient=True).params.dataset == "flight_delay"


def test_before_the_first_version_the_last_commit_stands_in(settings: Settings, tmp_path: Path) -> None:
    repository = open_project(settings).repository
    repository.run("tag", "-d", *repository.run("tag", "-l").split())
    mistaken(settings, "surprise: 1\n")
    assert stack.status(settings).live["version"] == ""
    repository.run("commit", "-q", "-a", "-m", "Mistake")
    with pytest.raises(ConfigError, match="surprise"):
        stack.status(settings)
