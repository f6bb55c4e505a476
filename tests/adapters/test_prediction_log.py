"""The prediction log: one writer's files, what a reader makes of them, and what survives crashes and full disks."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bentos.classifier import prediction_log as writer
from bentos.classifier.prediction_log import LogSettings
from greenlight.adapters import prediction_log as adapter
from greenlight.adapters import prediction_parts
from greenlight.adapters.prediction_key import prediction_key
from greenlight.adapters.prediction_log import PredictionLog
from greenlight.core import prediction_record
from greenlight.core.prediction_record import COLUMNS, Answered, Privacy

DAY = 86_400_000_000
T0 = 1_764_200_000_000_000


class Noted:
    """What the log tells its counters."""

    def __init__(self) -> None:
        self.rows, self.lost, self.lags = 0, Counter[str](), list[float]()

    def written(self, rows: int) -> None:
        self.rows += rows

    def dropped(self, reason: str, rows: int) -> None:
        self.lost[reason] += rows

    def lag(self, seconds: float) -> None:
        self.lags.append(seconds)


@contextmanager
def log(home: Path, privacy: Privacy | None = None) -> Iterator[tuple[Any, Noted]]:
    noted = Noted()
    settings = LogSettings(home / "predictions", 2**30, privacy or Privacy())
    kept = writer.PredictionLog(settings, "v1", noted)  # type: ignore[arg-type]
    try:
        yield kept, noted
    finally:
        kept.close()


def answered(number: int, rows: int = 1, *, at: int = T0, body: bytes = b"", **headers: str) -> Answered:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    body = body or json.dumps({"rows": [{"n": number, "who": f"p{i}"} for i in range(rows)]}, indent=1).encode()
    return Answered(at, f"{number:032x}", sent, body, [0.25] * rows, [False] * rows, 1.5, 200)


def test_rows_come_back_as_they_were_served(tmp_path: Path) -> None:
    marks = {"x_request_id": "mine", "x_greenlight_key": "user-1", "x_shadow": "1", "x_greenlight_played": "1"}
    with log(tmp_path) as (kept, noted):
        kept.add(answered(1, 2, **marks))
        kept.add(Answered(T0 + 1, "f" * 32, [], b'{"rows":[{"n":2}]}', None, None, 3.0, 500))
    found = PredictionLog(tmp_path).scan().sort("at", "row").collect()
    assert tuple(found.columns) == COLUMNS
    assert dict(found.schema) == adapter.SCHEMA
    first = found.row(0, named=True)
    assert first == {
        "at": T0, "request_id": "mine", "row": 0, "prediction_id": f"{1:032x}-0", "version": "v1", "shadow": True,
        "played": True, "pinned": False, "key": "user-1", "probability": 0.25, "decision": False, "ms": 1.5, "status": 200,
        "row_json": '{"n":1,"who":"p0"}', "bulk": False, "trace_id": "",
    }  # fmt: skip
    assert found.row(1, named=True)["prediction_id"] == f"{1:032x}-1"
    failed = found.row(2, named=True)
    assert (failed["probability"], failed["decision"], failed["status"], failed["row_json"]) == (
        None,
        None,
        500,
        '{"n":2}',
    )
    assert failed["request_id"] == "f" * 32
    assert noted.rows == 3
    assert max(noted.lags) > 0


def test_whoever_names_a_version_is_told_apart_also_in_files_from_before_that_was_kept(tmp_path: Path) -> None:
    with log(tmp_path) as (kept, _):
        kept.add(answered(1, x_model_pin="v1"))
        kept.add(answered(2))
    assert PredictionLog(tmp_path).scan().sort("prediction_id").collect()["pinned"].to_list() == [True, False]
    PredictionLog(tmp_path).compact(1024)
    for part in tmp_path.rglob("*.parquet"):
        pl.read_parquet(part).drop("pinned").write_parquet(part)
    found = PredictionLog(tmp_path).scan().collect()
    assert found["pinned"].to_list() == [False, False]
    assert tuple(found.columns) == COLUMNS
    old = prediction_record.encode(answered(3), Privacy()).replace(b'"pinned":false,', b"")
    assert next(iter(prediction_record.decode([old], "v1")))[COLUMNS.index("pinned")] is False


def test_rows_of_tables_are_kept_apart_and_compact_files_of_a_time_before_them_are_read(tmp_path: Path) -> None:
    with log(tmp_path) as (kept, _):
        kept.add(answered(1))
    assert PredictionLog(tmp_path).compact(1024).rows == 1
    (old,) = (tmp_path / "predictions").glob("v1/*/*.parquet")
    pl.read_parquet(old).drop("bulk", "trace_id").write_parquet(old)
    with log(tmp_path) as (kept, _):
        for first in (0, 2):
            scores = np.array([0.1, 0.7], np.float32)
            kept.add(
                Answered(T0, "a" * 32, [], b"", scores, scores > 0.5, 9.0, 200, first, bulk=True)  # type: ignore[arg-type]
            )
    for _ in range(2):  # as lines, and as Parquet
        assert PredictionLog(tmp_path).scan().collect()["prediction_id"].to_list() == [f"{1:032x}-0"]
        found = PredictionLog(tmp_path).scan(tables=True).collect().sort("prediction_id")
        assert found["prediction_id"].to_list()[1:] == [f"{'a' * 32}-{i}" for i in range(4)]
        assert found["bulk"].to_list() == [False] + [True] * 4
        assert found["probability"].to_list()[1:] == scores.tolist() * 2
        assert found["decision"].to_list()[1:] == [False, True] * 2
        PredictionLog(tmp_path).compact(1024)


@pytest.mark.parametrize(
    ("privacy", "row"),
    [
        (Privacy(), {"n": 7, "who": "p0"}),
        (Privacy("all", frozenset({"who"}), b"k"), {"n": 7, "who": prediction_record.hashed("p0", b"k")}),
        (Privacy("all", frozenset({"who"})), {"n": 7, "who": None}),
        (
            Privacy("hash", hash_key=b"k"),
            {name: prediction_record.hashed(v, b"k") for name, v in (("n", 7), ("who", "p0"))},
        ),
        (Privacy("none", hash_key=b"k"), None),
    ],
)
def test_private_columns_never_reach_the_disk(tmp_path: Path, privacy: Privacy, row: Any) -> None:
    with log(tmp_path, privacy) as (kept, _):
        kept.add(answered(7))
    found = PredictionLog(tmp_path).scan().collect()["row_json"][0]
    assert (json.loads(found) if found else None) == row
    if not privacy.whole:
        assert not any(b"p0" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_hash_is_the_same_for_the_same_value_and_another_with_another_key() -> None:
    a, b = (prediction_record.hashed("N14228", key) for key in (b"a" * 32, b"b" * 32))
    assert a == prediction_record.hashed("N14228", b"a" * 32)
    assert a != b
    assert a is not None
    assert a != prediction_record.hashed("N14229", b"a" * 32)
    assert prediction_record.hashed(None, b"a") is None


def test_key_of_the_hashes_is_made_once_and_for_this_user_only(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        keys = {path.read_bytes() for path in pool.map(prediction_key, [tmp_path] * 8)}
    assert len(keys) == 1
    assert len(keys.pop()) == prediction_record.KEY_BYTES
    assert (tmp_path / "predictions" / "key").stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["key"]


def test_what_does_not_fit_the_queue_is_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_QUEUED_BYTES", 20_000)
    with log(tmp_path) as (kept, noted):
        for number in range(500):
            kept.add(answered(number))
    assert noted.lost["queue"] > 0
    assert noted.rows + noted.lost["queue"] == 500
    assert PredictionLog(tmp_path).scan().collect().height == noted.rows


def test_files_are_rotated_and_the_oldest_go_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROTATE_BYTES", 50_000)
    body = b'{"rows":[{"n":"' + b"x" * 900 + b'"}]}'
    noted = Noted()
    kept = writer.LogFile(LogSettings(tmp_path / "predictions", 400_000, Privacy()), "v1")
    for number in range(1_000):
        assert kept.append(prediction_record.encode(answered(number, body=body, at=T0 + number), Privacy()))
    kept.close()
    log = PredictionLog(tmp_path)
    assert 300_000 < log.bytes() <= 400_000 + 2_000
    rows = log.scan().sort("at").collect()["at"].to_list()
    assert rows == list(range(rows[0], T0 + 1_000))  # the newest, without a gap
    assert noted.lost == {}


def test_file_being_written_is_never_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROTATE_BYTES", 1_000)
    settings = LogSettings(tmp_path / "predictions", 5_000, Privacy())
    idle, busy = writer.LogFile(settings, "v1"), writer.LogFile(settings, "v2")
    idle.append(prediction_record.encode(answered(1), Privacy()))
    for number in range(50):
        busy.append(prediction_record.encode(answered(number), Privacy()))
    assert PredictionLog(tmp_path).scan("v1").collect().height == 1
    assert PredictionLog(tmp_path).compact(1).files > 0
    assert len(list((tmp_path / "predictions" / "v1").glob("*.jsonl"))) == 1
    idle.close()
    busy.close()


def write(home: Path, version: str, *ats: int, tail: bytes = b"") -> Path:
    folder = home / "predictions" / version
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{ats[0]}-1-{len(list(folder.glob('*.jsonl')))}.jsonl"
    lines = [prediction_record.encode(answered(at, at=at), Privacy()) for at in ats]
    path.write_bytes(prediction_record.header(version, Privacy()) + b"".join(lines) + tail)
    return path


def test_compact_makes_a_file_a_version_and_day_and_may_be_repeated(tmp_path: Path) -> None:
    write(tmp_path, "v1", T0, T0 + 1, T0 + DAY)
    write(tmp_path, "v2", T0 + 2)
    log = PredictionLog(tmp_path)
    before = log.scan().sort("at").collect()
    done = log.compact(1024)
    assert (done.files, done.rows, done.skipped) == (2, 4, 0)
    names = sorted(str(path.relative_to(tmp_path / "predictions").parent) for path in tmp_path.rglob("*.parquet"))
    assert names == ["v1/2025-11-26", "v1/2025-11-27", "v2/2025-11-26"]
    assert not list(tmp_path.rglob("*.jsonl"))
    assert log.scan().sort("at").collect().equals(before)
    assert log.scan("v1").collect().height == 3
    assert log.scan(since_us=T0 + 1, until_us=T0 + DAY).sort("at").collect()["at"].to_list() == [T0 + 1, T0 + 2]
    assert log.compact(1024).files == 0
    assert log.scan().sort("at").collect().equals(before)


def test_torn_last_line_is_skipped_and_everything_before_it_kept(tmp_path: Path) -> None:
    whole = prediction_record.encode(answered(9, at=T0 + 9), Privacy())
    for cut in range(1, len(whole) - 1, 7):
        path = write(tmp_path / str(cut), "v1", T0, T0 + 1, tail=whole[:cut])
        rows, skipped = adapter.read(path, "v1")
        assert (rows["at"].to_list(), skipped) == ([T0, T0 + 1], 1)
    path = write(tmp_path / "middle", "v1", T0, tail=b"\x00\x00 no record\n[1]\n{}\n" + whole)
    rows, skipped = adapter.read(path, "v1")
    assert (rows["at"].to_list(), skipped) == ([T0, T0 + 9], 3)


CRASH = """
import os, sys
from pathlib import Path
from greenlight.adapters import prediction_log as adapter
from greenlight.adapters import prediction_parts
number, calls = int(sys.argv[2]), 0
def crash(*_):
    global calls
    calls += 1
    if calls == number:
        os._exit(9)
