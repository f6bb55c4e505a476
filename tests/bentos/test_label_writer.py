"""The writer behind ``POST /labels``: nobody is answered before the disk has it, and who waits shares a commit."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bentos.classifier import label_writer
from bentos.classifier.label_writer import LabelWriter
from bentos.classifier.problems import Problem
from greenlight.adapters.label_book import LabelBook
from greenlight.core import label_book
from greenlight.core.label_book import Contradiction, Taken

ROOT = Path(__file__).parents[2]


def name(number: int) -> str:
    return f"{number:032x}-0"


@contextmanager
def writer(home: Path) -> Iterator[LabelWriter]:
    made = LabelWriter(home / "labels")
    try:
        yield made
    finally:
        made.close()


@contextmanager
def taken_by_another(home: Path) -> Iterator[None]:
    """Somebody else writes the book, and takes his time."""
    connection = sqlite3.connect(home / "labels" / label_book.FILE, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("COMMIT")
        connection.close()


def test_who_waits_shares_a_commit_and_none_is_answered_before_it(tmp_path: Path) -> None:
    async def hand_in(made: LabelWriter) -> tuple[int, list[Taken]]:
        await made.take([(name(0), True)])
        with taken_by_another(tmp_path):
            tasks = [asyncio.create_task(made.take([(name(1 + i // 2), i % 2 == 0)])) for i in range(16)]
            begun, turns = time.monotonic(), 0
            while time.monotonic() - begun < 0.3:
                await asyncio.sleep(0.001)
                turns += 1
            assert not any(task.done() for task in tasks)
        return turns, await asyncio.gather(*tasks)

    with writer(tmp_path) as made:
        turns, taken = asyncio.run(hand_in(made))
    assert turns > 20, "the event loop went on meanwhile"
    # In their order: of each prediction the first label counts, the second says the opposite.
    assert taken[0::2] == [Taken(1, 0)] * 8
    assert taken[1::2] == [Taken(0, 0, (Contradiction(name(1 + i), True, False),)) for i in range(8)]
    found = LabelBook(tmp_path).scan().collect()
    assert found.height == 9
    # The first one that met the busy book alone, and all others in one commit.
    assert found["at"].n_unique() <= 3


def test_labels_of_a_book_that_was_moved_go_to_the_new_one(tmp_path: Path) -> None:
    with writer(tmp_path) as made:
        asyncio.run(made.take([(name(1), True)]))
        (tmp_path / "labels").rename(tmp_path / "kept")
        assert asyncio.run(made.take([(name(1), True), (name(2), True)])).accepted == 2
    assert LabelBook(tmp_path).scan().collect().height == 2


@pytest.mark.parametrize("holds", ["book", "turn"])
def test_holder_that_hangs_costs_a_503_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: str
) -> None:
    monkeypatch.setattr(label_book, "BUSY_TIMEOUT_S", 0.2)
    with writer(tmp_path) as made:
        asyncio.run(made.take([(name(1), True)]))
        if holds == "book":
            with taken_by_another(tmp_path), pytest.raises(Problem, match="none of them was taken, send them again"):
                asyncio.run(made.take([(name(2), True)]))
            assert asyncio.run(made.take([(name(2), True)])).accepted == 1
        else:
            command = f"flock {tmp_path}/labels/{label_writer.TURN} sh -c 'echo; exec sleep 60'"
            process = subprocess.Popen(["sh", "-c", f"exec {command}"], stdout=subprocess.PIPE, start_new_session=True)
            assert process.stdout
            process.stdout.read(1)
            try:
                assert asyncio.run(made.take([(name(2), True)])).accepted == 1
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert LabelBook(tmp_path).scan().collect().height == 2


def test_more_than_may_wait_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_writer, "MAX_WAITING_LABELS", 3)

    async def hand_in(made: LabelWriter) -> None:
        await made.take([(name(0), True)])
        with taken_by_another(tmp_path):
            waiting = asyncio.create_task(made.take([(name(i), True) for i in range(1, 4)]))
            await asyncio.sleep(0)
            with pytest.raises(Problem, match="3 labels wait to be written") as told:
                await made.take([(name(9), True)])
            assert told.value.status == 503
        assert (await waiting).accepted == 3

    with writer(tmp_path) as made:
        asyncio.run(hand_in(made))


def test_end_writes_what_waits(tmp_path: Path) -> None:
    async def hand_in(made: LabelWriter) -> list[Taken]:
        await made.take([(name(0), True)])
        with taken_by_another(tmp_path):
            tasks = [asyncio.create_task(made.take([(name(i), True)])) for i in range(1, 6)]
            await asyncio.sleep(0.05)
        await asyncio.to_thread(made.close)
        return await asyncio.gather(*tasks)

    assert sum(one.accepted for one in asyncio.run(hand_in(LabelWriter(tmp_path / "labels")))) == 5
    assert LabelBook(tmp_path).scan().collect().height == 6


KILLED = """
import asyncio, sys, uuid
from pathlib import Path
from bentos.classifier.label_writer import LabelWriter
writer, acknowledged = LabelWriter(Path(sys.argv[1]) / "labels"), 0
async def client():
    global acknowledged
    while True:
        taken = await writer.take([(f"{uuid.uuid4().hex}-0", True)])
        acknowledged += taken.accepted
        print(acknowledged, flush=True)
async def main():
    await asyncio.gather(*(client() for _ in range(8)))
asyncio.run(main())
"""


def test_processes_that_are_killed_lose_no_label_that_they_acknowledged(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    processes = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    heads = [process.stdout.readline() for process in processes if process.stdout]
    time.sleep(0.3)
    for process in processes:
        process.send_signal(signal.SIGKILL)
    acknowledged = 0
    for head, process in zip(heads, processes, strict=True):
        assert process.stdout
        acknowledged += int((head + process.stdout.read()).split("\n")[-2])
        process.wait()
    found = LabelBook(tmp_path).scan().collect()
    # What was committed and not yet told is at most one label a client.
    assert acknowledged <= found.height <= acknowledged + 16
    assert found.height > 16
