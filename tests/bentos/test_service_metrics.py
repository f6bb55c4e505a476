"""What the service counts, what is asked when the model fails, and the rules that Prometheus is given."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import serving_kit as kit

from bentos.classifier import prediction_log
from bentos.classifier.api import create_app
from bentos.classifier.metrics import kind_of
from bentos.classifier.scorer import Scored
from greenlight.errors import ConfigError

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
BULK = """
import numpy as np
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from bentos.classifier.histograms import BulkHistogram
bounds = (0.1, 0.25, 0.5, 0.75, 1.0)
rng = np.random.default_rng(3)
for size in (1, 2, 8, 9, 1000):
    values = rng.random(size).astype(np.float32).tolist()
    values[0] = 0.25
    texts = []
    for many in (False, True):
        registry = CollectorRegistry()
        made = (BulkHistogram if many else Histogram)(f"h{size}_{many}", "x", ["v"], buckets=bounds, registry=registry)
        series = made.labels("v1")
        if many:
            series.observe_many(values)
        else:
            for value in values:
                series.observe(value)
        text = generate_latest(registry).decode().splitlines()
        texts.append([line for line in text if "_created" not in line])
    one, all_at_once = ([line.rpartition(" ") for line in text if not line.startswith("#")] for text in texts)
    assert [line[0].replace("False", "True") for line in one] == [line[0] for line in all_at_once]
    assert np.allclose([float(line[2]) for line in one], [float(line[2]) for line in all_at_once]), size
    (count,) = [float(line[2]) for line in one if "_count" in line[0]]
    assert count == size
print("EQUAL")
"""
DEAD = """
import os, sys
from pathlib import Path
from bentos.classifier.metrics import Counters, page
folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
if sys.argv[1] == "dies":
    Counters("v1").lag(99.0)
    os._exit(9)
Counters("v2").lag(0.5)
print(page(None).body.decode())
"""


def run(code: str, *args: str, **env: str) -> str:
    given = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | env
    done = subprocess.run([sys.executable, "-c", code, *args], env=given, capture_output=True, text=True)
    assert done.returncode in (0, 9), done.stderr
    return done.stdout


@pytest.mark.parametrize("shared", [False, True])
def test_many_values_at_once_count_as_one_by_one(tmp_path: Path, shared: bool) -> None:
    assert "EQUAL" in run(BULK, **({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if shared else {}))


def test_lag_of_a_killed_process_is_forgotten_and_one_page_tells_of_all_versions(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
    shared = {"GREENLIGHT_METRICS_FOLDER": str(tmp_path)}
    run(DEAD, "dies", PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "v1"), **shared)
    text = run(DEAD, "lives", PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "v2"), **shared)
    assert 'greenlight_prediction_log_lag_seconds{version="v1"} 99.0' in text
    assert 'greenlight_prediction_log_lag_seconds{version="v2"} 0.5' in text
    assert text.count("# TYPE greenlight_answers_total counter") <= 1
    text = run(DEAD, "lives", PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "v1"), **shared)
    assert "99.0" not in text


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({}, "live"), ({"x-shadow": "1"}, "shadow"), ({"x-greenlight-played": "1"}, "played"),
        ({"x-greenlight-played": "1", "x-shadow": "1"}, "shadow"), ({"x-shadow": "0", "x-other": "1"}, "live"),
        ({"x-shadow": "1" * 9}, "live"),
    ],
)  # fmt: skip
def test_kinds_of_requests_are_few_whatever_a_client_sends(headers: dict[str, str], kind: str) -> None:
    assert kind_of([(name.encode(), value.encode()) for name, value in headers.items()]) == kind


class Asked:
    """The application in this process, with a model that does what a test says."""

    def __init__(self, root: Path) -> None:
        self.app = create_app(root)

    def post(self, monkeypatch: pytest.MonkeyPatch, score: Any) -> tuple[int, Any, list[Any]]:
        async def ask() -> tuple[int, Any, list[Any]]:
            predict, sent, noted = self.app.state.predict, [], []
            async with self.app.router.lifespan_context(self.app):
                monkeypatch.setattr(predict.scorer, "score", score)
                predict.log = SimpleNamespace(add=noted.append, close=lambda: None)
                body = json.dumps({"rows": kit.requests(2)}).encode()

                async def receive() -> dict[str, Any]:
                    return {"type": "http.request", "body": body}

                async def send(message: Any) -> None:
                    sent.append(message)

                await predict({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send)
            return sent[0]["status"], json.loads(sent[1]["body"]), noted

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.workspace(tmp_path_factory.mktemp("metrics"), kit.small_model())


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.1, 1.1])
def test_what_is_no_probability_is_never_handed_out(root: Path, monkeypatch: pytest.MonkeyPatch, wrong: float) -> None:
    status, answer, noted = Asked(root).post(monkeypatch, lambda _: Scored([0.5, wrong], [True, False]))
    assert status == 502
    assert "1 of 2 rows, first row 1" in answer["error"]
    assert [(one.status, one.probability) for one in noted] == [(502, None)]


def test_model_that_raises_is_answered_as_json_and_kept_as_a_failure(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Any:
        raise np.linalg.LinAlgError("it broke")

    status, answer, noted = Asked(root).post(monkeypatch, broken)
    assert status == 500
    assert set(answer) == {"error", "details", "more"}
    assert "it broke" not in answer["error"]
    assert [(one.status, one.probability) for one in noted] == [(500, None)]


def test_private_column_that_no_request_has_is_an_error_and_not_kept_as_it_is() -> None:
    row = kit.DATASET.request.Row
    misspelt: Any = SimpleNamespace(name="d", private=frozenset({"tailnumber"}), request=SimpleNamespace(Row=row))
    with pytest.raises(ConfigError, match="tailnumber"):
        prediction_log.settings(misspelt)


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool on PATH (apt-get install prometheus)")
@pytest.mark.parametrize(
    "args",
    [("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")],
)
def test_promtool_takes_the_files(args: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *args], cwd=PROMETHEUS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
