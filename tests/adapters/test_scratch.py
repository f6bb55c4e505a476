"""Scratch folders: those of dead processes go, those of living ones and of nobody stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from greenlight.adapters import processes, scratch


def test_what_a_dead_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    made = [sys.executable, "-c", f"from pathlib import Path; from greenlight.adapters import scratch; "
            f"folder = scratch.folder(Path({str(tmp_path)!r}), 'clone'); folder.mkdir(); (folder / 'file').touch()"]  # fmt: skip
    subprocess.run(made, check=True)
    mine = scratch.folder(tmp_path, "mine")
    mine.mkdir()
    (tmp_path / "tmp" / "somebody's").mkdir()
    (dead,) = (tmp_path / "tmp").glob("clone*")

    assert scratch.sweep(tmp_path / "tmp") == [dead.name]
    assert sorted(path.name for path in (tmp_path / "tmp").iterdir()) == sorted([mine.name, "somebody's"])


def test_a_number_that_was_given_again_is_another_process(tmp_path: Path) -> None:
    """After a reboot the same numbers belong to others."""
    began = processes.began(os.getpid())
    assert not scratch.is_dead(tmp_path / f"x.p{os.getpid()}-{began}-abcdef")
    assert scratch.is_dead(tmp_path / f"x.p{os.getpid()}-{int(began, 16) - 1:x}-abcdef")
    assert scratch.is_dead(tmp_path / f"x.p{2**22 + 1}-{began}-abcdef")


def test_who_is_at_work_stays_alive_when_somebody_sets_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day of a process's start is told from that of the machine's, which moves with the clock."""
    began, started = processes.began(os.getpid()), psutil.Process().create_time()
    now = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: now - 3600)
    assert psutil.Process().create_time() == pytest.approx(started - 3600, abs=2), "the clock did not jump"
    assert processes.is_same(os.getpid(), began)


def test_what_a_killed_process_left_among_temporary_files_goes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed = ("import os; from greenlight.adapters import scratch\n"
              "with scratch.passing('stage') as folder: (folder / 'said.json').touch(); os.kill(os.getpid(), 9)")  # fmt: skip
    ended = subprocess.run([sys.executable, "-c", killed], env=os.environ | {"TMPDIR": str(tmp_path)}, check=False)
    assert ended.returncode == -9
    (dead,) = tmp_path.glob("greenlight-stage-*")
    with scratch.passing("stage") as mine:
        assert scratch.sweep_passing() == [dead.name]
        assert mine.is_dir()
    assert not list(tmp_path.glob("greenlight-*"))
