"""The edge itself agrees with `assign`: a real Envoy, on unix sockets only, asked with many keys and salts."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenlight.adapters.edge import envoy_binary
from greenlight.adapters.waiting import wait_until
from greenlight.core.assignment import assign

SALTS = ("exp7", "churn-2026-11", "ä b")
WEIGHTS = (
    (("v2", 1000), ("v1", 9000)),
    (("v2", 1), ("v3", 2), ("v1", 4)),
    (("v2", 0), ("v1", 10)),
    (("v2", 7), ("v1", 0)),
)
KEYS = [f"user-{i}" for i in range(290)] + ["a", "user 1", "a:b", "x" * 500, "ä", "日本", "0", "-", "k=1;v", "%41"]
TYPE = "type.googleapis.com/envoy.extensions.filters"
CORS_FREE = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPE}.http.router.v3.Router"}}


def listener(path: Path, routes: list[dict[str, Any]]) -> dict[str, Any]:
    manager = {
        "@type": f"{TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": path.stem,
        "http_filters": [CORS_FREE],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": path.stem, "address": {"pipe": {"path": str(path)}}, "filter_chains": [chain]}


def split_route(prefix: str, salt: str, weights: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    rewrite = {"pattern": {"regex": "^(.*)$"}, "substitution": f"{salt}:\\1"}
    arms = [{"name": arm, "weight": weight} for arm, weight in weights]
    return {
        "match": {"prefix": prefix},
        "route": {
            "hash_policy": [{"header": {"header_name": "x-greenlight-key", "regex_rewrite": rewrite}}],
            "weighted_clusters": {"use_hash_policy": True, "clusters": arms},
        },
    }


def bootstrap(folder: Path) -> dict[str, Any]:
    """One front that splits by every salt and weight, and behind it a listener per arm that says its name."""
    cases = [(i, j, salt, weights) for i, salt in enumerate(SALTS) for j, weights in enumerate(WEIGHTS)]
    arms = ("v1", "v2", "v3")
    front = listener(folder / "front.sock", [split_route(f"/{i}/{j}/", salt, w) for i, j, salt, w in cases])
    answers = [
        listener(
            folder / f"{arm}.sock",
            [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": arm}}}],
        )
        for arm in arms
    ]
    clusters = [
        {
            "name": arm,
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": arm,
                "endpoints": [
                    {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(folder / f"{arm}.sock")}}}}]}
                ],
            },
        }
        for arm in arms
    ]
    return {"static_resources": {"listeners": [front, *answers], "clusters": clusters}}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("edge", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


@pytest.fixture(scope="module")
def front() -> Iterator[Path]:
    """A short folder of its own: the path of a unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="gl-") as name:
        folder = Path(name)
        (folder / "envoy.json").write_text(json.dumps(bootstrap(folder)))
        command = [envoy_binary(), "-c", str(folder / "envoy.json"), "--concurrency", "1", "--disable-hot-restart"]
        with (folder / "log").open("wb") as log:
            envoy = subprocess.Popen([*command, "--log-level", "warn"], stdout=log, stderr=log)
        try:
            up = wait_until(lambda: envoy.poll() is not None or answers(folder / "front.sock"), 30, 0.05)
            assert up, (folder / "log").read_text()
            assert envoy.poll() is None, (folder / "log").read_text()
            yield folder / "front.sock"
        finally:
            envoy.kill()
            envoy.wait(10)


def answers(path: Path) -> bool:
    try:
        return ask(UnixConnection(path), "/0/0/", "a") in {"v1", "v2"}
    except (OSError, http.client.HTTPException):
        return False


def ask(connection: UnixConnection, path: str, key: str) -> str:
    connection.request("GET", path, headers={"x-greenlight-key": key.encode()})  # type: ignore[dict-item]
    return connection.getresponse().read().decode()


@pytest.mark.parametrize("i", range(len(SALTS)))
@pytest.mark.parametrize("j", range(len(WEIGHTS)))
def test_the_edge_splits_as_it_is_recomputed(front: Path, i: int, j: int) -> None:
    connection = UnixConnection(front)
    wrong = {
        key: (said, mine)
        for key in KEYS
        if (said := ask(connection, f"/{i}/{j}/", key)) != (mine := assign(key, SALTS[i], WEIGHTS[j]))
    }
    connection.close()

    assert wrong == {}
