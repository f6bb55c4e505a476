"""Scratch folders: those of dead processes go, those of living ones and of nobody stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
    assert not scratch.is_dead(tmp_path / f"x.p{os.getpid()}-{began:.0f}-abcdef")
    assert scratch.is_dead(tmp_path / f"x.p{os.getpid()}-{began - 100:.0f}-abcdef")
