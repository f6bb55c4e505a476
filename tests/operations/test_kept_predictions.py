"""Predictions, labels and figures of a version that really serves: through the edge, by its own processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import serving_kit as kit

from greenlight.adapters import processes
from greenlight.adapters.label_book import LabelBook
from greenlight.adapters.prediction_log import PredictionLog
from greenlight.adapters.waiting import wait_until
from greenlight.config import Settings
from greenlight.errors import NotFound, UsageError
from greenlight.operations import labels as label_operation
from greenlight.operations import predictions as prediction_operation
from greenlight.operations.release import release
from greenlight.operations.serving import Serving
from greenlight.operations.trace import trace
from greenlight.wiring import Project, open_project

ROOT = Path(__file__).parents[2]
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """v1 serves, with two processes behind the edge."""
    made = kit.project(tmp_path_factory.mktemp("kept") / "project", 1)
    serving = Serving(open_project(made))
    serving.supervisor.start({})
    try:
        with serving.desired.changing("test"):
            serving.edge_up()
        release(made, "v1")
        yield made
    finally:
        serving.supervisor.stop()


@pytest.fixture
def project(settings: Settings) -> Project:
    return open_project(settings)


def ask(settings: Settings, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent = (JSON if body is not None else {}) | {k.replace("_", "-"): v for k, v in headers.items()}
    request = urllib.request.Request(f"{settings.edge_url}{path}", content, sent)
    try:
        with urllib.request.urlopen(request, timeout=15) as reply:
            status, text = reply.status, reply.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    return status, json.loads(text) if text[:1] == b"{" else text.decode()


def predict(settings: Settings, rows: int = 1, seed: int = 1, **headers: str) -> list[dict[str, Any]]:
    status, answer = ask(settings, "/predict", {"rows": kit.requests(rows, seed)}, **headers)
    assert status == 200, answer
    return list(answer["predictions"])


def kept(settings: Settings, ids: list[str]) -> pl.DataFrame:
    """The rows of these predictions, once they are written."""
    wanted = PredictionLog(settings.home).scan().filter(pl.col("prediction_id").is_in(ids))
    assert wait_until(lambda: wanted_now(settings, ids).height == len(ids), 30, 0.05), wanted.collect()
    return wanted_now(settings, ids).sort("row")


def wanted_now(settings: Settings, ids: list[str]) -> pl.DataFrame:
    return PredictionLog(settings.home).scan("v1").filter(pl.col("prediction_id").is_in(ids)).collect()


def cli(settings: Settings, *args: str) -> subprocess.CompletedProcess[str]:
    names = {"root": settings.root, "home": settings.home, "edge_port": settings.edge_port}
    env = os.environ | {f"GREENLIGHT_{name.upper()}": str(value) for name, value in names.items()}
    return subprocess.run([sys.executable, "-m", "greenlight.cli", *args], env=env, capture_output=True, text=True)


def test_answer_is_kept_as_it_was_given(settings: Settings) -> None:
    before = time.time() * 1e6
    answers = predict(settings, 3, x_request_id="mine-1", x_greenlight_key="user-7")
    found = kept(settings, [one["prediction_id"] for one in answers])
    assert found["prediction_id"].to_list() == [one["prediction_id"] for one in answers]
    assert found["probability"].to_list() == [one["probability"] for one in answers]
    assert found["decision"].to_list() == [one["decision"] for one in answers]
    assert [json.loads(text) for text in found["row_json"]] == kit.requests(3)
    for column, value in (("request_id", "mine-1"), ("key", "user-7"), ("status", 200), ("version", "v1")):
        assert set(found[column]) == {value}
    assert all(before <= at <= time.time() * 1e6 for at in found["at"])
    assert 0 < found["ms"][0] < 5_000
    assert not found["shadow"].any()


def test_wrong_requests_and_the_preflight_leave_nothing(settings: Settings) -> None:
    assert ask(settings, "/predict", {"rows": [{}]}, x_request_id="wrong-1")[0] == 422
    time.sleep(0.6)
    rows = PredictionLog(settings.home).scan()
    assert rows.filter(pl.col("request_id") == "wrong-1").collect().height == 0
    # The release asked golden rows and hundreds of others of a process of its own.
    assert rows.filter(pl.col("status") != 200).collect().height == 0


def test_trace_goes_back_to_run_and_features(settings: Settings, project: Project) -> None:
    (answer,) = predict(settings, seed=5)
    name = answer["prediction_id"]
    kept(settings, [name])
    found = trace(project, name)
    version = project.registry.get("v1")
    assert (found.version, found.run, found.commit) == ("v1", "run-v1", version.commit)
    assert found.snapshot["data/snapshot"] == "0" * 32 + ".dir"
    assert found.verdict["decision"] == "promote"
    assert found.params["dataset"] == "flight_delay"
    assert found.prediction["row"] == kit.requests(1, 5)[0]
    assert set(found.features) == {feature.name for feature in kit.DATASET.features.FEATURES}
    assert found.features["carrier"] == kit.requests(1, 5)[0]["carrier"]
    assert found.rescored == {"probability": answer["probability"], "decision": answer["decision"], "same": True}
    shown = cli(settings, "trace", name)
    assert shown.returncode == 0, shown.stderr
    for text in ("run-v1", version.commit[:12], "the same", "N1", "carrier"):
        assert text in shown.stdout


def test_trace_says_when_the_model_answers_otherwise_now(settings: Settings) -> None:
    (answer,) = predict(settings, seed=6)
    name = answer["prediction_id"]
    line = kept(settings, [name]).row(0, named=True)
    forged = f"{0xF00D:032x}"
    record = {"at": line["at"], "name": forged, "id": "x", "key": "", "shadow": False, "played": False, "status": 200}
    record |= {
        "ms": 1.0,
        "p": [line["probability"] / 2],
        "d": [False],
        "body": {"rows": [json.loads(line["row_json"])]},
    }
    (settings.home / "predictions" / "v1" / "1-1-1.jsonl").write_text(json.dumps(record) + "\n")
    done = cli(settings, "trace", f"{forged}-0", "--json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["rescored"] == {
        "probability": line["probability"],
        "decision": line["decision"],
        "same": False,
    }
    (settings.home / "predictions" / "v1" / "1-1-1.jsonl").unlink()


def test_trace_of_what_is_not_kept_says_what_to_do(settings: Settings, project: Project) -> None:
    with pytest.raises(UsageError, match="32 hexadecimal digits"):
        trace(project, "nonsense")
    with pytest.raises(NotFound, match="predictions are kept, the oldest of") as told:
        trace(project, "0" * 32 + "-0")
    assert "GREENLIGHT_PREDICTION_LOG_MB" in told.value.todo
    done = cli(settings, "trace", "0" * 32 + "-0")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_labels_over_http_are_taken_once_and_contradictions_reported(settings: Settings) -> None:
    ids = [one["prediction_id"] for one in predict(settings, 3)]
    body = {"labels": [{"prediction_id": name, "label": i % 2 == 0} for i, name in enumerate(ids)]}
    assert ask(settings, "/labels", body) == (200, {"accepted": 3, "known": 0, "contradicting": [], "more": 0})
    for _ in range(4):  # whichever process takes it
        assert ask(settings, "/labels", body)[1]["known"] == 3
    other = {"labels": [{"prediction_id": ids[0], "label": 0}, {"prediction_id": ids[1], "label": 0}]}
    for _ in range(4):
        status, answer = ask(settings, "/labels", other)
        assert (status, answer["known"]) == (200, 1)
        assert answer["contradicting"] == [{"prediction_id": ids[0], "kept": True, "sent": False}]
    found = LabelBook(settings.home).scan().filter(pl.col("prediction_id").is_in(ids)).collect()
    assert dict(zip(found["prediction_id"], found["label"], strict=True)) == {ids[0]: 1, ids[1]: 0, ids[2]: 1}
    assert LabelBook(settings.home).contradictions().collect()["prediction_id"].to_list() == [ids[0]]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        ({"labels": []}, 422, "at least 1 label"),
        ({"labels": [{"prediction_id": "x", "label": True}]}, 422, "label 0, field prediction_id"),
        ({"labels": [{"prediction_id": "a" * 32 + "-0", "label": 2}]}, 422, "label 0, field label"),
        ({"labels": [{"prediction_id": "a" * 32 + "-0", "label": 0.5}]}, 422, "field label"),
        ({"labels": [{"prediction_id": "a" * 32 + "-0", "label": "true"}]}, 422, "field label"),
        ({"labels": [{"prediction_id": "a" * 32 + "-0"}]}, 422, "is required"),
        ({"labels": [{"prediction_id": "a" * 32 + "-0", "label": True, "x": 1}]}, 422, "not a known field"),
        ({"labels": [{"prediction_id": "a" * 32 + "-0", "label": True}] * 10_001}, 422, "at most 10000 labels"),
        (b" " * (8 * 1024 * 1024 + 1), 413, "more than 8 MiB"),
    ],
)
def test_labels_that_are_none_are_refused_and_named(settings: Settings, body: Any, status: int, words: str) -> None:
    before = LabelBook(settings.home).scan().collect().height
    code, answer = ask(settings, "/labels", body)
    assert code == status, answer
    # What is too large is answered by the edge, which says what to do instead of which values are wrong.
    assert set(answer) == ({"error", "todo"} if status == 413 else {"error", "details", "more"})
    assert words in json.dumps(answer)
    assert LabelBook(settings.home).scan().collect().height == before


def test_other_methods_at_labels_say_what_to_use(settings: Settings) -> None:
    status, answer = ask(settings, "/labels")
    assert status == 405
    assert "POST /labels" in answer["error"]


def test_labels_by_id_key_and_columns_from_files(settings: Settings, project: Project, tmp_path: Path) -> None:
    mine = [one["prediction_id"] for one in predict(settings, 2, seed=20, x_greenlight_key="user-20")]
    rows = kit.requests(2, 21)
    by_row = [one["prediction_id"] for one in predict(settings, 2, seed=21)]
    by_id = [one["prediction_id"] for one in predict(settings, 2, seed=22)]
    kept(settings, mine + by_row + by_id)

    keys = tmp_path / "keys.csv"
    keys.write_text("key,label\nuser-20,true\nnobody,false\n")
    taken = label_operation.take_file(project, keys)
    assert (taken.by, taken.predictions, taken.accepted, taken.unmatched) == (("key",), 2, 2, 1)

    table = tmp_path / "landed.csv"
    head = ("carrier", "flight", "tailnum", "scheduled_departure", "distance")
    lines = [",".join([*(str(row[name]) for name in head), str(i)]) for i, row in enumerate(rows)]
    table.write_text("\n".join([",".join([*head, "label"]), *(line.replace("T", " ", 1) for line in lines)]) + "\n")
    taken = label_operation.take_file(project, table)
    assert (taken.predictions, taken.accepted, taken.unmatched) == (2, 2, 0), taken

    parquet = tmp_path / "ids.parquet"
    pl.DataFrame({"prediction_id": by_id, "label": [True, False]}).write_parquet(parquet)
    done = cli(settings, "labels", str(parquet), "--json")
    assert (done.returncode, json.loads(done.stdout)["accepted"]) == (0, 2)
    assert label_operation.take_file(project, parquet).known == 2
    pl.DataFrame({"prediction_id": by_id, "label": [False, False]}).write_parquet(parquet)
    against = cli(settings, "labels", str(parquet))
    assert against.returncode == 1
    assert f"{by_id[0]}: True is kept, False was said" in against.stdout

    found = LabelBook(settings.home).scan().collect()
    said = dict(zip(found["prediction_id"], found["label"], strict=True))
    assert [said[name] for name in mine + by_row + by_id] == [1, 1, 0, 1, 1, 0]

    coverage = label_operation.coverage(project)
    days = coverage["days"]
    assert sum(day["labelled"] for day in days) == coverage["labels"] - coverage["without_prediction"]
    assert all(0 <= day["delay_p50_s"] < 120 for day in days if day["labelled"])
    assert coverage["contradicting"] >= 1
    shown = cli(settings, "labels", "--coverage")
    assert "v1" in shown.stdout, shown.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("label\n1\n", "one that says of what"),
        ("prediction_id\nx\n", "labels need the column 'label'"),
        ("prediction_id,label\nx,1\n", "no prediction ids; row 0: 'x'"),
        ("key,label\nu,maybe\n", "neither true, false, 1 nor 0; row 0: 'maybe'"),
        ("pilot,label\nu,1\n", "not a column of a request: pilot"),
        ("carrier,label\nTOO LONG,1\n", "row 0, carrier"),
    ],
)
def test_files_that_hold_no_labels_say_why(project: Project, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(text)
    with pytest.raises(UsageError, match=words):
        label_operation.take_file(project, file)


def test_file_that_says_both_of_the_same_labels_neither(settings: Settings, project: Project, tmp_path: Path) -> None:
    names = [one["prediction_id"] for one in predict(settings, 1, seed=30, x_greenlight_key="both")]
    kept(settings, names)
    file = tmp_path / "both.csv"
    file.write_text("key,label\nboth,1\nboth,0\n")
    taken = label_operation.take_file(project, file)
    assert (taken.ambiguous, taken.accepted, taken.exit_code) == (2, 0, 1)


def figures(settings: Settings) -> dict[str, float]:
    _, text = ask(settings, "/metrics")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_figures_count_scores_rows_and_the_log(settings: Settings) -> None:
    before = figures(settings)
    answers = predict(settings, 40, seed=40)
    kept(settings, [one["prediction_id"] for one in answers])
    assert wait_until(lambda: log_rows(figures(settings)) >= log_rows(before) + 40, 30, 0.1)
    after = figures(settings)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown('greenlight_score_count{kind="live",version="v1"}') == 40
    assert grown('greenlight_score_sum{kind="live",version="v1"}') == pytest.approx(
        sum(one["probability"] for one in answers)
    )
    half = sum(one["probability"] <= 0.5 for one in answers)
    assert grown('greenlight_score_bucket{kind="live",le="0.5",version="v1"}') == half
    assert grown('greenlight_request_rows_bucket{kind="live",le="25.0",version="v1"}') == 0
    assert grown('greenlight_request_rows_bucket{kind="live",le="50.0",version="v1"}') == 1
    assert grown('greenlight_answers_total{kind="live",status="200",version="v1"}') == 1
    assert after['greenlight_prediction_log_dropped_rows_total{reason="queue",version="v1"}'] == 0
    assert 0 <= after['greenlight_prediction_log_lag_seconds{version="v1"}'] < 30
    # What no user waits for is counted apart: played traffic here; copies are marked by the edge alone.
    predict(settings, 5, seed=41, x_greenlight_played="1", x_shadow="1")
    assert (
        figures(settings)['greenlight_score_count{kind="live",version="v1"}']
        == after['greenlight_score_count{kind="live",version="v1"}']
    )
    assert figures(settings)['greenlight_rows_total{kind="played",version="v1"}'] >= 5
    (build,) = [name for name in after if name.startswith("greenlight_build_info")]
    assert 'run="run-v1"' in build
    assert 'dataset="flight_delay"' in build


def log_rows(found: dict[str, float]) -> float:
    return found.get('greenlight_prediction_log_rows_total{version="v1"}', 0.0)


def test_killed_server_loses_at_most_what_was_not_written_and_tears_nothing(settings: Settings) -> None:
    """Clients keep asking while one process is killed. Every answer that is older than the log's pause is there."""
    serving = Serving(open_project(settings))
    answers: list[tuple[float, str]] = []
    end = threading.Event()

    def keep_asking() -> None:
        while not end.is_set():
            answers.append((time.time(), predict(settings)[0]["prediction_id"]))

    thread = threading.Thread(target=keep_asking)
    thread.start()
    victim = serving.supervisor.state("model-v1-1").pid
    time.sleep(0.8)
    killed_at = time.time()
    os.kill(victim, signal.SIGKILL)
    time.sleep(0.8)
    end.set()
    thread.join()
    settled = [name for at, name in answers if not killed_at - 1.0 < at <= killed_at]
    found = kept(settings, settled)
    assert found.height == len(settled) > 20
    rows = PredictionLog(settings.home).scan("v1").collect()
    assert rows["prediction_id"].is_unique().all()
    assert rows["row_json"].is_not_null().all()
    assert wait_until(lambda: serving.edge.healthy("v1") == 2, 30, 0.1)


