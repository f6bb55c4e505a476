"""Played traffic: real rows of the next month, through the real edge, to a real bento."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serving_kit as kit
import yaml
from certificate_kit import certificate

from greenlight.adapters import processes
from greenlight.adapters.edge_drain import drain
from greenlight.adapters.waiting import wait_until
from greenlight.config import Settings
from greenlight.datasets.flight_delay import history, request, source
from greenlight.errors import ConfigError, NotFound, ServerError, UsageError
from greenlight.operations import sealing, stack
from greenlight.operations.release import release
from greenlight.operations.serving import Serving
from greenlight.operations.traffic import Wish, asks, play, schedule
from greenlight.wiring import open_project


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack without Prefect, its edge with keys, on which v1 serves, judged on 2013-08."""
    root = tmp_path_factory.mktemp("live") / "project"
    settings = kit.project(root, 0, client_keys=True, workers=1)
    params = yaml.safe_load(settings.params_file.read_text())
    params["data"]["as_of"] = "2013-08"
    settings.params_file.write_text(yaml.safe_dump(params))
    subprocess.run([*kit.git(root), "commit", "-qam", "As of August"], check=True)
    project = open_project(settings)
    version = kit.register(project, kit.small_model(1), "run-v1", root.parent / "workspace")
    sealing.build(project, version, root.parent / "workspace")
    serving = Serving(project)
    try:
        serving.supervisor.start({})
        with serving.desired.changing("test"):
            serving.edge_up()
        release(settings, "v1")
        yield settings
    finally:
        serving.supervisor.stop()
        assert not processes.marked(settings.home)