for module, name in ((prediction_parts, "sync"), (os, "utime"), (Path, "unlink"), (Path, "rename")):
    real = getattr(module, name)
    def before(*args, real=real, **more):
        crash()
        return real(*args, **more)
    setattr(module, name, before)
adapter.PredictionLog(Path(sys.argv[1])).compact(1024)
"""


def test_compact_that_is_killed_anywhere_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    killed = 0
    for number in range(1, 60, 3):
        home = tmp_path / str(number)
        write(home, "v1", T0, T0 + DAY, T0 + 2 * DAY)
        write(home, "v1", T0 + 5)
        command = [sys.executable, "-c", CRASH, str(home), str(number)]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True)
        log = PredictionLog(home)
        wanted = [T0, T0 + 5, T0 + DAY, T0 + 2 * DAY]
        assert log.scan().sort("at").collect()["at"].to_list() == wanted, number
        if done.returncode == 0:
            break
        assert done.returncode == 9, done.stderr
        killed += 1
        log.compact(1024)
        assert log.scan().sort("at").collect()["at"].to_list() == wanted, number
        assert not list(home.rglob("*.jsonl"))
    assert killed > 4


def test_small_files_of_a_day_become_one_and_a_reader_that_had_looked_is_not_disturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = PredictionLog(tmp_path)
    wanted = [T0 + i for i in range(6)]
    for at in wanted:
        write(tmp_path, "v1", at)
        with monkeypatch.context() as patch:
            patch.setattr(prediction_parts, "MERGE_BYTES", 0)  # one by one, as night after night
            log.compact(1024)
    before = log.scan()
    assert len(list(tmp_path.rglob("*.parquet"))) == 6
    assert log.compact(1024).merged == 6
    for reader in (before, log.scan()):
        assert reader.sort("at").collect()["at"].to_list() == wanted
    assert log.compact(1024).merged == 0
    assert len(list(tmp_path.rglob("*.parquet"))) == 7, "what the merged file replaces is kept for readers"
    monkeypatch.setattr(prediction_parts, "GRACE_S", 0.0)
    log.compact(1024)
    assert len(list(tmp_path.rglob("*.parquet"))) == 1
    assert not list(tmp_path.rglob("*.replaces"))
    assert log.scan().sort("at").collect()["at"].to_list() == wanted


def test_files_of_today_are_merged_when_there_are_many_and_large_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns() // 1000
    log = PredictionLog(tmp_path)
    for count in range(1, prediction_parts.MERGE_FROM + 1):
        write(tmp_path, "v1", now + count)
        assert log.compact(1024).merged == (0 if count < prediction_parts.MERGE_FROM else count)
    monkeypatch.setattr(prediction_parts, "MERGE_BYTES", 10)
    write(tmp_path, "v1", T0)
    write(tmp_path, "v1", T0 + 1)
    assert log.compact(1024).merged == 0
    assert log.scan().collect().height == prediction_parts.MERGE_FROM + 2


def test_compact_keeps_the_limit_oldest_rows_first(tmp_path: Path) -> None:
    for day in range(6):
        path = write(tmp_path, "v1", *range(T0 + day * DAY, T0 + day * DAY + 3_000))
        os.utime(path, (T0 / 1e6 + day * 86_400, T0 / 1e6 + day * 86_400))
    log = PredictionLog(tmp_path)
    log.compact(1024)
    size = log.bytes()
    log.folder.joinpath("v1").rename(log.folder / "v9")  # whatever the version
    assert log._bound(size * 6 // 10) == 3
    assert log.scan().collect()["at"].min() == T0 + 3 * DAY
    assert log.bytes() <= size * 6 // 10


WRITER = """
import sys, time
from pathlib import Path
from bentos.classifier import prediction_log as writer
from greenlight.core.prediction_record import Answered, Privacy
class Noted:
    def written(self, rows): print("written", rows, flush=True)
    def dropped(self, reason, rows): print("dropped", reason, rows, flush=True)
    def lag(self, seconds): pass
