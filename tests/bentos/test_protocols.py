"""Clients of other protocols, and tables, against the server process of a built bento, through a real edge."""

from __future__ import annotations

import gzip
import http.client
import http.server
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bentoml
import httpx
import numpy as np
import pandas as pd
import polars as pl
import psutil
import pytest
import schemathesis
import serving_kit as kit
import tritonclient.http as triton
from bentoml.exceptions import BentoMLException
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tritonclient.utils import InferenceServerException

from bentos.classifier.arrow_stream import END, encoded
from bentos.classifier.bulk import MAX_ROWS
from greenlight.adapters import model_servers
from greenlight.adapters.edge import Edge
from greenlight.adapters.prediction_log import PredictionLog
from greenlight.adapters.sockets import runtime_dir
from greenlight.adapters.waiting import wait_until
from greenlight.config import Settings
from greenlight.core.model import Golden, Model

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ROOT = Path(__file__).parents[2]
REQUEST = kit.DATASET.request
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
MODEL = kit.DATASET.name


class Collector:
    """Takes spans by OTLP over HTTP, as an OpenTelemetry collector does, and keeps them."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        collector = self

        class Taking(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path == "/v1/traces":
                    for resource in content["resourceSpans"]:
                        about = _plain(resource["resource"])
                        for scope in resource["scopeSpans"]:
                            collector.found += [{**span, **_plain(span), **about} for span in scope["spans"]]
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of(self, trace: str) -> list[dict[str, Any]]:
        return [span for span in self.found if span["traceId"] == trace]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _plain(of: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in of["attributes"]}


@dataclass
class Server:
    """One process of the version v3 behind an edge on TCP."""

    port: int
    process: psutil.Process
    http: httpx.Client
    home: Path
    spans: Collector

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def predict(self, rows: list[dict[str, Any]], query: str = "") -> list[dict[str, Any]]:
        answer = self.http.post(f"/predict{query}", json={"rows": rows})
        assert answer.status_code == 200, answer.text
        return answer.json()["predictions"]

    def bulk(self, frame: pl.DataFrame, kind: str = ARROW, accept: str = "*/*") -> httpx.Response:
        return self.http.post("/bulk", content=packed(frame, kind), headers={"content-type": kind, "accept": accept})

    def worker(self) -> psutil.Process:
        (found,) = [p for p in self.process.children() if "bentos.classifier.bulk_worker" in p.cmdline()]
        return found


@pytest.fixture(scope="module")
def golden() -> list[Golden]:
    return list(Model.from_files(kit.small_model(3)).golden)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, home = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("home")
    bento = kit.build(folder, home, "v3", 3)
    spans = Collector()
    made = Settings(root=home, home=home, edge_port=kit.free_port(), tracing=spans.address)
    socket, edge = runtime_dir(home) / "model-v3-1.sock", Edge(made)
    environment = {**os.environ, **model_servers.environment(home, home / "metrics"), **model_servers.keeping(made)}
    (home / "metrics").mkdir()
    edge.prepare("v3", {"v3": [socket]})
    with (home / "server.log").open("wb") as log:
        model = subprocess.Popen(
            model_servers.command(socket, with_parent=True), cwd=bento / "src", env=environment, stderr=log
        )
        envoy = subprocess.Popen(edge.command(), stderr=subprocess.DEVNULL)
    try:
        assert model_servers.wait_ready(socket, 60, lambda: model.poll() is None), (home / "server.log").read_text()
        assert wait_until(edge.is_up, 30, 0.05)
        edge.wait_healthy("v3", 1)
        with httpx.Client(base_url=f"http://127.0.0.1:{made.edge_port}", timeout=60) as client:
            yield Server(made.edge_port, psutil.Process(model.pid), client, home, spans)
        log_text = (home / "server.log").read_text()
        assert "Traceback" not in log_text, log_text
    finally:
        for process in (model, envoy):
            process.kill()
            process.wait()
        spans.close()


def packed(frame: pl.DataFrame, kind: str) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer) if kind == ARROW else frame.write_parquet(buffer)
    return buffer.getvalue()


def unpacked(answer: httpx.Response) -> pl.DataFrame:
    assert answer.status_code == 200, answer.text
    read = pl.read_ipc_stream if answer.headers["content-type"] == ARROW else pl.read_parquet
    return read(io.BytesIO(answer.content))


def table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    checked = [REQUEST.Row.model_validate(row).model_dump() for row in rows]
    return pl.DataFrame(checked, infer_schema_length=None)


def tensors(client: Any, rows: list[dict[str, Any]], binary: bool = True) -> list[Any]:
    """One tensor a column, of the datatype that the server declares; a column of nulls only is left out."""
    found = []
    for declared in client.get_model_metadata(MODEL)["inputs"]:
        name, kind = declared["name"], declared["datatype"]
        values = [row[name] for row in rows]
        if all(value is None for value in values):
            continue
        types = {"BYTES": np.object_, "INT64": np.int64, "FP64": np.float64}
        nothing = "" if kind == "BYTES" else np.nan
        array = np.array([nothing if value is None else value for value in values], dtype=types[kind])
        tensor = triton.InferInput(name, [len(rows)], kind)
        tensor.set_data_from_numpy(array, binary_data=binary)
        found.append(tensor)
    return found


def test_tritons_client_gets_the_golden_scores_to_the_bit(server: Server, golden: list[Golden]) -> None:
    client = triton.InferenceServerClient(server.address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "v3")
    assert not client.is_model_ready("other")
    assert not client.is_model_ready(MODEL, "v4")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata(MODEL, "v3")["versions"] == ["v3"]

    answer = client.infer(MODEL, tensors(client, [g.request for g in golden]), request_id="r-1", model_version="v3")

    expected = np.array([g.probability for g in golden], dtype=np.float32)
    assert answer.as_numpy("probability").tobytes() == expected.tobytes()
    assert answer.as_numpy("decision").tolist() == [g.decision for g in golden]
    assert len(set(answer.as_numpy("prediction_id").tolist())) == len(golden)
    assert answer.get_response()["id"] == "r-1"
    assert answer.get_response()["model_version"] == "v3"


def test_tritons_client_may_send_json_pack_it_and_choose_outputs(server: Server) -> None:
    client = triton.InferenceServerClient(server.address)
    rows = [{**row, "visib": 10.0} for row in kit.requests(5)]  # JSON tensors have no NaN
    wanted = [p["probability"] for p in server.predict(rows)]
    for how in (None, "gzip", "deflate"):
        outputs = [triton.InferRequestedOutput("probability", binary_data=False)]
        answer = client.infer(
            MODEL, tensors(client, rows, binary=False), outputs=outputs, request_compression_algorithm=how
        )
        assert [output["name"] for output in answer.get_response()["outputs"]] == ["probability"]
        assert answer.get_output("probability")["data"] == wanted


def test_tritons_client_hears_what_is_wrong(server: Server) -> None:
    client = triton.InferenceServerClient(server.address)
    with pytest.raises(InferenceServerException, match=r"row 1, field carrier.*match") as refused:
        client.infer(MODEL, tensors(client, [kit.requests(1)[0], {**kit.requests(1)[0], "carrier": "?"}]))
    assert refused.value.status() == "422"
    with pytest.raises(InferenceServerException, match="no model 'other'"):
        client.infer("other", tensors(client, kit.requests(1)))
    with pytest.raises(InferenceServerException, match=r"no version 'v9'.*holds v3"):
        client.infer(MODEL, tensors(client, kit.requests(1)), model_version="v9")
    odd = triton.InferInput("colour", [1], "BYTES")
    odd.set_data_from_numpy(np.array(["red"], dtype=np.object_))
    with pytest.raises(InferenceServerException, match="'colour' is not a known input"):
        client.infer(MODEL, [odd])


@pytest.mark.parametrize(
    ("head", "tail", "length", "status", "words"),
    [
        ({"inputs": [{"name": "distance", "shape": [1], "datatype": "FP64"}]}, b"", None, 422, "no data"),
        ({"inputs": []}, b"", None, 422, "inputs"),
        ({"inputs": [{"name": "distance", "shape": [2, 3], "datatype": "FP64"}]}, b"", None, 422, "shape"),
        ({"inputs": [{"name": "distance", "shape": [1], "datatype": "BYTES", "data": ["x"]}]}, b"", None, 422, "FP64"),
        (
            {"inputs": [{"name": "distance", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}]},
            b"1234",
            None,
            400,
            "missing",
        ),
        (
            {"inputs": [{"name": "carrier", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}]},
            b"\xff\0\0\0UA",
            None,
            400,
            "breaks off",
        ),
        (
            {"inputs": [{"name": "distance", "shape": [1], "datatype": "FP64", "data": [1]}]},
            b"zz",
            None,
            400,
            "no tensor",
        ),
        ({}, b"", 99999, 400, "Inference-Header-Content-Length"),
        (
            {
                "inputs": [
                    {"name": "distance", "shape": [1], "datatype": "FP64", "parameters": {"shared_memory_region": "a"}}
                ]
            },
            b"",
            None,
            422,
            "shared memory",
        ),
    ],
)
def test_wrong_tensors_are_refused_with_a_sentence(
    server: Server, head: dict[str, Any], tail: bytes, length: int | None, status: int, words: str
) -> None:
    content = json.dumps(head).encode()
    headers = {"inference-header-content-length": str(length or len(content))}
    answer = server.http.post(f"/v2/models/{MODEL}/infer", content=content + tail, headers=headers)
    assert (answer.status_code, set(answer.json())) == (status, {"error"})
    assert words in answer.json()["error"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_every_path_reads_packed_bodies(server: Server, coding: str) -> None:
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}[coding]
    rows = kit.requests(3)
    wanted = [p["probability"] for p in server.predict(rows)]
    tensor = {"name": "distance", "shape": [1], "datatype": "FP64", "data": ["x"]}
    bodies: dict[str, tuple[Any, int]] = {
        "/predict": ({"rows": rows}, 200),
        f"/v1/models/{MODEL}:predict": ({"instances": rows}, 200),
        f"/v2/models/{MODEL}/infer": ({"inputs": [tensor]}, 422),
        "/labels": ({"labels": [{"prediction_id": "no", "label": True}]}, 422),
    }
    headers = {"content-type": "application/json", "content-encoding": coding}
    for path, (body, status) in bodies.items():
        for content in (json.dumps(body).encode(), b"\xef\xbb\xbf" + json.dumps(body).encode()):
            answer = server.http.post(path, content=pack(content), headers=headers)
            assert (path, answer.status_code) == (path, status), answer.text
        assert "not JSON" not in answer.text
        assert server.http.post(path, content=pack(b" " * 9_000_000), headers=headers).status_code == 413
        named = server.http.post(path, json=body, headers={"content-encoding": "br2"})
        assert (named.status_code, "'br2'" in named.text) == (415, True)
    sent = pack(packed(table(rows), ARROW))
    answer = server.http.post("/bulk", content=sent, headers={"content-type": ARROW, "content-encoding": coding})
    assert unpacked(answer)["probability"].to_list() == wanted
    broken = server.http.post("/bulk", content=sent[:-9], headers={"content-type": ARROW, "content-encoding": coding})
    assert (broken.status_code, "breaks off" in broken.text) == (400, True)
    assert unpacked(server.bulk(table(rows)))["probability"].to_list() == wanted, "the next table meets no rest of it"


@pytest.mark.parametrize("keep", [b"", b"connection: keep-alive\r\n"])
def test_the_servers_own_socket_answers_http_1_0_and_closes(server: Server, keep: bytes) -> None:
    body = json.dumps({"rows": kit.requests(1)}).encode()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(runtime_dir(server.home) / "model-v3-1.sock"))
        client.sendall(b"POST /predict HTTP/1.0\r\n%scontent-length: %d\r\n\r\n%s" % (keep, len(body), body))
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, len(json.loads(answer.read())["predictions"])) == (200, 1)
        assert answer.headers["connection"] == "close"
        assert client.recv(1) == b""


def test_an_answer_is_packed_by_the_edge(server: Server) -> None:
    asked = {"rows": kit.requests(200)}
    answer = server.http.post("/predict", json=asked, headers={"accept-encoding": "gzip"})
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert len(answer.json()["predictions"]) == 200


def test_tensorflow_servings_paths_answer_by_row_and_by_column(server: Server) -> None:
    rows = kit.requests(4)
    wanted = [p["probability"] for p in server.predict(rows)]
    by_row = server.http.post(f"/v1/models/{MODEL}:predict", json={"instances": rows})
    assert [p["probability"] for p in by_row.json()["predictions"]] == wanted
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for version in ("3", "v3"):
        body = {"inputs": columns, "signature_name": "serving_default"}
        by_column = server.http.post(f"/v1/models/{MODEL}/versions/{version}:predict", json=body)
        assert by_column.json()["outputs"]["probability"] == wanted
        assert by_column.headers["x-model-version"] == "v3"
    state = server.http.get(f"/v1/models/{MODEL}").json()["model_version_status"]
    assert [(s["version"], s["state"], s["status"]["error_code"]) for s in state] == [("3", "AVAILABLE", "OK")]


def test_tensorflow_servings_errors_are_one_sentence(server: Server) -> None:
    def asked(path: str, body: Any, **headers: str) -> tuple[int, str]:
        answer = server.http.post(f"/v1/models/{path}:predict", json=body, headers=headers)
        assert answer.status_code == 200 or set(answer.json()) == {"error"}
        return answer.status_code, answer.text

    row = kit.requests(1)[0]
    good = {"instances": [row]}
    assert asked("other", good)[0] == 404
    assert asked(f"{MODEL}/versions/4", good)[0] == 404
    status, text = asked(f"{MODEL}/labels/other", good)
    assert (status, "x-model-pin: other" in text) == (404, True)
    assert asked(f"{MODEL}/labels/stable", good)[0] == 200, "the edge says what a label stands for"
    assert asked(f"{MODEL}/labels/stable", good, **{"x-model-pin": "stable"})[0] == 200
    assert "row 0, field distance" in asked(MODEL, {"instances": [{**row, "distance": "x"}]})[1]
    assert asked(MODEL, {"instances": [row], "inputs": {}})[0] == 422
    assert asked(MODEL, {"inputs": {"distance": [1, 2], "carrier": ["UA"]}})[0] == 422
    assert asked(MODEL, {"instances": 5})[0] == 422
    assert asked(MODEL, [])[0] == 422
    assert asked(MODEL, {**good, "signature_name": "other"})[0] == 404
    assert server.http.get(f"/v1/models/{MODEL}/versions/4").status_code == 404
    wrong = server.http.get(f"/v1/models/{MODEL}:predict")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_tensorflow_servings_metadata_declares_what_predict_takes(server: Server) -> None:
    for path in (f"/v1/models/{MODEL}/metadata", f"/v1/models/{MODEL}/versions/3/metadata"):
        found = server.http.get(path).json()
        assert found["model_spec"] == {"name": MODEL, "signature_name": "", "version": "3"}
        signature = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["inputs"].keys() == REQUEST.Row.model_fields.keys()
        assert signature["inputs"]["distance"]["dtype"] == "DT_DOUBLE"
        assert signature["outputs"].keys() == {"probability", "decision", "prediction_id"}


def kept(server: Server, prediction: str) -> bool:
    found = PredictionLog(server.home).scan("v3").filter(pl.col("prediction_id") == prediction)
    return found.collect().height == 1


def test_tensorflow_servings_classify_and_regress_score_as_predict(server: Server) -> None:
    rows = kit.requests(3)
    wanted = [p["probability"] for p in server.predict(rows)]
    shared, listed = (
        {"distance": rows[0]["distance"]},
        [{k: [v] for k, v in row.items() if k != "distance"} for row in rows],
    )
    for body in ({"examples": rows}, {"context": shared, "examples": listed}):
        answer = server.http.post(f"/v1/models/{MODEL}:regress", json=body)
        assert answer.json() == {"result": wanted}
        classes = server.http.post(f"/v1/models/{MODEL}/versions/3:classify", json=body).json()["result"]
        assert [dict(one) for one in classes] == [{"false": 1 - p, "true": p} for p in wanted]
    name = answer.headers["x-prediction-name"]
    assert wait_until(lambda: kept(server, f"{name}-2"), 10, 0.1), "kept like every prediction"
    for wrong in (
        {},
        {"examples": {}},
        {"examples": [1]},
        {"examples": [{"carrier": "UA"}]},
        {"instances": rows},
        {"examples": rows, "context": 1},
    ):
        answer = server.http.post(f"/v1/models/{MODEL}:classify", json=wrong)
        assert (answer.status_code, set(answer.json())) == (422, {"error"})
    assert server.http.get(f"/v1/models/{MODEL}:regress").headers["allow"] == "POST"


def test_mlflows_clients_get_the_scores_whatever_the_shape(server: Server) -> None:
    rows = kit.requests(3)
    wanted = [p["probability"] for p in server.predict(rows)]
    frame = pd.DataFrame(rows)
    frame["flight"] = frame["flight"].astype(float)  # as pandas has whole numbers beside one that is missing
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    shapes: dict[str, Any] = {
        "dataframe_split": json.loads(frame.to_json(orient="split")),
        "dataframe_records": json.loads(frame.to_json(orient="records")),
        "instances": rows,
        "inputs": columns,
    }
    for shape, data in shapes.items():
        answer = server.http.post("/invocations", json={shape: data, "params": {}})
        assert answer.status_code == 200, (shape, answer.text)
        assert [p["probability"] for p in answer.json()["predictions"]] == wanted
    answer = server.http.post(
        "/invocations", content=frame.to_csv(index=False), headers={"content-type": "text/csv; charset=utf-8"}
    )
    assert [p["probability"] for p in answer.json()["predictions"]] == wanted, answer.text
    name = answer.json()["predictions"][2]["prediction_id"]
    assert wait_until(lambda: kept(server, name), 10, 0.1), "kept like every prediction"
    for path in ("/ping", "/health"):
        assert server.http.get(path).status_code == server.http.head(path).status_code == 200
    assert re.fullmatch(r"[0-9.]+", server.http.get("/version").text)


@pytest.mark.parametrize(
    ("kind", "body", "status", "words"),
    [
        ("application/json", "[1]", 422, "object"),
        ("application/json", "{", 400, "not JSON"),
        ("application/json", "{}", 422, "exactly one of dataframe_split"),
        ("application/json", '{"instances": [], "inputs": {}}', 422, "exactly one"),
        ("application/json", '{"inputs": [[1, 2]]}', 422, "columns' names"),
        ("application/json", '{"inputs": {"a": 1}}', 422, "list of values per column"),
        ("application/json", '{"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}', 422, "row 0 of `data`"),
        ("application/json", '{"dataframe_split": {"columns": ["a", "a"], "data": []}}', 422, "once"),
        ("application/json", '{"dataframe_split": [1]}', 422, "`columns` and `data`"),
        ("application/json", '{"instances": [], "params": {"t": 1}}', 422, "params"),
        ("application/json", '{"instances": [], "other": 1}', 422, "'other' is not a known key"),
        ("application/json", '{"instances": [{"distance": "x"}]}', 422, "row 0, field"),
        ("text/csv", "a,a\n1,2\n", 422, "'a' is there twice"),
        ("text/csv", "a,b\n1\n", 422, "row 0 has 1 values, the header names 2"),
        ("text/csv", 'a,b\n"1,2\n', 400, "not CSV"),
        ("text/csv", b"a\n\xff\n", 400, "not UTF-8"),
        ("text/csv", "", 422, "at least 1 row"),
        ("text/plain", "a", 415, "'text/plain'"),
    ],
)
def test_mlflows_clients_hear_what_is_wrong(server: Server, kind: str, body: Any, status: int, words: str) -> None:
    answer = server.http.post("/invocations", content=body, headers={"content-type": kind})
    assert (answer.status_code, set(answer.json())) == (status, {"error_code", "message"})
    assert (words in answer.json()["message"], answer.json()["error_code"]) == (True, "BAD_REQUEST"), answer.text


def test_bentomls_own_client_predicts(server: Server) -> None:
    rows = kit.requests(2)
    wanted = [p["probability"] for p in server.predict(rows)]
    for url in (f"http://{server.address}", f"file://{runtime_dir(server.home) / 'model-v3-1.sock'}"):
        with bentoml.SyncHTTPClient(url) as client:
            found = client.predict(rows=rows)
            assert [p["probability"] for p in found["predictions"]] == wanted
            with pytest.raises(BentoMLException, match="field distance"):
                client.predict(rows=[{**rows[0], "distance": "x"}])


def test_tritons_client_reads_the_configuration_and_hears_of_what_is_not_here(server: Server) -> None:
    client = triton.InferenceServerClient(server.address)
    found = client.get_model_config(MODEL)
    assert {c["name"]: c["data_type"] for c in found["output"]} == {
        "probability": "TYPE_FP32",
        "decision": "TYPE_BOOL",
        "prediction_id": "TYPE_STRING",
    }
    assert {c["name"] for c in found["input"]} == REQUEST.Row.model_fields.keys()
    with pytest.raises(InferenceServerException, match="/metrics"):
        client.get_inference_statistics(MODEL)
    rows = kit.requests(1)
    for asked, words in (
        ({"sequence_id": 7, "sequence_start": True}, "no sequences"),
        ({"priority": 1}, "priority"),
        ({"timeout": 1000}, "timeout"),
        ({"outputs": [triton.InferRequestedOutput("probability", class_count=2)]}, "classification"),
    ):
        with pytest.raises(InferenceServerException, match=words) as refused:
            client.infer(MODEL, tensors(client, rows), **asked)
        assert refused.value.status() == "422"
    assert client.infer(MODEL, tensors(client, rows), sequence_id=0).as_numpy("probability").shape == (1,)


@pytest.mark.parametrize("kind", [ARROW, PARQUET])
def test_a_table_gets_the_golden_scores_to_the_bit(server: Server, golden: list[Golden], kind: str) -> None:
    rows = [g.request for g in golden]
    answer = server.bulk(table(rows), kind)
    found = unpacked(answer)
    assert answer.headers["content-type"] == kind
    assert found["probability"].to_numpy().tobytes() == np.array([g.probability for g in golden], np.float32).tobytes()
    assert found["decision"].to_list() == [g.decision for g in golden]
    assert set(found["model_version"]) == {"v3"}
    assert [name.rpartition("-")[2] for name in found["prediction_id"]] == [str(i) for i in range(len(rows))]
    other = PARQUET if kind == ARROW else ARROW
    assert unpacked(server.bulk(table(rows), kind, accept=other))["probability"].equals(found["probability"])


def test_answers_to_a_table_are_kept_so_that_their_labels_count(server: Server) -> None:
    answer = server.http.post(
        "/bulk",
        content=packed(pl.concat([table(kit.requests(1000, 8))] * 25), PARQUET),
        headers={"content-type": PARQUET, "x-request-id": "table-8", "x-greenlight-key": "nightly"},
    )
    answers = unpacked(answer).sort("prediction_id")
    log = PredictionLog(server.home)
    assert wait_until(lambda: mine_now(server).height == 25_000, 10, 0.05)
    found = mine_now(server).sort("prediction_id")
    for column in ("prediction_id", "probability", "decision"):
        assert found[column].equals(answers[column]), column
    assert found["row"].sort().to_list() == list(range(25_000))
    assert set(found["key"]) == {"nightly"}
    assert found["row_json"].is_null().all()
    assert log.scan("v3").filter(pl.col("request_id") == "table-8").collect().height == 0
    last = {"prediction_id": f"{found['prediction_id'][0].partition('-')[0]}-1999999", "label": True}
    assert server.http.post("/labels", json={"labels": [last]}).json()["accepted"] == 1


def mine_now(server: Server) -> pl.DataFrame:
    """A file of lines is read when it is asked for."""
    return PredictionLog(server.home).scan("v3", tables=True).filter(pl.col("request_id") == "table-8").collect()


def test_spans_of_requests_arrive_in_the_trace_that_the_client_began(server: Server) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    ids = []
    for path, body in (
        ("/predict", {"rows": [REQUEST.EXAMPLE]}),
        (f"/v1/models/{MODEL}:predict", {"instances": [REQUEST.EXAMPLE]}),
        ("/predict", {"rows": [{}]}),
    ):
        answer = server.http.post(path, json=body, headers={"traceparent": f"00-{trace}-{parent}-01"})
        assert answer.headers["x-trace-id"] == trace
        ids.append(answer.headers["x-request-id"])
    assert wait_until(lambda: len(server.spans.of(trace)) == 3, 20, 0.05), server.spans.found
    found = {span["greenlight.request_id"]: span for span in server.spans.of(trace)}
    assert list(found) == ids
    assert {span["parentSpanId"] for span in found.values()} == {parent}
    assert len({span["spanId"] for span in found.values()}) == 3
    first, _, wrong = found.values()
    assert (first["name"], first["kind"], first["service.version"]) == ("POST /predict", 2, "v3")
    assert [span["http.response.status_code"] for span in found.values()] == ["200", "200", "422"]
    assert wrong["status"] == {"code": 1}, "a client's mistake is no error of the server"
    assert 0 < int(first["endTimeUnixNano"]) - int(first["startTimeUnixNano"]) < 60e9
    log = PredictionLog(server.home).scan("v3")
    assert wait_until(lambda: kept_of(server, trace) == set(ids[:2]), 10, 0.05), log.collect()


def kept_of(server: Server, trace: str) -> set[str]:
    found = PredictionLog(server.home).scan("v3").filter(pl.col("trace_id") == trace).collect()
    return set(found["request_id"])


@pytest.mark.parametrize("sent", [None, "00-" + "0" * 32 + "-b7ad6b7169203331-01", "nonsense", "ff"])
def test_request_without_a_trace_that_holds_begins_one(server: Server, sent: str | None) -> None:
    headers = {"traceparent": sent} if sent else {}
    begun = server.http.post("/predict", json={"rows": [REQUEST.EXAMPLE]}, headers=headers).headers["x-trace-id"]
    assert len(begun) == 32
    assert begun != "0" * 32
    assert wait_until(lambda: len(server.spans.of(begun)) == 1, 20, 0.05)
    assert "parentSpanId" not in server.spans.of(begun)[0]


def test_trace_that_its_beginner_does_not_record_is_passed_on_and_not_sent(server: Server) -> None:
    trace = "1" * 32
    unwanted = {"traceparent": f"00-{trace}-{'2' * 16}-00"}
    answer = server.http.post("/predict", json={"rows": [REQUEST.EXAMPLE]}, headers=unwanted)
    assert answer.headers["x-trace-id"] == trace
    later = server.http.post("/predict", json={"rows": [REQUEST.EXAMPLE]}).headers["x-trace-id"]
    assert wait_until(lambda: len(server.spans.of(later)) == 1, 20, 0.05)
    assert server.spans.of(trace) == []


def test_columns_may_be_dictionaries_text_times_or_missing(server: Server) -> None:
    rows = kit.requests(300)
    wanted = unpacked(server.bulk(table(rows)))["probability"]
    frame = table(rows).drop("wind_gust").cast({"carrier": pl.Categorical, "distance": pl.Int32, "temp": pl.Float64})
    frame = frame.with_columns(pl.Series("scheduled_departure", [row["scheduled_departure"] for row in rows]))
    for kind in (ARROW, PARQUET):
        assert unpacked(server.bulk(frame, kind))["probability"].equals(wanted)
    small = [encoded(frame[start : start + 7], begin=not start) for start in range(0, 300, 7)]
    many = server.http.post("/bulk", content=b"".join(small) + END, headers={"content-type": ARROW})
    assert unpacked(many)["probability"].equals(wanted)
    assert unpacked(server.bulk(table(rows).head(0))).height == 0


@pytest.mark.parametrize("kind", [ARROW, PARQUET])
def test_wrong_tables_are_refused_with_column_and_row(server: Server, kind: str) -> None:
    frame = table(kit.requests(70_000 // 10)).lazy().collect()
    frame = pl.concat([frame] * 10)
    far = frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 66_000).then(-1.0).otherwise(pl.col("distance")).alias("distance")
    )
    answer = server.bulk(far, kind).json()
    assert answer["details"] == [
        {"row": 66_000, "field": "distance", "problem": "should be greater than 0", "value": -1.0}
    ]
    assert "row 66000, field distance" in answer["error"]
    columns = server.bulk(frame.head(3).drop("carrier").with_columns(dep_delay=pl.lit(1)), kind).json()
    assert {(d["field"], d["problem"]) for d in columns["details"]} == {
        ("carrier", "is required"),
        ("dep_delay", "is not a known column"),
    }
    typed = server.bulk(frame.head(3).with_columns(pl.col("distance").cast(pl.String)), kind)
    assert (typed.status_code, typed.json()["details"][0]["problem"]) == (422, "should be a column of Float64")
    half = packed(frame.head(500), kind)
    torn = server.http.post("/bulk", content=half[: len(half) // 2], headers={"content-type": kind})
    assert torn.status_code == 400
    other = server.http.post("/bulk", content=b"a,b\n", headers={"content-type": "text/csv"})
    assert other.status_code == 415


def test_more_rows_than_allowed_are_refused_before_they_are_read(server: Server) -> None:
    flat = pl.DataFrame({"carrier": pl.repeat(None, MAX_ROWS + 1, dtype=pl.String, eager=True)})
    answer = server.bulk(flat, PARQUET)
    assert (answer.status_code, f"{MAX_ROWS:,}" in answer.text) == (413, True)


def test_single_rows_are_answered_while_a_table_is_scored(server: Server) -> None:
    frame = pl.concat([table(kit.requests(2000))] * 100)
    server.bulk(frame.head(10))  # its process has started
    done: list[httpx.Response] = []
    work = threading.Thread(target=lambda: done.append(server.bulk(frame)))
    work.start()
    waits = []
    with httpx.Client(base_url=str(server.http.base_url)) as other:
        while work.is_alive():
            begun = time.perf_counter()
            assert other.post("/predict", json={"rows": kit.requests(1)}).status_code == 200
            waits.append(time.perf_counter() - begun)
    work.join()
    assert unpacked(done[0]).height == 200_000
    assert len(waits) > 20
    assert sorted(waits)[len(waits) // 2] < 0.1, "the median of a row beside a table"


def test_a_table_whose_process_dies_is_an_error_and_the_next_one_is_not(server: Server) -> None:
    rows = table(kit.requests(50))
    assert unpacked(server.bulk(rows)).height == 50
    content = packed(pl.concat([rows] * 2000), ARROW)

    def parts() -> Iterator[bytes]:
        yield content[:1000]
        server.worker().kill()
        yield content[1000:]

    answer = server.http.post("/bulk", content=parts(), headers={"content-type": ARROW})
    assert (answer.status_code, "could not be processed" in answer.json()["error"]) == (413, True)
    assert unpacked(server.bulk(rows)).height == 50


@pytest.mark.parametrize("page", ["serving", "predictions"])
def test_examples_of_the_pages_do_what_the_pages_say(server: Server, page: str, tmp_path: Path) -> None:
    """Each block with a request is run as it stands, but for the port; what stands below a request is its answer."""
    table(kit.requests(30)).write_parquet(tmp_path / "flights.parquet")
    (tmp_path / ".greenlight").symlink_to(server.home)
    run = 0
    for kind, block in re.findall(r"```(sh|python)\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.S):
        if kind == "sh" and "curl" not in block:
            continue  # commands: they are tried where they belong
        said = [line for line in block.splitlines() if line.startswith("{")]
        script = "\n".join(line for line in block.splitlines() if not line.startswith("{"))
        script = script.replace(":8700", f":{server.port}").replace("curl -s", "curl -sS --fail-with-body")
        command = ["bash", "-euo", "pipefail", "-c"] if kind == "sh" else [sys.executable, "-c"]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run([*command, script], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        if said:
            assert [json.loads(line) for line in done.stdout.splitlines()] == [json.loads(line) for line in said]
        run += 1
    assert run == {"serving": 8, "predictions": 2}[page]
    if page == "serving":
        assert pl.read_parquet(tmp_path / "scores.parquet").height == 30


def test_an_explanation_adds_up_to_the_score(server: Server) -> None:
    for prediction in server.predict(kit.requests(5), "?explain=true"):
        why = prediction["explanation"]
        odds = why["base"] + sum(why["contributions"].values())
        assert 1 / (1 + np.exp(-odds)) == pytest.approx(prediction["probability"], abs=1e-5)
        assert set(why["contributions"]) == {f.name for f in kit.DATASET.features.FEATURES}
    assert "explanation" not in server.predict(kit.requests(1), "?explain=false")[0]
    by_header = server.http.post("/predict", json={"rows": kit.requests(1)}, headers={"x-explain": "true"})
    assert "explanation" in by_header.json()["predictions"][0]
    for query, count in (("?explain=maybe", 1), ("?explain=1", 101)):
        refused = server.http.post(f"/predict{query}", json={"rows": kit.requests(count)})
        assert refused.status_code == 422


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(sorted(REQUEST.EXAMPLE))


@settings(max_examples=25, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(changes=st.dictionaries(NAMES, VALUES, max_size=4), raw=st.binary(max_size=200), odd=VALUES)
def test_whatever_is_sent_is_no_fault_of_the_server(
    server: Server, changes: dict[str, Any], raw: bytes, odd: Any
) -> None:
    row = {**REQUEST.EXAMPLE, **changes}
    shaped = [
        {"name": k, "shape": [1], "datatype": "BYTES" if isinstance(v, str) else "FP64", "data": [v]}
        for k, v in row.items()
    ]
    bodies = {
        "/predict": [{"rows": [row]}, {"rows": odd}],
        f"/v1/models/{MODEL}:predict": [{"instances": [row]}, {"instances": odd}, {"inputs": odd}, odd],
        "/labels": [{"labels": odd}, {"labels": [odd]}, {"labels": [{"prediction_id": odd, "label": odd}]}],
        f"/v2/models/{MODEL}/infer": [{"inputs": shaped}, {"inputs": odd}, {"inputs": [odd]}, odd],
    }
    answers = []
    for path, values in bodies.items():
        contents = [json.dumps(value).encode() for value in values] + [raw]
        answers += [
            server.http.post(path, content=content, headers={"content-type": "application/json"})
            for content in contents
        ]
    for kind in (ARROW, PARQUET):
        head = packed(table([REQUEST.EXAMPLE]), kind)
        cut = head[: len(raw) * 7 % len(head)] + raw + head[len(raw) * 5 % len(head) :]
        for content in (raw, cut):
            answers.append(server.http.post("/bulk", content=content, headers={"content-type": kind}))
    wrong = [(a.request.url.path, a.status_code, a.text[:300]) for a in answers if a.status_code not in KNOWN]
    assert not wrong
    assert all(a.status_code == 200 or "error" in a.json() for a in answers)


KNOWN = (200, 400, 413, 415, 422)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@schemathesis.serializer(ARROW, PARQUET)
def as_bytes(_: Any, value: Any) -> bytes:
    """Made-up tables: whatever bytes were made up, and a real one in front of them now and then."""
    made = value if isinstance(value, bytes) else str(value).encode()
    return packed(table([REQUEST.EXAMPLE]), ARROW) + made if len(made) % 3 == 0 else made


def fuzz(server: Server, examples: int) -> int:
    """Ask every operation of the server's own OpenAPI document with made-up requests; returns how many there are."""
    schema = schemathesis.openapi.from_url(f"http://{server.address}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in operations:

        @settings(
            max_examples=examples, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
        )
        @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)))
        def ask(case: Any) -> None:
            case.call_and_validate(checks=CHECKS, timeout=60)  # whatever hangs is a failure

        ask()
    return len(operations)


def test_the_server_is_what_its_document_says(server: Server) -> None:
    assert fuzz(server, 4) >= 15


@pytest.mark.slow
def test_the_server_is_what_its_document_says_at_length(server: Server) -> None:
    before = server.process.memory_info().rss
    assert fuzz(server, 100) >= 15
    assert server.process.memory_info().rss - before < 100e6
