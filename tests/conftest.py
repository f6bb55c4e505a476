"""Isolation: no test reads or writes the user's home, Git identity, DVC, BentoML or Prefect state."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from retrain_kit import Recorded

ROOT = Path(__file__).resolve().parents[1]


# What takes minutes starts first, so that no worker is left alone with it at the end.
LONG = (
    "test_end_to_end.py",
    "test_release.py",
    "test_reproduce.py",
    "test_flows.py",
    "test_prefect.py",
    "test_record.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by length; within a file nothing moves."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def isolation(home: Path) -> dict[str, str]:
    """Variables that keep everything which has state inside `home`."""
    git = home / "gitconfig"
    git.write_text("[user]\n\tname = Test\n\temail = test@example.com\n[init]\n\tdefaultBranch = main\n")
    values = {
        "HOME": home,
        "XDG_CONFIG_HOME": home / "config",
        "XDG_CACHE_HOME": home / "cache",
        "XDG_DATA_HOME": home / "data",
        "GIT_CONFIG_GLOBAL": git,
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_GLOBAL_CONFIG_DIR": home / "dvc",
        "DVC_SYSTEM_CONFIG_DIR": home / "dvc-system",
        "DVC_SITE_CACHE_DIR": home / "dvc-site",
        "DVC_NO_ANALYTICS": "true",
        "BENTOML_HOME": home / "bentoml",
        "BENTOML_DO_NOT_TRACK": "True",
        "PREFECT_HOME": home / "prefect",
        "DO_NOT_TRACK": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "MPLCONFIGDIR": home / "matplotlib",
    }
    return {key: str(value) for key, value in values.items()}


@pytest.fixture(scope="session", autouse=True)
def isolate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of its own for everything that keeps state; for the whole session, so that shared fixtures have it too."""
    home = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    for key in [k for k in os.environ if k.startswith(("GREENLIGHT_", "GIT_AUTHOR", "GIT_COMMITTER", "PREFECT_"))]:
        patch.delenv(key)
    for key in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "DVC_STUDIO_TOKEN"):
        patch.delenv(key, raising=False)
    for key, value in isolation(home).items():
        patch.setenv(key, value)
    yield home
    patch.undo()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests start in an empty folder, never in the checkout."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)


def copy_checkout(target: Path) -> Path:
    """A repository of its own with this working tree as its only commit."""
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listing.stdout.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    for args in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "Start"]):
        subprocess.run(["git", *args], cwd=target, check=True)
    return target


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh checkout of this project, committed."""
    return copy_checkout(tmp_path / "checkout")


@pytest.fixture(scope="session")
def make_checkout(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Make further checkouts, for fixtures that live longer than one test."""
    return lambda: copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def recorded(make_checkout: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Three real runs in one repository; only to be read, `retrain_kit.copy` gives one to change.

    Of the processes that pytest-xdist starts the first one to ask makes it, and each has a copy of its own: reading
    lays out folders in it for a moment.
    """
    from retrain_kit import Recorded, copy, record_all

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    note = shared / "recorded.json"
    with note.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.is_file():
            note.write_text(record_all(make_checkout()).text())
        return copy(Recorded.of(note.read_text()), tmp_path_factory.mktemp("recorded") / "repo")
