"""Labels are in a backup and come back on a fresh clone; over a real repository, its origin and a DVC remote."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import polars as pl
import pytest
import retrain_kit
import serving_kit

from greenlight.adapters.label_book import LabelBook
from greenlight.adapters.objects import remote_store
from greenlight.config import Settings
from greenlight.core import label_book
from greenlight.operations import backup, backup_checks, label_backup
from greenlight.operations.restore import restore
from greenlight.wiring import Project, open_project

DAY_US = 86_400_000_000
NOON = 20_000 * DAY_US + DAY_US // 2  # 2024-10-04, 12:00


def name(number: int) -> str:
    return f"{number:032x}-0"


def take(settings: Settings, numbers: range, at: int, label: bool = True) -> None:
    """Labels as they arrived at a time."""
    LabelBook(settings.home).take([])  # makes the tables
    connection = sqlite3.connect(settings.home / "labels" / label_book.FILE, isolation_level=None)
    label_book.take(connection, [(name(i), label) for i in numbers], at)
    connection.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository without a version."""
    return serving_kit.project(tmp_path_factory.mktemp("labels") / "machine", 0).root


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Project:
    """A machine of its own, with an empty DVC remote outside of it."""
    (tmp_path / "data").mkdir()
    retrain_kit.git(template, "clone", "-q", "--bare", str(template), str(tmp_path / "origin.git"))
    return machine(tmp_path, "first")


def machine(folder: Path, called: str) -> Project:
    """A fresh clone."""
    root = folder / called
    retrain_kit.git(folder, "clone", "-q", str(folder / "origin.git"), str(root))
    retrain_kit.git(root, "config", "user.name", "Test")
    retrain_kit.git(root, "config", "user.email", "test@example.com")
    retrain_kit.remote(root, str(folder / "data"))
    return open_project(Settings(root=root))


def known(project: Project) -> tuple[pl.DataFrame, pl.DataFrame]:
    labels, against = LabelBook(project.settings.home).copy()
    return labels.sort("prediction_id"), against.sort("prediction_id")


def objects(project: Project) -> set[str]:
    settings = project.settings
    return set(remote_store(settings.root, settings.home).sizes())


def test_labels_come_back_on_a_fresh_clone_as_they_were(project: Project, tmp_path: Path) -> None:
    take(project.settings, range(100), NOON)
    take(project.settings, range(100, 150), NOON + DAY_US, label=False)
    take(project.settings, range(3), NOON + 2 * DAY_US, label=False)  # the opposite of what came first
    assert backup.back_up(project).labels == 150
    second = machine(tmp_path, "second")
    report = restore(second.settings)
    assert (report.labels.labels, report.labels.missing, report.live) == (150, (), "")
    for here, there in zip(known(project), known(second), strict=True):
        assert here.equals(there)
    assert restore(second.settings).labels.labels == 0


def test_backup_sends_the_days_that_grew_and_nothing_twice(project: Project) -> None:
    settings = project.settings
    take(settings, range(100), NOON)
    take(settings, range(100, 150), NOON + DAY_US)
    assert label_backup.waiting(project) == 150
    (check,) = [one for one in _checks(project) if one.name == "backup: labels"]
    assert check.state == "warn"
    backup.back_up(project)
    before = objects(project)
    assert len(before) == 2
    assert label_backup.waiting(project) == 0
    assert backup.back_up(project).refs == ()
    take(settings, range(200, 210), NOON + DAY_US)
    report = backup.back_up(project)
    assert (report.labels, len(report.refs)) == (160, 1)
    assert len(objects(project) - before) == 1
    assert before <= objects(project)
    # A day that the remote lost is sent again.
    remote_store(settings.root, settings.home).remove(before)
    backup.back_up(project)
    assert len(objects(project)) == 2


def _checks(project: Project) -> list[backup_checks.Check]:
    """Of a repository without runs, which the doctor leaves at that."""
    return [backup_checks.label_backup_check(project)]


def test_two_machines_keep_the_labels_of_both_and_the_first_one_counts_where_it_is(
    project: Project, tmp_path: Path
) -> None:
    second = machine(tmp_path, "second")
    take(project.settings, range(10), NOON)
    take(second.settings, range(5, 20), NOON + 1, label=False)
    backup.back_up(project)
    backup.back_up(second)
    third = machine(tmp_path, "third")
    restore(third.settings)
    labels, against = known(third)
    assert labels["label"].to_list() == [1] * 10 + [0] * 10
    assert against["prediction_id"].to_list() == [name(i) for i in range(5, 10)]
    assert restore(project.settings).labels.labels == 10
    mine = {row[0]: row[1] for row in known(project)[0].iter_rows()}
    assert [mine[name(i)] for i in range(20)] == [1] * 10 + [0] * 10


def test_days_that_the_remote_lacks_or_has_damaged_are_named_and_the_rest_comes_back(
    project: Project, tmp_path: Path
) -> None:
    settings = project.settings
    for day in range(3):
        take(settings, range(10 * day, 10 * day + 10), NOON + day * DAY_US)
    backup.back_up(project)
    store = remote_store(settings.root, settings.home)
    (ref,) = project.repository.refs(label_backup.REFS).values()
    named = json.loads(project.repository.read_many([ref])[0] or b"")["objects"]
    store.remove([named["2024-10-04"]])
    damaged = store.path(named["2024-10-05"])
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    second = machine(tmp_path, "second")
    report = restore(second.settings)
    assert report.labels == label_backup.Returned(10, ("2024-10-04", "2024-10-05"))
    assert report.to_json()["labels_missing"] == ["2024-10-04", "2024-10-05"]


def test_without_labels_a_backup_is_as_before(project: Project) -> None:
    report = backup.back_up(project)
    assert (report.labels, report.refs) == (0, ())
    assert not (project.settings.home / "labels").exists()
