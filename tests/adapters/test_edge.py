"""The edge: real Envoy, real switches."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serving_kit as kit

from greenlight.adapters import edge_routes
from greenlight.adapters.edge import Edge, validate
from greenlight.adapters.waiting import wait_until
from greenlight.config import Settings
from greenlight.core.rollout import Traffic
from greenlight.errors import EdgeError

SERVER = textwrap.dedent("""
    import http.server, socketserver, sys, os
    class H(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            body = (sys.argv[2] + " " + self.headers.get("x-request-id", "")).encode()
            self.send_response(200); self.send_header("x-model-version", sys.argv[2])
            self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
        def address_string(self): return ""
        def log_message(self, *a): pass
    class S(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
    S(sys.argv[1], H).serve_forever()
""")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An edge with nothing live, and two small servers behind it."""
    home = tmp_path_factory.mktemp("edge")
    edge = Edge(Settings(root=home, home=home, edge_port=kit.free_port()))
    edge.prepare("", {})
    validate(edge.paths.bootstrap)
    sockets = {v: edge.paths.admin.parent / f"test-{v}.sock" for v in ("v1", "v2")}
    servers = [subprocess.Popen([sys.executable, "-c", SERVER, str(s), v]) for v, s in sockets.items()]
    envoy = subprocess.Popen(edge.command(), stderr=subprocess.DEVNULL)
    try:
        assert wait_until(edge.is_up, 30, 0.05)
        yield edge
    finally:
        for process in (*servers, envoy):
            process.kill()
            process.wait()


def get(edge: Edge, path: str, **headers: str) -> tuple[int, Any, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{edge.paths.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def switch(edge: Edge, version: str) -> None:
    """Move the traffic as a release does: once the edge sees the version answer; it must arrive within a second."""
    edge.wait_healthy(version, 1)
    assert edge.set_live(version) < 1
    assert wait_until(lambda: get(edge, "/predict")[1]["x-model-version"] == version, 30, 0.01)


def sockets(edge: Edge, *versions: str) -> dict[str, list[Path]]:
    return {v: [edge.paths.admin.parent / f"test-{v}.sock"] for v in versions}


def test_edge_from_nothing_to_a_version_and_on(edge: Edge) -> None:
    """Nothing live: 503 with what to do; then v1, then v2, each within a second of the switch."""
    status, headers, body = get(edge, "/predict")
    assert status == 503
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {"error": "no version is live yet", "todo": "run greenlight retrain"}
    edge.set_clusters(sockets(edge, "v1", "v2"))
    switch(edge, "v1")
    assert edge.live_on_file() == "v1"
    switch(edge, "v2")
    assert edge.active_requests("v2") == 0
    assert edge.active_requests("v99") == 0


def test_unknown_path_says_where_to_look(edge: Edge) -> None:
    edge.set_clusters(sockets(edge, "v1", "v2"))
    switch(edge, "v1")
    status, _, body = get(edge, "/nothing/here")
    assert status == 404
    assert "/docs" in json.loads(body)["todo"]


def test_request_id_of_the_client_survives_and_others_get_one(edge: Edge) -> None:
    edge.set_clusters(sockets(edge, "v1", "v2"))
    switch(edge, "v1")
    _, headers, body = get(edge, "/predict", **{"x-request-id": "mine-1"})
    assert headers["x-request-id"] == "mine-1"
    assert body == b"v1 mine-1"
    assert len(get(edge, "/predict")[1]["x-request-id"]) >= 32


def test_version_without_servers_answers_as_json(edge: Edge) -> None:
    edge.set_clusters({**sockets(edge, "v1", "v2"), "v3": [edge.paths.admin.parent / "nobody.sock"]})
    with pytest.raises(EdgeError, match="0 of 1 processes of v3"):
        edge.wait_healthy("v3", 1, timeout_s=0.3)
    edge.set_live("v3")
    assert wait_until(lambda: get(edge, "/predict")[0] == 503, 30, 0.01)
    status, headers, body = get(edge, "/predict")
    assert status == 503
    assert headers["content-type"] == "application/json"
    assert "no healthy upstream" in json.loads(body)["error"]
    edge.set_live("v1")


def test_refused_routes_leave_the_old_ones(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    edge.set_clusters(sockets(edge, "v1", "v2"))
    switch(edge, "v1")
    monkeypatch.setattr("greenlight.adapters.edge_routes.REQUEST_TIMEOUT_S", "soon")
    with pytest.raises(EdgeError, match="refused"):
        edge.set_live("v2")
    assert get(edge, "/predict")[1]["x-model-version"] == "v1"
    monkeypatch.undo()
    edge.set_live("v2")


def test_edge_that_is_down_says_what_to_do(tmp_path: Path) -> None:
    edge = Edge(Settings(root=tmp_path, home=tmp_path, edge_port=kit.free_port()))
    assert not edge.is_up()
    with pytest.raises(EdgeError, match="greenlight up"):
        edge.active_requests("v1")


def test_broken_start_file_is_refused_in_envoys_words(tmp_path: Path) -> None:
    file = tmp_path / "envoy.json"
    file.write_text('{"no_such_field": 1}')
    with pytest.raises(EdgeError, match="no_such_field"):
        validate(file)


def test_labels_are_sent_once() -> None:
    """A prediction may be asked again by the edge itself, a label may not."""
    (found,) = edge_routes.routes(Traffic(stable="v1"), "g1")["resources"]
    table = {route["match"].get("path"): route for route in found["virtual_hosts"][0]["routes"]}
    assert table["/labels"]["route"] == {"cluster": "model_v1", "timeout": "30s"}
    assert "retry_policy" in table["/predict"]["route"]
