"""The book of labels: the first one counts whoever takes it, and what was acknowledged is there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from greenlight.adapters.label_book import LabelBook
from greenlight.core.label_book import Contradiction, is_prediction_id

ROOT = Path(__file__).parents[2]


def name(number: int) -> str:
    return f"{number:032x}-0"


def test_first_label_counts_and_the_rest_is_told(tmp_path: Path) -> None:
    book = LabelBook(tmp_path)
    assert book.scan().collect().height == 0
    assert book.take([(name(1), True), (name(2), False)]).accepted == 2
    again = book.take([(name(1), True), (name(2), True), (name(3), True), (name(3), False)])
    assert (again.accepted, again.known) == (1, 1)
    assert again.contradictions == (Contradiction(name(2), False, True), Contradiction(name(3), True, False))
    found = book.scan().collect()
    assert dict(zip(found["prediction_id"], found["label"], strict=True)) == {name(1): 1, name(2): 0, name(3): 1}
    assert abs(found["at"].max() / 1e6 - time.time()) < 60
    assert sorted(book.contradictions().collect()["prediction_id"]) == [name(2), name(3)]


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        (name(1), True), ("a" * 32 + "-9999", True), ("a" * 32 + "-01", False), ("A" * 32 + "-0", False),
        ("a" * 31 + "-0", False), ("a" * 32, False), ("", False), ("a" * 32 + "-0\n", False),
    ],
)  # fmt: skip
def test_what_a_prediction_id_looks_like(text: str, yes: bool) -> None:
    assert is_prediction_id(text) is yes


def test_processes_that_contradict_each_other_agree_on_one_label(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        taken = pool.starmap(_take, [(tmp_path, label) for label in (True, False) * 4], chunksize=1)
    assert sum(accepted for accepted, _, _ in taken) == 200
    found = LabelBook(tmp_path).scan().collect()
    assert found.height == 200
    assert sum(sum(one) for one in taken) == 8 * 200
    # Each label that lost was told so, and never counted as taken.
    assert sum(against for *_, against in taken) == 4 * 200


def _take(home: Path, label: bool) -> tuple[int, int, int]:
    accepted = known = against = 0
    for number in range(200):
        one = LabelBook(home).take([(name(number), label)])
        accepted, known, against = accepted + one.accepted, known + one.known, against + len(one.contradictions)
    return accepted, known, against


KILLED = """
import sys
from pathlib import Path
from greenlight.adapters.label_book import LabelBook
book, number = LabelBook(Path(sys.argv[1])), 0
while True:
    batch = [(f"{number + i:032x}-0", True) for i in range(20)]
    assert book.take(batch).accepted == 20
    number += 20
    print(number, flush=True)
"""


def test_killed_process_loses_no_label_that_it_acknowledged(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=env, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    first = process.stdout.readline()
    time.sleep(0.4)
    process.send_signal(signal.SIGKILL)
    acknowledged = int((first + process.stdout.read()).split()[-1])
    process.wait()
    found = LabelBook(tmp_path).scan().collect()
    assert acknowledged <= found.height <= acknowledged + 20
    assert found.height % 20 == 0  # a batch is there whole or not at all
    assert LabelBook(tmp_path).take([(name(0), True)]).known == 1


FULL = """
import sys
from pathlib import Path
from greenlight.adapters.label_book import LabelBook
from greenlight.errors import StorageFailed
home = Path(sys.argv[1])
book, taken, number = LabelBook(home), 0, 0
try:
    while True:
        taken += book.take([(f"{number + i:032x}-0", True) for i in range(500)]).accepted
        number += 500
except StorageFailed as exc:
    print("SAID", exc)
(home / "fill").unlink()
print("TAKEN", taken, "FOUND", book.scan().collect().height)
print("AGAIN", book.take([(f"{number + i:032x}-0", True) for i in range(500)]).accepted)
"""


def test_full_disk_takes_no_label_that_it_acknowledges_not(tmp_path: Path) -> None:
    probe = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount, folder = 'mount -t tmpfs -o size=2m tmpfs "$0" && head -c 1m /dev/zero > "$0/fill"', tmp_path / "small"
    folder.mkdir()
    if subprocess.run([*probe, mount, str(folder)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    command = [*probe, f'{mount} && exec "$@"', str(folder), sys.executable, "-c", FULL, str(folder)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    said = done.stdout.splitlines()
    assert said[0].startswith("SAID the book of labels cannot be used: "), done.stdout + done.stderr
    assert "free space" in said[0]
    words = said[1].split()
    assert int(words[1]) == int(words[3]) > 0
    assert said[2] == "AGAIN 500"
