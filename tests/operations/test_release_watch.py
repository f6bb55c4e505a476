"""The process that has a release go on once somebody asks: when it starts the flow, and when it must not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import serving_kit as kit
from edge_kit import World, world

from greenlight.adapters import locks
from greenlight.adapters.desired import DesiredState
from greenlight.config import Settings
from greenlight.core import rollout as steps
from greenlight.core.release import Desired
from greenlight.core.release_plan import FULL, Step, Wish
from greenlight.operations.release import turn_of
from greenlight.operations.release_watch import AGAIN_S, DEPLOYMENT, ReleaseWatch

CANARY = Step("canary", weight=500, min_requests=100)


class Api(BaseHTTPRequestHandler):
    """As much of Prefect's API as starting a flow run needs."""

    started: list[dict[str, Any]]
    running: list[str]

    def do_GET(self) -> None:
        self._say({"id": "d1"} if self.path == f"/api/deployments/name/{DEPLOYMENT}" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/api/flow_runs/filter":
            return self._say([{"id": run} for run in self.running])
        self.started.append(body)
        return self._say({"id": f"run-{len(self.started)}"})

    def _say(self, found: Any) -> None:
        content = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


class Place:
    """A real edge with v1 live and v2 at a step, and a clock that the test turns."""

    def __init__(self, settings: Settings, world: World, api: type[Api]) -> None:
        self.settings, self.world, self.api = settings, world, api
        self.desired = DesiredState(settings.home)
        self.now = 0.0
        self.watch = ReleaseWatch(settings, lambda line: None)

    def stand(self, **change: Any) -> None:
        begun = steps.begin_rollout(Desired(live="v1"), "v2", (CANARY, FULL), strategy="canary", salt="s", now=5.0)
        state = steps.wait(steps.warmed(begun, 6.0), "100 requests")
        self.desired.save(steps.pause(state) if change.get("paused") else state, "test")

    def look(self, after_s: float = 5.0) -> str:
        self.now += after_s
        return self.watch.look(self.now)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    api = type("Kept", (Api,), {"started": [], "running": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = Settings(root=tmp_path, edge_port=kit.free_port(), prefect_port=server.server_address[1])
    try:
        with world(settings.home, "v1", "v2", settings=settings) as made:
            made.edge.set_live("v1")
            yield Place(settings, made, api)
    finally:
        server.shutdown()
        server.server_close()


def test_a_release_that_stands_goes_on_once_somebody_asks_and_not_again_at_once(place: Place) -> None:
    place.stand()
    assert [place.look(), place.look()] == ["", ""], "nobody asks: no flow run, however long"
    place.world.ask(1)
    assert kit.until(place.look) == "run-1"
    assert [(run["parameters"], run["tags"]) for run in place.api.started] == [({}, ["release-watch"])]
    place.look()
    place.world.ask(1)
    assert [place.look(), place.look(AGAIN_S - 30)] == ["", ""]
    assert place.look(30) == "run-2"


def test_nothing_is_started_beside_a_driver_a_queued_run_or_a_person(place: Place) -> None:
    place.stand(paused=True)
    assert place.look() == ""
    place.world.ask(1)
    assert place.look() == "", "a person holds it"
    place.stand()
    place.look()
    place.world.ask(1)
    with locks.turn(turn_of(place.settings.home), "the release of v2", lambda line: None):
        assert [place.look(), place.look()] == ["", ""], "somebody drives"
    place.api.running.append("waits for its turn")
    place.look()
    place.world.ask(1)
    assert [place.look(), place.look()] == ["", ""], "one is on its way already"
    place.api.running.clear()
    assert kit.until(place.look) == "run-1"
    place.desired.save(Desired(live="v1"), "test")
    assert place.look(AGAIN_S) == "", "nothing is under way"


def test_what_waits_for_its_turn_has_it_when_the_other_release_is_over(place: Place) -> None:
    place.desired.save(Desired(live="v1", next=Wish("v3")), "test")
    assert place.look() == "run-1"