def test_the_month_after_the_holdout_is_played_and_answered(live: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenlight.operations.traffic.PROGRESS_S", 1.0)
    lines: list[str] = []
    found = play(live, Wish(rate=120, duration_s=3, key="tailnum", seed=3), log=lines.append)

    assert found.period == "2013-09"
    assert found.wanted == found.sent == found.answered == 360
    assert found.errors == {}
    assert found.versions == {"v1": 360}
    assert found.exit_code == 0
    assert 0 < found.latency_ms["p50"] <= found.latency_ms["p95"] <= found.latency_ms["p99"] <= found.latency_ms["max"]
    assert 2.5 < found.seconds < 8
    assert any(line.startswith("0:02  ") and "sent" in line for line in lines)
    assert found.labels == {}


def test_labels_are_posted_late_or_it_is_said_that_nobody_takes_them(live: Settings) -> None:
    begun = time.monotonic()
    found = play(live, Wish(rate=50, duration_s=1, labels_after_s=1.5))
    took = time.monotonic() - begun

    assert found.answered == 50
    if found.notes:
        assert "404" in found.notes[0]
        assert found.labels["posted"] == 0
    else:
        assert took > 2
        assert found.labels["posted"] == found.labels["accepted"] > 40
        assert found.labels["waiting"] == 0


def test_ctrl_c_ends_with_the_summary(live: Settings) -> None:
    command = [sys.executable, "-m", "greenlight.cli", "traffic", "--rate", "30", "--duration", "60", "--json"]
    named = {"EDGE_PORT": live.edge_port, "PREFECT_PORT": live.prefect_port, "ROOT": live.root, "CLIENT_KEYS": 1}
    environment = os.environ | {f"GREENLIGHT_{name}": str(value) for name, value in named.items()}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("playing"):
            break
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    answer, _ = process.communicate(timeout=20)
    found = json.loads(answer)

    assert process.returncode == 0
    assert found["interrupted"] is True
    assert 0 < found["answered"] == found["sent"] < found["wanted"] == 1800
    assert found["errors"] == {}


def test_what_goes_wrong_is_counted_by_why(live: Settings) -> None:
    """The edge stops half-way: requests before it are answered, the others are not, and nothing hangs."""
    edge = Serving(open_project(live)).edge
    stop = threading.Timer(0.5, lambda: drain(edge, 5))
    stop.start()
    try:
        found = play(live, Wish(rate=64, duration_s=2.5))
    finally:
        stop.join()
        Serving(open_project(live)).supervisor.remove("edge")
        with Serving(open_project(live)).desired.changing("test"):
            Serving(open_project(live)).edge_up()
            assert wait_until(lambda: edge.healthy("v1") == 1, 30, 0.05)
    assert found.sent == 160
    assert found.answered + sum(found.errors.values()) == 160
    # One that was just connecting when the port closed may be reset; none that was taken is lost.
    assert found.errors["no connection"] > 20
    assert found.errors.get("connection lost (ReadError)", 0) <= 3
    assert found.answered > 20
    assert found.exit_code == 1


@pytest.mark.parametrize(
    ("wish", "kind", "said"),
    [
        (Wish(period="2014-05"), NotFound, "2013-01 to 2013-12"),
        (Wish(period="May"), UsageError, "no month|not a month"),
        (Wish(period="2013-09", key="age"), UsageError, "column 'age'"),
    ],
)
def test_what_cannot_be_played_is_said_plainly(live: Settings, wish: Wish, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        play(live, wish)


def test_a_stack_that_is_down_is_said_plainly(tmp_path: Path) -> None:
    settings = kit.project(tmp_path / "project", 0)

    with pytest.raises(ServerError, match="greenlight up"):
        play(settings, Wish(period="2013-09"))


def test_up_again_takes_new_settings_and_refuses_wrong_ones_before_anything_stops(live: Settings) -> None:
    """Under load TLS and a rate come, by a drained restart; with a certificate that has expired nothing happens."""
    wrong = live.model_copy(update=certificate(live.home, "old", days=-1))
    right = live.model_copy(update=certificate(live.home, "edge") | {"rate_limit": 5.0, "rate_burst": 20})
    edge = Serving(open_project(live)).edge
    with pytest.raises(ConfigError, match="expired"):
        Serving(open_project(wrong)).check_edge()
    assert play(live, Wish(rate=20, duration_s=0.5)).errors == {}

    Serving(open_project(right)).edge_up()
    edge.wait_healthy("v1", 1)
    found = play(right, Wish(rate=60, duration_s=1))
    assert right.edge_url.startswith("https://")
    assert set(found.errors) == {"status 429"}
    assert 20 <= found.answered <= 30
    assert found.exit_code == 1
    Serving(open_project(live)).edge_up()
    edge.wait_healthy("v1", 1)
    assert play(live, Wish(rate=20, duration_s=0.5)).errors == {}


def test_down_answers_what_is_under_way(live: Settings) -> None:
    """A request that a model server is slow to answer, here stopped for a while, outlives the order to stop."""
    serving = Serving(open_project(live))
    found: list[Any] = []
    server = serving.supervisor.state("model-v1-1").pid
    os.kill(server, signal.SIGSTOP)
    asked = threading.Thread(target=lambda: found.append(play(live, Wish(rate=1, duration_s=0.1))))
    asked.start()
    try:
        assert wait_until(lambda: serving.edge.active_requests("v1") == 1, 30, 0.01)
        threading.Timer(1.5, os.kill, (server, signal.SIGCONT)).start()
        stack.down(live)
    finally:
        os.kill(server, signal.SIGCONT) if processes.is_alive(server) else None
    asked.join(20)

    assert (found[0].answered, found[0].errors) == (1, {})
    assert found[0].latency_ms["max"] > 1000
    assert not processes.marked(live.home)


def test_rows_are_spread_over_the_month_and_moments_over_the_time() -> None:
    order, due = schedule(20_000, Wish(rate=50, duration_s=40, seed=1))

    assert order.size == due.size == 2000
    assert np.unique(order).size == 2000
    assert (np.diff(order) > 0).all()
    assert (np.diff(due) >= 0).all()
    assert np.histogram(order, 4, (0, 20_000))[0].min() > 400
    gaps = np.diff(due) * 50  # of a Poisson process: mean and standard deviation both 1
    assert abs(gaps.mean() - 1) < 0.1
    assert abs(gaps.std() - 1) < 0.1
    again, _ = schedule(20_000, Wish(rate=50, duration_s=40, seed=1))
    assert (again == order).all()


def test_a_month_with_too_few_rows_is_played_again() -> None:
    order, _ = schedule(7, Wish(rate=10, duration_s=2))

    assert order.tolist() == [i % 7 for i in range(20)]


def test_a_request_is_marked_named_and_sticky() -> None:
    rows = history.asked(source.fetch("2013-09"), "2013-09")
    dataset = kit.DATASET
    made = list(asks(dataset, rows, np.arange(700), np.linspace(0, 7, 700), "tailnum"))

    assert [ask.due for ask in made] == np.linspace(0, 7, 700).tolist()
    assert {ask.headers["x-greenlight-played"] for ask in made} == {"1"}
    assert len({ask.headers["x-request-id"] for ask in made}) == 700
    assert [ask.headers.get("x-greenlight-key") for ask in made] == rows["tailnum"][:700].to_list()
    assert [ask.label for ask in made] == [None if v is None else v == 1 for v in rows["label"][:700].to_list()]
    assert None in [ask.label for ask in made]
    assert json.loads(made[5].body) == {"rows": request.records(rows[5:6])}
    assert "x-greenlight-key" not in next(asks(dataset, rows, np.arange(1), np.zeros(1))).headers
