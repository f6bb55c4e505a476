"""The peers of `make bench-serving` score the golden rows as we do: else their figures would mean nothing."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serving_kit as kit
from starlette.testclient import TestClient

from benchmarks import load
from benchmarks.peers import bare_loop, talk
from benchmarks.peers.scoring import Flights


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return kit.small_model()


@pytest.fixture
def golden(files: dict[str, bytes]) -> tuple[list[dict[str, Any]], list[float]]:
    rows = json.loads(files["golden.json"])["rows"]
    return [row["request"] for row in rows], [row["probability"] for row in rows]


@pytest.fixture
def place(files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The working directory holds the model, as a bento's ``src`` does; the peers read it when they are imported."""
    folder = tmp_path / "data" / "model"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    yield
    for name in ("fastapi_app", "raw_asgi", "stock_service"):
        sys.modules.pop(f"benchmarks.peers.{name}", None)


@pytest.mark.parametrize("name", ["fastapi_app", "raw_asgi"])
@pytest.mark.usefixtures("place")
def test_applications_answer_the_golden_rows_with_the_offline_scores(name: str, golden: Any) -> None:
    rows, expected = golden
    with TestClient(importlib.import_module(f"benchmarks.peers.{name}").app) as client:
        answer = client.post(talk.OURS.path, content=talk.OURS.ask(rows), headers={"content-type": "application/json"})

    assert answer.status_code == 200
    assert talk.OURS.read(answer.content) == expected


@pytest.mark.usefixtures("place")
def test_the_documented_service_gives_the_offline_scores(golden: Any) -> None:
    rows, expected = golden
    stock = importlib.import_module("benchmarks.peers.stock_service")

    answer = stock.Stock.inner().predict([stock.Row.model_validate(row) for row in rows])

    assert talk.STOCK.read(json.dumps([prediction.model_dump() for prediction in answer]).encode()) == expected


def test_what_the_other_peers_score_with_gives_the_offline_scores(files: dict[str, bytes], golden: Any) -> None:
    """MLflow's and MLServer's models hand their rows to this; they themselves need environments of their own."""
    rows, expected = golden
    flights = Flights(files)

    asked = json.loads(talk.MLSERVER.ask(rows))["inputs"][0]
    assert flights.score([flights.row.model_validate_json(text) for text in asked["data"]]) == expected
    framed = json.loads(talk.MLFLOW.ask(rows))["dataframe_records"]
    assert flights.score([flights.row.model_validate(row) for row in framed]) == expected


def test_every_bare_loop_scores(files: dict[str, bytes]) -> None:
    flights = Flights(files)
    rows = [flights.row.model_validate(row) for row in kit.requests(20)]

    found = bare_loop.measure(flights, rows, 0.01)

    assert set(found) == {bare_loop.PREDICT, bare_loop.ONE, bare_loop.MANY, bare_loop.COLUMNS}
    assert min(found.values()) > 0


def test_the_load_generator_waits_for_what_it_asked_and_asks_all_bodies(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            seen.append(await reader.readexactly(length))
            await asyncio.sleep(0.1)  # longer than the load lasts
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async def run() -> list[tuple[float, float, int, str]]:
        socket = str(tmp_path / "s.sock")
        async with await asyncio.start_unix_server(serve, socket):
            requests = [load.http_request("localhost", "/predict", body) for body in (b"one", b"two")]
            return await load.load(socket, requests, 2, 0.02, 0)

    answers = asyncio.run(run())

    assert sorted(seen) == [b"one", b"two"]
    assert [answer[2] for answer in answers] == [200, 200]
    assert load.summary(answers, 2.0)["per_second"] == 1.0


@pytest.mark.parametrize("lock", sorted((kit.ROOT / "benchmarks" / "peers").glob("*.txt")), ids=lambda path: path.stem)
def test_locks_of_peers_name_no_host_have_hashes_and_our_xgboost(lock: Path) -> None:
    text = lock.read_text()
    wanted = (kit.ROOT / "requirements" / "all.txt").read_text().partition("\nxgboost==")[2].split()[0]

    assert "://" not in text
    assert text.count("--hash=sha256:") > text.count("==")
    assert f"\nxgboost-cpu=={wanted} " in text
