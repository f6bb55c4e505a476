"""What a client can send, and what it gets: the application in this process, with a real model."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import serving_kit as kit

from bentos.classifier.api import create_app
from bentos.classifier.predict import MAX_BODY_BYTES, MAX_ROWS
from greenlight.core.model import Model

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ROOT = Path(__file__).resolve().parents[2]


class Api:
    """The application, asked one request at a time or many at once."""

    def __init__(self, app: Any, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")

    def post(self, content: bytes | Any, **headers: str) -> httpx.Response:
        return self.all([content], **headers)[0]

    def all(self, contents: list[Any], **headers: str) -> list[httpx.Response]:
        sent = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}

        async def ask() -> list[httpx.Response]:
            bodies = [c if isinstance(c, bytes) else json.dumps(c).encode() for c in contents]
            return await asyncio.gather(*[self._client.post("/predict", content=b, headers=sent) for b in bodies])

        return self._runner.run(ask())

    def request(self, method: str, path: str) -> httpx.Response:
        return self._runner.run(self._client.request(method, path))


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return kit.small_model()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> Iterator[Api]:
    root = kit.workspace(tmp_path_factory.mktemp("api"), files)
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    app = create_app(root)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        yield Api(app, runner)
        runner.run(lifespan.__aexit__(None, None, None))


ROW = kit.DATASET.request.EXAMPLE


def test_golden_rows_get_exactly_the_offline_scores(api: Api, files: dict[str, bytes]) -> None:
    golden = Model.from_files(files).golden
    answer = api.post({"rows": [g.request for g in golden]})
    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == "unbuilt"
    predictions = answer.json()["predictions"]
    assert [p["probability"] for p in predictions] == [g.probability for g in golden]
    assert [p["decision"] for p in predictions] == [g.decision for g in golden]
    assert len({p["prediction_id"] for p in predictions}) == len(golden)


def test_requests_scored_together_get_what_each_gets_alone(api: Api) -> None:
    bodies = [{"rows": kit.requests(n, seed=n)} for n in (1, 3, 1, 7, 2, 1, 1, 40)]
    alone = [[p["probability"] for p in api.post(b).json()["predictions"]] for b in bodies]
    together = [[p["probability"] for p in r.json()["predictions"]] for r in api.all(bodies)]
    assert together == alone


def test_wrong_request_beside_right_ones_spoils_none(api: Api) -> None:
    good, bad = {"rows": [ROW]}, {"rows": [{**ROW, "distance": "far"}]}
    assert [r.status_code for r in api.all([good, bad, good, b"{", good])] == [200, 422, 200, 400, 200]


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"distance": "1400"}, "distance", "number"),
        ({"distance": True}, "distance", "number"),
        ({"distance": [1]}, "distance", "number"),
        ({"distance": None}, "distance", "number"),
        ({"distance": -1}, "distance", "greater than 0"),
        ({"flight": 1.5}, "flight", "integer"),
        ({"flight": "12"}, "flight", "integer"),
        ({"carrier": 5}, "carrier", "string"),
        ({"carrier": "'; DROP"}, "carrier", "match"),
        ({"carrier": ""}, "carrier", "match"),
        ({"scheduled_departure": "yesterday"}, "scheduled_departure", "datetime"),
        ({"scheduled_departure": 5}, "scheduled_departure", "datetime"),
        ({"scheduled_departure": "2013-02-30T10:00:00"}, "scheduled_departure", "datetime"),
        ({"origin": {"code": "JFK"}}, "origin", "string"),
        ({"dep_delay": 12}, "dep_delay", "not a known field"),
    ],
)
def test_wrong_value_is_named_with_row_field_and_value(
    api: Api, change: dict[str, Any], field: str, problem: str
) -> None:
    answer = api.post({"rows": [ROW, {**ROW, **change}]})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/json"
    detail = answer.json()["details"][0]
    assert (detail["row"], detail["field"]) == (1, field)
    assert problem in detail["problem"], detail
    assert "row 1" in answer.json()["error"]
    assert field in answer.json()["error"]


def test_missing_field_is_named(api: Api) -> None:
    answer = api.post({"rows": [{k: v for k, v in ROW.items() if k != "carrier"}]})
    assert answer.status_code == 422
    assert answer.json()["details"] == [{"row": 0, "field": "carrier", "problem": "is required"}]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, "1" + "0" * 5000])
def test_numbers_that_are_none_are_refused(api: Api, text: str) -> None:
    body = json.dumps({"rows": [{**ROW, "distance": "@"}]}).replace('"@"', text).encode()
    answer = api.post(body)
    assert answer.status_code in (400, 422), answer.text
    assert "distance" in answer.text or "number out of range" in answer.text


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe\x00", 400, "not JSON"),
        (b'{"rows": [' + b"[" * 100_000, 400, "not JSON"),
        (b"[]", 422, "object"),
        (b"null", 422, "object"),
        (b'"rows"', 422, "object"),
        (b"{}", 422, "rows"),
        (b'{"rows": []}', 422, "at least 1 row"),
        (b'{"rows": {}}', 422, "rows"),
        (b'{"rows": [1]}', 422, "object"),
        (b'{"rows": [null]}', 422, "object"),
    ],
)
def test_bodies_that_are_no_request(api: Api, body: bytes, status: int, words: str) -> None:
    answer = api.post(body)
    assert answer.status_code == status
    assert words in answer.text
    assert set(answer.json()) == {"error", "details", "more"}


def test_unknown_key_beside_rows_is_refused(api: Api) -> None:
    answer = api.post({"rows": [ROW], "threshold": 0.9})
    assert answer.status_code == 422
    assert answer.json()["details"][0]["field"] == "threshold"


def test_other_content_types_are_refused_and_charset_is_fine(api: Api) -> None:
    assert api.post({"rows": [ROW]}, content_type="text/plain").status_code == 415
    assert (
        "application/x-www-form-urlencoded" in api.post(b"a=1", content_type="application/x-www-form-urlencoded").text
    )
    assert api.post({"rows": [ROW]}, content_type="application/JSON; charset=utf-8").status_code == 200


def test_packed_bodies_and_a_mark_before_the_text_are_read(api: Api) -> None:
    body = json.dumps({"rows": [ROW]}).encode()
    wanted = api.post(body).json()["predictions"][0]["probability"]
    packings = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress, "identity": bytes}
    for coding, pack in packings.items():
        for content in (body, b"\xef\xbb\xbf" + body):
            answer = api.post(pack(content), content_encoding=coding)
            assert answer.status_code == 200, answer.text
            assert answer.json()["predictions"][0]["probability"] == wanted


def test_a_bomb_is_too_large_and_an_unknown_coding_is_named(api: Api) -> None:
    for coding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd.compress)):
        answer = api.post(pack(b" " * (MAX_BODY_BYTES + 1)), content_encoding=coding)
        assert (answer.status_code, "8,388,608 bytes" in answer.json()["error"]) == (413, True)
        assert api.post(b"{}", content_encoding=coding).status_code == 400
    answer = api.post({"rows": [ROW]}, content_encoding="br2")
    assert answer.status_code == 415
    assert answer.json()["error"] == "Content-Encoding is 'br2', wanted gzip, deflate, zstd or none"


def test_most_rows_allowed_and_one_more(api: Api) -> None:
    most = api.post({"rows": [ROW] * MAX_ROWS})
    assert most.status_code == 200
    assert len(most.json()["predictions"]) == MAX_ROWS
    more = api.post({"rows": [ROW] * (MAX_ROWS + 1)})
    assert more.status_code == 422
    assert f"at most {MAX_ROWS} rows" in more.text
    assert len(more.content) < 2000


def test_too_large_a_body_is_refused_before_it_is_parsed(api: Api) -> None:
    answer = api.post(b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert f"{MAX_BODY_BYTES:,}" in answer.text


def test_many_wrong_values_are_counted_not_all_listed(api: Api) -> None:
    answer = api.post({"rows": [{**ROW, "distance": "x"}] * 500}).json()
    assert len(answer["details"]) == 20
    assert answer["more"] == 480


def test_other_methods_say_what_to_use(api: Api) -> None:
    answer = api.request("GET", "/predict")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert "POST /predict" in answer.text


def test_unseen_category_scores_as_missing_and_is_counted(api: Api) -> None:
    def counted() -> float:
        name, lines = "greenlight_unseen_categories_total{", api.request("GET", "/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name) and 'feature="carrier"' in line)

    before = counted()
    answer = api.post({"rows": [{**ROW, "carrier": "ZZ"}]})
    assert answer.status_code == 200
    assert counted() == before + 1
    assert np.isfinite(answer.json()["predictions"][0]["probability"])


def test_description_holds_rows_examples_and_errors(api: Api) -> None:
    spec = api.request("GET", "/openapi.json").json()
    row = spec["components"]["schemas"]["Row"]
    assert set(row["properties"]) == set(ROW)
    assert "carrier" in row["required"]
    operation = spec["paths"]["/predict"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["example"] == {"rows": [ROW]}
    assert {"200", "400", "413", "415", "422", "500", "502", "503"} == set(operation["responses"])
    assert {"error", "details", "more"} == set(spec["components"]["schemas"]["Error"]["properties"])
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert api.post(example).status_code == 200


def test_page_loads_nothing_from_elsewhere(api: Api) -> None:
    page = api.request("GET", "/docs").text
    assert "swagger-ui-bundle.js" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_server_imports_nothing_that_it_does_not_need() -> None:
    """Polars alone is 35 MB in every process, and a fifth of a second of its start."""
    code = (
        "import sys, bentos.classifier.service\n"
        "print(sorted({'polars', 'pandas', 'sklearn', 'pyarrow', 'scipy.stats'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
