"""The desired state on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from greenlight.adapters.desired import DesiredState
from greenlight.core.release import Desired, begin, switch
from greenlight.errors import ServerError

ROOT = Path(__file__).resolve().parents[2]


def test_state_and_history_survive(tmp_path: Path) -> None:
    store = DesiredState(tmp_path)
    assert store.load() == Desired()
    state = store.save(begin(store.load(), "v1"), "starting v1")
    store.save(switch(state), "traffic to v1")
    assert DesiredState(tmp_path).load().live == "v1"
    assert [line["reason"] for line in store.history()] == ["starting v1", "traffic to v1"]


def test_history_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    store = DesiredState(tmp_path)
    store.save(begin(Desired(), "v1"), "starting v1")
    with store.history_file.open("a") as out:
        out.write('{"at": "2013')
    assert len(store.history()) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', json.dumps(Desired().to_json() | {"live": "x"})])
def test_damaged_document_is_named(tmp_path: Path, content: str) -> None:
    store = DesiredState(tmp_path)
    store.folder.mkdir()
    store.file.write_text(content)
    with pytest.raises(ServerError, match=r"desired\.json"):
        store.load()


FULL = """
import sys
from pathlib import Path
from greenlight.adapters.desired import replace_file
from greenlight.errors import ServerError
target = Path(sys.argv[1]) / "file"
replace_file(target, b"old")
try:
    replace_file(target, bytes(2_000_000))
except ServerError as exc:
    print("SAID", exc)
print("HOLDS", target.read_bytes(), sorted(path.name for path in target.parent.iterdir()))
"""


def test_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    probe = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount -t tmpfs -o size=1m tmpfs "$0"'
    if subprocess.run([*probe, mount, str(tmp_path)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    command = [*probe, f'{mount} && exec "$@"', str(tmp_path), sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    said, holds = done.stdout.splitlines()
    assert "No space left" in said, done.stderr
    assert "free space" in said
    assert holds == "HOLDS b'old' ['file']"


def test_second_change_waits_and_says_for_whom(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from greenlight.adapters.desired import DesiredState\n"
        f"with DesiredState(Path({str(tmp_path)!r})).changing('release of v7'):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True, cwd=root) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ServerError, match=f"pid {holder.pid}, release of v7"),
            DesiredState(tmp_path).changing("test", 0.2),
        ):
            raise AssertionError("two at a time")
        holder.kill()
        holder.wait()
        with DesiredState(tmp_path).changing("test", 5):  # the kernel gave it back
            pass