log = writer.PredictionLog(writer.LogSettings(Path(sys.argv[1]) / "predictions", 2**30, Privacy()), "v1", Noted())
FILL = len(sys.argv) > 2 and sys.argv[2]
number = 0
while True:
    for _ in range(200):
        number += 1
        body = b'{"rows":[{"n":"' + b"x" * 400 + b'"}]}'
        log.add(Answered(number, f"{number:032x}", [], body, [0.5], [True], 1.0, 200))
    time.sleep(0.01)
    if FILL and number >= 4_000:
        time.sleep(1)
        for path in Path(sys.argv[1]).glob("fill"): path.unlink()
        for _ in range(100):
            number += 1
            log.add(Answered(number, f"{number:032x}", [], b'{"rows":[{"n":1}]}', [0.5], [True], 1.0, 200))
        log.close()
        from greenlight.adapters.prediction_log import PredictionLog
        found = PredictionLog(Path(sys.argv[1])).scan().collect()
        print("ROWS", found.height, "LAST", found["at"].max(), "OF", number)
        break
"""


def test_killed_writer_loses_only_what_was_not_written_yet(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    for seconds in (0.6, 0.83):
        home = tmp_path / str(seconds)
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(home)], env=env, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        first = process.stdout.readline()  # it writes by now
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        told = [line.split() for line in (first + process.stdout.read()).splitlines()]
        process.wait()
        written = sum(int(words[1]) for words in told if words[0] == "written" and len(words) == 2)
        found = PredictionLog(home).scan().sort("at").collect()["at"].to_list()
        assert found == list(range(1, len(found) + 1))  # whole, in order, nothing between is missing
        assert len(found) >= written > 0
        assert PredictionLog(home).compact(1024).rows == len(found)  # the lock of the dead is free


def test_full_disk_costs_rows_and_nothing_else(tmp_path: Path) -> None:
    """2 MB of room, half of it taken by somebody else until later: rows are dropped and counted, none is torn, and it
    goes on when there is room."""
    probe = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount, folder = 'mount -t tmpfs -o size=2m tmpfs "$0" && head -c 1m /dev/zero > "$0/fill"', tmp_path / "small"
    folder.mkdir()
    if subprocess.run([*probe, mount, str(folder)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [*probe, f'{mount} && exec "$@"', str(folder), sys.executable, "-c", WRITER, str(folder), "fill"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    lines = [line.split() for line in done.stdout.splitlines()]
    dropped = sum(int(words[2]) for words in lines if words[:2] == ["dropped", "disk"])
    written = sum(int(words[1]) for words in lines if words[0] == "written")
    (said,) = [words for words in lines if words[0] == "ROWS"]
    assert dropped > 500, done.stdout + done.stderr
    assert int(said[1]) == written
    assert written + dropped == int(said[5])
    assert said[3] == said[5]  # the last row, after room was made, is there
    # A batch that is small enough may find room between two that do not: each change is said, and said once.
    full = [line.startswith("predictions are not kept: No space left on device") for line in done.stderr.splitlines()]
    assert full == [True, False] * (len(full) // 2) != [], done.stderr
    assert "Traceback" not in done.stderr


def test_many_readers_and_compactions_at_once_see_every_row_once(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path, "v1", *range(T0 + number * 1000, T0 + number * 1000 + 50))
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        counts = pool.map(_count_or_compact, [(tmp_path, i) for i in range(12)], chunksize=1)
    assert {count for count in counts if count} == {600}


def _count_or_compact(task: tuple[Path, int]) -> int:
    home, number = task
    log = PredictionLog(home)
    if number % 4 == 1:
        log.compact(1024)
        return 0
    return log.scan().select(pl.len()).collect().item()


def test_the_writer_lets_answers_through_between_a_few_lines(tmp_path: Path) -> None:
    kept = writer.PredictionLog(LogSettings(tmp_path / "predictions", 2**30, Privacy()), "v1", Noted())  # type: ignore[arg-type]
    before, seen = sys.getswitchinterval(), set()
    sys.setswitchinterval(30)  # Python takes the lock from nobody: what others see, the writer let them see
    try:
        for i in range(1600):
            kept.add(Answered(i, "a" * 32, [], b'{"rows": [' + b" " * 100 + b"]}", [0.5], [False], 1.0, 200))
        while kept._queue:
            seen.add(len(kept._queue))
            time.sleep(0)
    finally:
        sys.setswitchinterval(before)
        kept.close()
    assert len(seen) > 30, "a write takes more than 100 lines; pauses come after 16"
