"""A full or read-only disk under the home folder or the remote: one message, and nothing that served or was recorded
changes. The file system is mounted where only the process under test sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
FULL = """
import errno, os, sys
from pathlib import Path
from greenlight.adapters.desired import DesiredState
from greenlight.core.release import Desired
from greenlight.errors import GreenlightError
home = Path(sys.argv[1])
desired = DesiredState(home)
desired.save(Desired(live="v1"), "first")
with (home / "fill").open("wb", buffering=0) as fill:
    try:
        while fill.write(b"x" * 4096): pass
    except OSError as exc:
        assert exc.errno == errno.ENOSPC
try:
    with desired.changing("test", 1):
        desired.save(Desired(live="v2" * 5000), "second")
except GreenlightError as exc:
    print("SAID", exc)
print("LIVE", DesiredState(home).load().live)
"""
STAGE = """
import os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import pipeline_kit
os.chdir(pipeline_kit.lay(Path(sys.argv[1])))
params = Path("params.yaml")
params.write_text(params.read_text().replace("as_of: next", "as_of: 2013-08"))
from greenlight.stages.__main__ import main
print("STATUS", main(["snapshot"]))
"""
BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import serving_kit as kit
from greenlight.adapters import bento
from greenlight.errors import BentoError
home, elsewhere = Path(sys.argv[1]), Path(sys.argv[1]).parent / "elsewhere"
elsewhere.mkdir()
work = kit.workspace(elsewhere, kit.small_model())
sealed = kit.sealed(work, elsewhere)
try:
    bento.build(work, name="flight_delay", version="v1", labels={}, home=home, sealed=sealed)
except BentoError as exc:
    print("SAID", exc)
print("LEFT", [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()])
"""
CLONE = """
import subprocess, sys
from pathlib import Path
from greenlight.adapters.git import Repository
from greenlight.errors import GitError
root = Path(sys.argv[1]).parent / "repo"
root.mkdir()
repository = Repository(root)
(root / "table.bin").write_bytes(bytes(range(256)) * 4096)
for args in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
    repository.run(*args)
try:
    repository.clone(Path(sys.argv[1]) / "clone", repository.head())
except GitError as exc:
    print("SAID", exc)
"""
LOOK = """
import sys
from pathlib import Path
from greenlight.config import Settings
from greenlight.operations.checks import looked
(check,) = looked("home", lambda _: (Path(sys.argv[1]) / "run").mkdir(), Settings(root=Path(sys.argv[1])))
print(check.state, check.name, check.found, check.todo)
"""
READ_ONLY = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_dvc import Place
from greenlight.errors import DvcError
place = Place(Path(sys.argv[1]).parent / "place")
(place.source / ".dvc" / "config").write_text(f"[core]\\n    remote = r\\n['remote \\"r\\"']\\n    url = {sys.argv[1]}\\n")
pipeline = place.workspace("a")
pipeline.run_stage("one")
try:
    pipeline.push()
except DvcError as exc:
    print("SAID", exc)
"""


def under(mount: str, folder: Path, code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that sees `folder` as the file system that `mount` makes of it."""
    folder.mkdir()
    if subprocess.run([*PROBE, mount, str(folder)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": str(root)}
    command = [*PROBE, f'{mount} && exec "$@"', str(folder), sys.executable, "-c", code, str(folder), *args]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_a_disk_that_is_full_while_the_desired_state_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    done = under('mount -t tmpfs -o size=64k tmpfs "$0"', tmp_path / "small", FULL)

    assert "SAID could not write: No space left on device" in done.stdout, done.stderr
    assert "LIVE v1" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_read_only_remote_is_one_message(tmp_path: Path) -> None:
    done = under(
        'mount -t tmpfs -o ro tmpfs "$0"', tmp_path / "ro", READ_ONLY, str(Path(__file__).parents[1] / "adapters")
    )

    assert "SAID dvc push failed: the file system is read-only: " in done.stdout, done.stderr
    assert "mount it for writing" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_disk_that_fills_up_in_a_stage_is_one_message(tmp_path: Path) -> None:
    """The library that writes the file keeps the operating system's words alone."""
    done = under('mount -t tmpfs -o size=300k tmpfs "$0"', tmp_path / "small", STAGE, str(Path(__file__).parents[1]))

    assert "STATUS 1" in done.stdout, done.stderr
    assert "what: the disk is full" in done.stderr
    assert "todo: free space (df -h), then run again" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("room", ["40k", "400k"])
def test_a_disk_that_fills_up_while_a_bento_is_built_is_one_message_and_leaves_nothing(
    tmp_path: Path, room: str
) -> None:
    code = str(Path(__file__).parents[1])
    done = under(f'mount -t tmpfs -o size={room} tmpfs "$0"', tmp_path / "small", BUILD, code)

    (said,) = [line for line in done.stdout.splitlines() if line.startswith("SAID")] or [done.stderr]
    assert "the bento flight_delay:v1 could not be built: the disk is full (" in said
    assert said.endswith("Next: free space (df -h), then run again")
    assert "LEFT []" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_disk_that_fills_up_while_a_folder_is_laid_out_is_said_to_be_full(tmp_path: Path) -> None:
    done = under('mount -t tmpfs -o size=400k tmpfs "$0"', tmp_path / "small", CLONE)

    assert "SAID git checkout failed: the disk is full: " in done.stdout, done.stderr
    assert "Next: free space (df -h), then run again" in done.stdout


def test_a_look_of_doctor_that_meets_a_read_only_disk_has_failed_and_says_so(tmp_path: Path) -> None:
    done = under('mount -t tmpfs -o ro tmpfs "$0"', tmp_path / "ro", LOOK)

    assert "fail home the file system is read-only" in done.stdout, done.stderr
    assert "mount it for writing" in done.stdout