def test_ended_servers_write_what_they_have_and_compact_keeps_every_row(settings: Settings) -> None:
    serving = Serving(open_project(settings))
    victims = [serving.supervisor.state(f"model-v1-{i}").pid for i in (1, 2)]
    names = [one["prediction_id"] for i in range(6) for one in predict(settings, 2, seed=50 + i)]
    for pid in victims:  # at once, before the quarter of a second is over: they write what they have and end
        os.kill(pid, signal.SIGTERM)
    assert wait_until(lambda: all(not processes.is_alive(pid) for pid in victims), 30, 0.05)
    assert kept(settings, names).height == 12
    before = PredictionLog(settings.home).scan().collect().height
    done = cli(settings, "predictions", "compact", "--json")
    assert json.loads(done.stdout)["rows"] > 0, done.stderr
    assert PredictionLog(settings.home).scan().collect().height == before
    found = prediction_operation.summary(settings)
    assert sum(day["rows"] for day in found["days"]) == before
    assert "v1" in cli(settings, "predictions").stdout
    assert wait_until(lambda: serving.edge.healthy("v1") == 2, 30, 0.1)


PROMETHEUS = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
- job_name: greenlight
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus on PATH (apt-get install prometheus)")
def test_real_prometheus_scrapes_it_and_evaluates_the_rules(settings: Settings, tmp_path: Path) -> None:
    config, port = tmp_path / "prometheus.yml", kit.free_port()
    rules = ROOT / "deploy" / "prometheus" / "alerts.yml"
    config.write_text(PROMETHEUS.format(rules=rules, port=settings.edge_port))
    predict(settings, 10)
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:

        def api(path: str) -> Any:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as reply:
                    return json.load(reply)["data"]
            except OSError:
                return None

        def scraped() -> bool:
            found = api("query?query=greenlight_rows_total")
            return bool(found and found["result"])

        assert wait_until(scraped, 30, 0.2), (tmp_path / "log").read_text()
        (target,) = api("targets")["activeTargets"]
        assert target["health"] == "up", target
        assert wait_until(
            lambda: all(rule["health"] == "ok" for group in api("rules")["groups"] for rule in group["rules"]), 15, 0.2
        ), api("rules")
        # Every expression of the dashboard is one that Prometheus takes, and the series it names are there.
        known = set(api("label/__name__/values"))
        for expression in expressions():
            query = urllib.parse.urlencode({"query": expression})
            assert api(f"query?{query}") is not None, expression
        assert {name for name in series_named() if name not in known} == set()
    finally:
        process.terminate()
        process.wait()


def expressions() -> list[str]:
    """What the dashboard asks, with Grafana's variables filled in."""
    board = json.loads((ROOT / "deploy" / "grafana" / "greenlight.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    return [text.replace("$__rate_interval", "1m").replace("$version", ".*").replace("$kind", "live") for text in found]


def series_named() -> set[str]:
    """Series that the dashboard and the alerts name and that a served version always has."""
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    names = set(re.findall(r"greenlight_[a-z_]+", " ".join(expressions()) + rules))
    # Only after the first value that training had not seen.
    return names - {"greenlight_unseen_categories_total"}
