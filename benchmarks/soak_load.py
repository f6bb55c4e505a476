"""A mix of right and wrong requests at a steady rate: everything that a served version can be asked.

What `benchmarks.soak` asks for an hour. Rows are new ones for the most part and some that were asked before, ids and
keys never come again, so that whatever keeps something for each of them shows.
"""

from __future__ import annotations

import http.client
import io
import json
import random
import socket
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import serving_kit as kit

MODEL = kit.DATASET.name
JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
TIMEOUT_S = 60.0
Request = tuple[str, str, bytes, dict[str, str]]  # method, path, body, headers


class Mix:
    """Requests by kind, each as often as its weight.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._known = kit.requests(300, seed)
        self._rows: list[dict[str, Any]] = []
        self._seed = seed
        self.handed_out: deque[str] = deque(maxlen=2000)
        self._kinds: dict[str, tuple[float, Callable[[], Request]]] = {
            "predict, 1 row": (45, lambda: _post("/predict", {"rows": self._some(1)})),
            "predict, 20 rows": (10, lambda: _post("/predict", {"rows": self._some(20)})),
            "predict, explained": (4, lambda: _post("/predict?explain=true", {"rows": self._some(2)})),
            "v2": (8, self._v2),
            "v1": (8, lambda: _post(f"/v1/models/{MODEL}:predict", {"instances": self._some(3)})),
            "table": (1, self._table),
            "labels": (8, self._labels),
            "pages": (2, lambda: ("GET", self._dice.choice(PAGES), b"", {})),
            "wrong values": (5, self._wrong_values),
            "wrong bodies": (4, self._wrong_body),
            "wrong paths": (2, lambda: _post(self._dice.choice(NOWHERE), {"x": uuid.uuid4().hex})),
            "wrong labels": (2, lambda: _post("/labels", {"labels": [{"prediction_id": self._key(), "label": 7}]})),
        }  # fmt: skip

    def draw(self) -> tuple[str, Request]:
        """The kind of the next request, and the request."""
        (kind,) = self._dice.choices(list(self._kinds), [weight for weight, _ in self._kinds.values()])
        method, path, body, headers = self._kinds[kind][1]()
        if self._dice.random() < 0.3:
            headers = headers | {"x-greenlight-key": self._key(), "x-request-id": self._key()}
        return kind, (method, path, body, headers)

    def answered(self, kind: str, content: bytes) -> None:
        """Remember the predictions of an answer: labels are for those."""
        if kind.startswith("predict, ") and kind != "predict, explained":
            self.handed_out.extend(one["prediction_id"] for one in json.loads(content)["predictions"])

    def _key(self) -> str:
        return uuid.uuid4().hex

    def _some(self, count: int) -> list[dict[str, Any]]:
        return [self._dice.choice(self._known) if self._dice.random() < 0.3 else self._new() for _ in range(count)]

    def _new(self) -> dict[str, Any]:
        if not self._rows:
            self._seed += 1000
            self._rows = kit.requests(500, self._seed)
        row = self._rows.pop()
        if self._dice.random() < 0.05:  # a category that nobody has seen, another one each time
            row = row | {"tailnum": uuid.uuid4().hex[:6].upper(), "dest": "".join(self._dice.choices("QXYZ", k=3))}
        return row

    def _v2(self) -> Request:
        row = self._new()
        wanted = ("carrier", "origin", "dest", "scheduled_departure", "scheduled_arrival", "distance", "temp")
        tensors = [_tensor(name, row[name]) for name in wanted if row.get(name) is not None]
        return _post(f"/v2/models/{MODEL}/infer", {"id": uuid.uuid4().hex, "inputs": tensors})

    def _table(self) -> Request:
        checked = [kit.DATASET.request.Row.model_validate(row).model_dump() for row in self._some(200)]
        buffer = io.BytesIO()
        pl.DataFrame(checked, infer_schema_length=None).write_ipc_stream(buffer)
        return "POST", "/bulk", buffer.getvalue(), {"content-type": ARROW}

    def _labels(self) -> Request:
        names = [self.handed_out.popleft() for _ in range(min(5, len(self.handed_out)))]
        names = names or [f"{uuid.uuid4().hex}-0"]
        return _post("/labels", {"labels": [{"prediction_id": n, "label": self._dice.random() < 0.3} for n in names]})

    def _wrong_values(self) -> Request:
        rows = self._some(3)
        field = self._dice.choice(list(rows[0]))
        wrong = self._dice.choice([[], {}, "\U0001f680" * 50, -1e308, 10**30, "9999-99-99", uuid.uuid4().hex * 9])
        spoiled = self._dice.randrange(3)
        rows[spoiled] = rows[spoiled] | {field: wrong, uuid.uuid4().hex: 1}
        return _post("/predict", {"rows": rows})

    def _wrong_body(self) -> Request:
        method, path, body, headers = _post("/predict", {"rows": self._some(2)})
        spoiled = [body[: len(body) // 2], bytes(self._dice.randbytes(300)), b"", b"[" * 5000, b'{"rows": NaN}']
        path = self._dice.choice([path, "/labels", f"/v2/models/{MODEL}/infer", f"/v1/models/{MODEL}:predict", "/bulk"])
        return method, path, self._dice.choice(spoiled), headers


PAGES = ("/metrics", "/readyz", f"/v2/models/{MODEL}", f"/v1/models/{MODEL}", "/openapi.json", "/v2/health/ready")
NOWHERE = ("/nowhere", "/v2/models/other/infer", "/v1/models/other:predict", "/predict/x", "/v1/models/%00", "/metrics")


def _post(path: str, value: Any) -> Request:
    return "POST", path, json.dumps(value).encode(), {"content-type": JSON}


def _tensor(name: str, value: Any) -> dict[str, Any]:
    kind = "BYTES" if isinstance(value, str) else "FP64"
    return {"name": name, "datatype": kind, "shape": [1], "data": [value]}


class Clients:
    """A few clients that together ask so often, on connections that they keep, and now and then break.

    Parameters
    ----------
    port : int
        The edge's.
    rate : float
        Requests a second of all clients together; one that is late does not catch up.
    note : Path
        Takes what must not be: answers of 500 and above, and requests without an answer.
    """

    def __init__(self, port: int, rate: float, note: Path, *, clients: int = 4, seed: int = 1) -> None:
        self._port, self._period, self._note = port, clients / rate, note
        self._end = threading.Event()
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []
        self.slowest_s = 0.0
        self.left = 0
        self._threads = [
            threading.Thread(target=self._ask, args=(Mix(seed * 100 + number),), daemon=True)
            for number in range(clients)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S + 10)

    @property
    def requests(self) -> int:
        """How many were answered."""
        return sum(self.statuses.values())

    def _ask(self, mix: Mix) -> None:
        try:
            self._keep_asking(mix)
        except Exception as exc:  # noqa: BLE001 - a client that is gone must not pass for a silent one
            self._complain(f"a client broke: {exc!r}")

    def _keep_asking(self, mix: Mix) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        due = time.monotonic()
        number = 0
        while not self._end.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._period, time.monotonic())
            number += 1
            if number % 500 == 0:
                self._leave(mix)
            if number % 200 == 0:
                connection.close()
            kind, (method, path, body, headers) = mix.draw()
            begun = time.monotonic()
            try:
                connection.request(method, path, body, headers)
                reply = connection.getresponse()
                content = reply.read()
            except (OSError, http.client.HTTPException) as exc:
                connection.close()
                self._complain(f"{kind}: {path}: {exc!r} after {time.monotonic() - begun:.1f} s")
                continue
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            self.statuses[kind, reply.status] += 1
            if reply.status >= 500:
                self._complain(f"{kind}: {path}: {reply.status} {content[:200]!r}; body {body[:300]!r}")
            elif reply.status == 200:
                mix.answered(kind, content)

    def _leave(self, mix: Mix) -> None:
        """Ask, and go away before the body is whole."""
        _, (method, path, body, _) = mix.draw()
        with socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT_S) as gone:
            head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\ncontent-length: {len(body) + 9}\r\n"
            gone.sendall(head.encode() + b"\r\n" + body)
        self.left += 1

    def _complain(self, what: str) -> None:
        self.wrong.append(what)
        with self._note.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {what}\n")
