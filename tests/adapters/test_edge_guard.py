"""What the edge refuses, and that it lets nobody down while keys and certificates change: real Envoy, real sockets."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import serving_kit as kit
from certificate_kit import certificate

from bentos.classifier.codings import Unpacker
from greenlight.adapters import edge_log, tls
from greenlight.adapters.client_keys import OWN, ClientKeys, identity
from greenlight.adapters.edge import Edge
from greenlight.adapters.edge_client import connect, credentials
from greenlight.adapters.edge_drain import drain
from greenlight.adapters.waiting import wait_until
from greenlight.config import Settings
from greenlight.errors import ConfigError, EdgeError, NotFound, UsageError

# Answers with the headers and the size of the body that it got; `?s=0.5` makes it wait.
SERVER = textwrap.dedent("""
    import http.server, json, socketserver, sys, time
    class H(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_POST(self):
            got = self.rfile.read(int(self.headers.get("content-length") or 0))
            time.sleep(float(self.path.partition("s=")[2] or 0))
            headers = {k.lower(): v for k, v in self.headers.items()}
            body = json.dumps({"headers": headers, "size": len(got)}).encode()
            self.send_response(200); self.send_header("x-model-version", "v1")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
        do_GET = do_POST
        def address_string(self): return ""
        def log_message(self, *a): pass
    class S(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        request_queue_size = 64
    S(sys.argv[1], H).serve_forever()
""")
Headers = dict[str, str]


class Lab:
    """An edge with these settings in front of one server."""

    def __init__(self, home: Path, upstream: Path, **settings: Any) -> None:
        self.settings = Settings(root=home, home=home, edge_port=kit.free_port(), **settings)
        self.edge = Edge(self.settings)
        self.keys = ClientKeys(self.edge)
        self.log = home / "envoy.log"
        self.edge.prepare("v1", {"v1": [upstream]})
        if self.settings.client_keys:
            self.keys.ensure_own()
        tls.install(self.edge, self.settings)
        with self.log.open("wb") as log:
            self.envoy = subprocess.Popen(self.edge.command(), stderr=log)

    def ready(self) -> None:
        assert wait_until(self.edge.is_up, 30, 0.02), self.log.read_text()
        self.edge.wait_healthy("v1", 1)

    def ask(self, method: str = "POST", path: str = "/predict", body: Any = None, **headers: str) -> Reply:
        connection = connect(self.settings, 15)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named, encode_chunked=hasattr(body, "__next__"))
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def raw(self, content: bytes, timeout_s: float = 15) -> bytes:
        """Send bytes, and read until the edge closes."""
        with socket.create_connection(("127.0.0.1", self.settings.edge_port), timeout_s) as client:
            client.sendall(content)
            return b"".join(iter(lambda: client.recv(65536), b""))

    def end(self) -> None:
        self.envoy.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.envoy.wait(10)
        self.envoy.kill()
        self.envoy.wait()


class Reply:
    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status, self.body = status, body
        self.headers = {name.lower(): value for name, value in headers.items()}

    @property
    def seen(self) -> Headers:
        """Headers as the server got them."""
        found: Headers = json.loads(self.body)["headers"]
        return found

    def refused(self, status: int) -> dict[str, str]:
        """The body of a refusal: JSON with what is wrong and what to do."""
        assert self.status == status, (self.status, self.body)
        assert self.headers["content-type"] == "application/json"
        said: dict[str, str] = json.loads(self.body)
        assert said.keys() == {"error", "todo"}
        assert all(said.values())
        return said


class Load:
    """Clients that keep asking, each on a connection of its own; `headers` is asked before each request."""

    def __init__(self, lab: Lab, headers: Callable[[], Headers]) -> None:
        self._lab, self._headers = lab, headers
        self._end = threading.Event()
        self.answered = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(2)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(15)

    def more(self, count: int = 20) -> None:
        """Wait until so many more were answered."""
        wanted = self.answered + count
        assert wait_until(lambda: self.answered >= wanted or bool(self.failures), 30, 0.005)

    def _ask(self) -> None:
        for asked in itertools.count():
            if asked % 25 == 0:  # also new connections, which is where a certificate shows
                connection = connect(self._lab.settings, 10)
            try:
                connection.request("POST", "/predict", b"{}", self._headers())
                answer = connection.getresponse()
                content = answer.read()
                self.answered += 1
                if answer.status != 200:
                    self.failures.append(f"{answer.status} {content!r}")
            except (OSError, http.client.HTTPException) as exc:
                self.failures.append(repr(exc))
                return
            if self._end.is_set():
                return


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("up") / "up.sock"
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(path)])
    try:
        assert wait_until(path.exists, 30, 0.02)
        yield path
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, upstream: Path) -> Iterator[Lab]:
    """As it comes, but for limits that are reached within a second."""
    with started(tmp_path_factory.mktemp("plain"), upstream, max_body_mb=0.1, receive_timeout_s=0.8) as lab:
        yield lab


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, upstream: Path) -> Iterator[Lab]:
    """With keys and a rate."""
    home = tmp_path_factory.mktemp("locked")
    with started(home, upstream, client_keys=True, rate_limit=2000, rate_burst=4000) as lab:
        yield lab


@contextmanager
def started(home: Path, upstream: Path, **settings: Any) -> Iterator[Lab]:
    lab = Lab(home, upstream, **settings)
    try:
        lab.ready()
        yield lab
    finally:
        lab.end()


def bearer(key: str) -> Headers:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("rate", [0, 0.3, 12.5])
@pytest.mark.parametrize("keys", [False, True])
@pytest.mark.parametrize("with_tls", [False, True])
def test_envoy_accepts_every_combination(tmp_path: Path, rate: float, keys: bool, with_tls: bool) -> None:
    more = certificate(tmp_path, "edge") if with_tls else {}
    edge_settings = Settings(root=tmp_path, home=tmp_path, rate_limit=rate, client_keys=keys, **more)
    edge = Edge(edge_settings)
    edge.prepare("", {})
    ClientKeys(edge).ensure_own()
    tls.install(edge, edge_settings)

    edge.check()  # raises with Envoy's words


def test_a_body_too_large_is_refused_declared_or_in_chunks(plain: Lab) -> None:
    limit = plain.settings.max_body_bytes
    whole = plain.ask(body=b"x" * limit)

    assert whole.status == 200
    assert json.loads(whole.body)["size"] == limit
    assert "0.1 MiB" in plain.ask(body=b"x" * (limit + 1)).refused(413)["error"]
    plain.ask(body=iter([b"x" * 60_000] * 2)).refused(413)


def test_headers_too_large_or_too_many_are_refused(plain: Lab) -> None:
    assert "32 KiB" in plain.ask(big="x" * 33_000).refused(431)["error"]
    plain.ask(**{f"h{i}": "1" for i in range(101)}).refused(431)


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"GET /predict HTTP/1.1\r\nhost: x\r\nx-slow", id="headers"),
        pytest.param(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx", id="body"),
    ],
)
def test_a_request_that_does_not_arrive_is_given_up(plain: Lab, begun: bytes) -> None:
    at = time.monotonic()
    said = plain.raw(begun)

    assert said.startswith(b"HTTP/1.1 408"), said
    assert b"within 0.8 s" in said
    # The limit, and Envoy's second in which the client may still read the answer.
    assert 0.7 < time.monotonic() - at < 20


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
def test_what_is_no_http_1_is_answered_as_json(plain: Lab, sent: bytes) -> None:
    said = plain.raw(sent)

    assert said.startswith(b"HTTP/1.1 400")
    assert json.loads(said.partition(b"\r\n\r\n")[2]).keys() == {"error", "todo"}


@pytest.mark.parametrize("path", ["/predict", "/readyz"])
def test_http_1_0_is_answered_and_closed(plain: Lab, path: str) -> None:
    method, body = ("POST", b"{}") if path == "/predict" else ("GET", b"")
    said = plain.raw(
        b"%s %s HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % (method.encode(), path.encode(), len(body)) + body
    )

    head, _, content = said.partition(b"\r\n\r\n")
    assert head.split(b" ", 2)[1] == b"200", head
    assert b"transfer-encoding" not in head.lower(), "HTTP/1.0 knows no chunks"
    assert json.loads(content)["size"] == len(body)


def test_http_1_0_keeps_its_connection_where_it_asks_for_that(plain: Lab) -> None:
    asked = b"POST /predict HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}"
    with socket.create_connection(("127.0.0.1", plain.settings.edge_port), 15) as client:
        for _ in range(3):
            client.sendall(asked)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert (answer.status, json.loads(answer.read())["size"]) == (200, 2)
            assert answer.headers["connection"].lower() == "keep-alive"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"GET /nowhere HTTP/1.0\r\n\r\n", 404),
        (b"POST /predict HTTP/1.0\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000, 413),
        (b"POST /predict HTTP/1.0\r\ncontent-length: 9\r\n\r\nx", 408),
        (b"GET /predict HTTP/1.0\r\nbig: " + b"x" * 33_000 + b"\r\n\r\n", 431),
        (b"GET /predict HTTP/1.0\r\ncontent-length: what\r\n\r\n", 400),
        (b"GET /predict HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 403),
    ],
)
def test_refusals_of_older_and_other_protocols_are_json(plain: Lab, asked: bytes, status: int) -> None:
    head, _, content = plain.raw(asked).partition(b"\r\n\r\n")

    assert int(head.split(b" ", 2)[1]) == status, head
    assert b"content-type: application/json" in head
    assert json.loads(content).keys() == {"error", "todo"}


def test_answers_are_packed_for_who_asks_where_it_pays(plain: Lab) -> None:
    large = {"pad": "x" * 5000}
    sent = plain.ask(**large)
    assert ("content-encoding" in sent.headers, sent.headers["vary"].lower()) == (False, "accept-encoding")

    for accepted, coding in (("gzip", "gzip"), ("gzip, deflate, br, zstd", "zstd"), ("zstd;q=0.5, gzip", "gzip")):
        packed = plain.ask(**large, accept_encoding=accepted)
        assert (packed.headers.get("content-encoding"), packed.headers["vary"].lower()) == (coding, "accept-encoding")
        assert len(packed.body) < len(sent.body) / 5
        content = b"".join(Unpacker(coding.encode()).pieces(packed.body))
        assert json.loads(content)["headers"]["pad"] == "x" * 5000
    for accepted in ("identity", "br", "gzip;q=0"):
        assert "content-encoding" not in plain.ask(**large, accept_encoding=accepted).headers
    small = plain.ask(accept_encoding="gzip, zstd")
    assert "content-encoding" not in small.headers, "a small answer would gain nothing"


def test_headers_of_the_edge_are_not_taken_from_clients(plain: Lab) -> None:
    forged = {
        "x_shadow": "1",
        "x_envoy_max_retries": "9",
        "x_envoy_upstream_rq_timeout_ms": "1",
        "x_greenlight_client": "boss",
    }
    seen = plain.ask(**forged, x_greenlight_played="1", x_greenlight_key="user-7", x_request_id="mine").seen

    assert (
        not {"x-shadow", "x-envoy-max-retries", "x-envoy-upstream-rq-timeout-ms", "x-greenlight-client"} & seen.keys()
    )
    assert seen["x-greenlight-played"] == "1"
    assert seen["x-greenlight-key"] == "user-7"
    assert seen["x-request-id"] == "mine"


def test_admin_is_a_socket_for_this_user_alone(plain: Lab) -> None:
    listening = [c.laddr.port for c in psutil.Process(plain.envoy.pid).net_connections("tcp") if c.status == "LISTEN"]

    assert listening == [plain.settings.edge_port]
    assert plain.edge.paths.admin.is_socket()
    assert plain.edge.paths.admin.stat().st_mode & 0o777 == 0o600


def test_connections_beyond_the_limit_are_closed(tmp_path: Path, upstream: Path) -> None:
    with started(tmp_path, upstream, max_connections=2) as lab:
        kept = [connect(lab.settings, 5) for _ in range(2)]
        for connection in kept:
            connection.request("POST", "/predict", b"{}")
            assert connection.getresponse().read()
        with pytest.raises((OSError, http.client.HTTPException)):
            lab.ask()
        assert lab.edge.is_up()  # a flood must not lock out who would end it
        kept[0].close()
        assert wait_until(lambda: answers(lab), 30, 0.02)
        kept[1].request("POST", "/predict", b"{}")  # those that were there stay
        assert kept[1].getresponse().status == 200
        kept[1].close()


def answers(lab: Lab) -> bool:
    try:
        return lab.ask().status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_without_keys_each_address_has_a_rate_of_its_own(tmp_path: Path, upstream: Path) -> None:
    with started(tmp_path, upstream, rate_limit=0.5, rate_burst=3) as lab:
        assert [lab.ask().status for _ in range(3)] == [200, 200, 200]
        refused = lab.ask()
        assert "0.5 requests a second, 3 at once" in refused.refused(429)["error"]
        assert refused.headers["retry-after"] == "2"
        other = http.client.HTTPConnection("127.0.0.1", lab.settings.edge_port, 5, source_address=("127.0.0.2", 0))
        other.request("POST", "/predict", b"{}")
        assert other.getresponse().status == 200
        other.close()
        time.sleep(2.1)
        assert [lab.ask().status for _ in range(2)] == [200, 429]


def test_each_client_has_a_rate_of_its_own(tmp_path: Path, upstream: Path) -> None:
    with started(tmp_path, upstream, rate_limit=1, rate_burst=2, client_keys=True) as lab:
        ann, bob = bearer(lab.keys.add("ann")), bearer(lab.keys.add("bob"))
        assert [lab.ask(**ann).status for _ in range(3)] == [200, 200, 429]
        assert lab.ask(**bob).status == 200
        assert {lab.ask("GET", "/readyz").status for _ in range(5)} == {200}


def test_nobody_gets_in_without_a_key(locked: Lab) -> None:
    key = locked.keys.add("carol")

    assert "greenlight clients add" in locked.ask().refused(401)["todo"]
    locked.ask(**bearer("gl_wrong")).refused(401)
    locked.ask(path=f"/predict?api_key={key}").refused(401)
    locked.ask(x_greenlight_client="carol").refused(401)
    for name in ("/livez", "/readyz"):
        reply = locked.ask("GET", name, x_greenlight_client="carol")
        assert reply.status == 200
        assert "x-greenlight-client" not in reply.seen
    locked.ask("GET", "/readyz/../metrics").refused(401)


@pytest.mark.parametrize("header", ["authorization", "x_api_key"])
def test_servers_see_the_client_and_never_the_key(locked: Lab, header: str) -> None:
    key = locked.keys.add(f"dora-{header[0]}")
    sent = {header: f"Bearer {key}" if header == "authorization" else key}
    reply = locked.ask(**sent, x_greenlight_client="boss")

    assert reply.status == 200
    assert reply.seen["x-greenlight-client"] == f"dora-{header[0]}"
    assert key not in reply.body.decode()


def test_keys_change_without_a_failed_request(locked: Lab) -> None:
    """Add, rotate, move over, finish: all the while two clients ask; the old key then is worth nothing."""
    old = locked.keys.add("erin")
    using = bearer(old)
    with Load(locked, lambda: dict(using)) as load:
        load.more()
        new = locked.keys.rotate("erin")
        load.more()
        assert locked.ask(**bearer(new)).status == locked.ask(**bearer(old)).status == 200
        with pytest.raises(UsageError, match="two keys already"):
            locked.keys.rotate("erin")
        using |= bearer(new)
        time.sleep(0.1)  # requests with the old one are through
        locked.keys.finish("erin")
        load.more()
        locked.ask(**bearer(old)).refused(401)
        locked.keys.add("somebody-else")
        load.more()
    assert load.failures == []
    assert load.answered >= 80

    locked.keys.revoke("erin")
    locked.ask(**bearer(new)).refused(401)
    assert locked.envoy.poll() is None


def test_our_own_clients_have_a_key(locked: Lab) -> None:
    reply = locked.ask(**credentials(locked.settings))

    assert reply.seen["x-greenlight-client"] == OWN
    assert OWN not in [client.name for client in locked.keys.clients()]
    with pytest.raises(NotFound):
        locked.keys.revoke(OWN)


def test_keys_are_for_this_user_alone_and_listed_without_themselves(locked: Lab) -> None:
    key = locked.keys.add("finn")
    file = locked.edge.guard.keys
    listed = next(client for client in locked.keys.clients() if client.name == "finn")

    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [one.id for one in listed.keys] == [identity(key)]
    assert datetime.fromisoformat(listed.keys[0].made) <= datetime.now(UTC)
    holding = [p for p in locked.settings.home.rglob("*") if p.is_file() and key.encode() in p.read_bytes()]
    assert holding == [file]


@pytest.mark.parametrize("name", ["", "Ann", "a b", "-a", "x" * 64, OWN, "ä"])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        ClientKeys(Edge(Settings(root=tmp_path, home=tmp_path))).add(name)


def test_clients_can_be_made_before_the_edge_runs(tmp_path: Path) -> None:
    keys = ClientKeys(Edge(Settings(root=tmp_path, home=tmp_path)))
    keys.add("ann")

    with pytest.raises(UsageError, match="rotate ann"):
        keys.add("ann")
    with pytest.raises(UsageError, match="one key only"):
        keys.finish("ann")
    with pytest.raises(NotFound, match="there are: ann"):
        keys.rotate("bob")


def test_a_damaged_file_of_keys_is_named_and_not_shown(tmp_path: Path) -> None:
    edge = Edge(Settings(root=tmp_path, home=tmp_path))
    ClientKeys(edge).add("ann")
    edge.guard.keys.write_bytes(edge.guard.keys.read_bytes()[:-40])

    with pytest.raises(EdgeError, match=r"clients\.json") as caught:
        ClientKeys(edge).clients()
    assert "gl_" not in str(caught.value)


def test_no_key_is_in_any_log(tmp_path: Path, upstream: Path) -> None:
    """The access log is written when Envoy ends: it names the client, and no key, not even one in the address."""
    with started(tmp_path, upstream, client_keys=True, rate_limit=1000) as lab:
        key = lab.keys.add("gus")
        assert lab.ask(path=f"/predict?key={key}", **bearer(key)).status == 200
        lab.ask(path=f"/predict?key={key}", **bearer(key + "x")).refused(401)
        lab.ask(x_api_key=key, big="x" * 40_000).refused(431)
        own = lab.keys.own()
    lines = [json.loads(line) for line in lab.edge.paths.access_log.read_text().splitlines()]

    assert [(line["client"], line["status"], line["path"]) for line in lines[:2]] == [
        ("gus", 200, "/predict"),
        (None, 401, "/predict"),
    ]
    for log in (lab.edge.paths.access_log, lab.log):
        assert key not in log.read_text()
        assert own not in log.read_text()


def test_the_access_log_is_bounded_and_loses_no_line(tmp_path: Path, upstream: Path) -> None:
    with started(tmp_path, upstream) as lab:
        log, admin = lab.edge.paths.access_log, lab.edge.paths.admin
        for turn in range(edge_log.OLDER_FILES + 2):
            for number in range(5):
                lab.ask(path=f"/predict/{turn}/{number}")
            assert not edge_log.bound(log, admin, 2**30)
            assert edge_log.bound(log, admin, 0)
            assert wait_until(log.exists, 10, 0.02)
        lab.ask(path="/predict/last")
    files = sorted(log.parent.glob("access.jsonl*"))
    assert [file.name for file in files] == ["access.jsonl", *(f"access.jsonl.{n}" for n in (1, 2, 3))]
    lines = [json.loads(line)["path"] for file in (*reversed(files[1:]), files[0]) for line in file.open()]
    asked = [f"/predict/{turn}/{number}" for turn in range(5) for number in range(5)] + ["/predict/last"]
    assert lines == asked[-len(lines) :], "in order and without a gap, whichever file Envoy's buffer went to"
    assert 16 <= len(lines) < len(asked), "the oldest file went"


def test_what_is_under_way_is_answered_before_the_edge_stops(tmp_path: Path, upstream: Path) -> None:
    with started(tmp_path, upstream) as lab:
        found: list[int] = []
        slow = threading.Thread(target=lambda: found.append(lab.ask(path="/predict?s=2.5").status))
        slow.start()
        assert wait_until(lambda: lab.edge.active_requests("v1") == 1, 30, 0.01)
        begun = time.monotonic()
        assert drain(lab.edge, 15) == 0
        assert time.monotonic() - begun > 1
        slow.join(5)
        assert found == [200]
        with pytest.raises(OSError, match="refused"):
            lab.ask()
        assert lab.envoy.poll() is None


def test_a_drain_that_takes_too_long_says_how_many_are_left(tmp_path: Path, upstream: Path) -> None:
    with started(tmp_path, upstream) as lab:
        slow = threading.Thread(target=lambda: lab.ask(path="/predict?s=3"))
        slow.start()
        assert wait_until(lambda: lab.edge.active_requests("v1") == 1, 30, 0.01)
        assert drain(lab.edge, 1.5) == 1
        slow.join(5)


def test_a_certificate_changes_without_a_failed_request(tmp_path: Path, upstream: Path) -> None:
    """By a rename beside it, as tools for renewal do, and written over, followed by `greenlight up`."""
    # Numbers whose hexadecimal form has an odd count of digits, which Envoy fills up with a zero.
    numbers = {"first": 0xA01, "second": 0xA02, "third": 0xA03}
    first, second, third = (certificate(tmp_path, name, serial=number) for name, number in numbers.items())
    live = {key: tmp_path / f"edge.{path.suffix}" for key, path in first.items()}
    for key, path in first.items():
        live[key].write_bytes(path.read_bytes())
    trusted = tmp_path / "all.crt"
    trusted.write_bytes(b"".join(made["tls_cert"].read_bytes() for made in (first, second, third)))
    with started(tmp_path, upstream, **live) as lab:
        assert lab.settings.edge_url.startswith("https://")
        client = Settings(
            root=tmp_path, home=tmp_path, edge_port=lab.settings.edge_port, tls_cert=trusted, tls_key=trusted
        )
        lab.settings = client
        with Load(lab, dict) as load:
            load.more()
            for key, path in second.items():
                path.replace(live[key])
            assert wait_until(lambda: tls.serials(lab.edge) == [numbers["second"]], 30, 0.02)
            load.more(60)
            for key, path in third.items():
                live[key].write_bytes(path.read_bytes())
            tls.install(lab.edge, Settings(root=tmp_path, home=tmp_path, **live))
            assert tls.serials(lab.edge) == [numbers["third"]]
            load.more(60)
        assert load.failures == []
        assert shown(lab) == live["tls_cert"].read_text()


def shown(lab: Lab) -> str:
    """The certificate that a new connection is shown."""
    return ssl.get_server_certificate(("127.0.0.1", lab.settings.edge_port), timeout=5)


def test_only_its_own_certificate_convinces_our_clients(tmp_path: Path, upstream: Path) -> None:
    real, other = certificate(tmp_path, "edge"), certificate(tmp_path, "other")
    with started(tmp_path, upstream, **real) as lab:
        assert lab.ask().status == 200
        lab.settings = Settings(root=tmp_path, home=tmp_path, edge_port=lab.settings.edge_port, **other)
        with pytest.raises(ssl.SSLCertVerificationError):
            lab.ask()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"days": -0.5}, "expired on"),
        ({"since": 1}, "valid from"),
        ({"secret": b"x"}, "pass phrase"),
        ({"of": "other"}, "not that of the certificate"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, made: dict[str, Any], said: str) -> None:
    certificate(tmp_path, "other")
    settings = Settings(root=tmp_path, home=tmp_path, **certificate(tmp_path, "edge", **made))

    with pytest.raises(ConfigError, match=said) as caught:
        tls.check(settings)
    assert "GREENLIGHT_TLS_" in caught.value.where
    assert caught.value.todo


def test_files_that_are_no_certificate_are_named(tmp_path: Path) -> None:
    good = certificate(tmp_path, "edge")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for wrong, said in (
        ({"tls_cert": tmp_path / "none.crt"}, "No such file"),
        ({"tls_key": tmp_path}, "Is a directory"),
        ({"tls_cert": empty}, "no certificate in PEM"),
        ({"tls_key": good["tls_cert"]}, "no private key in PEM"),
    ):
        with pytest.raises(ConfigError, match=said):
            tls.check(Settings(root=tmp_path, home=tmp_path, **{**good, **wrong}))


def test_settings_that_do_not_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLIGHT_TLS_CERT", "edge.crt")
    monkeypatch.setenv("GREENLIGHT_RATE_BURST", "5")
    monkeypatch.setenv("GREENLIGHT_MAX_BODY_MB", "0")

    with pytest.raises(ConfigError, match="3 mistakes") as caught:
        Settings.load()
    for part in ("set both or neither", "GREENLIGHT_RATE_BURST", "GREENLIGHT_MAX_BODY_MB"):
        assert part in str(caught.value)
