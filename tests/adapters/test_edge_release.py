"""Releases at the edge: real Envoy, real small servers. What users get, and what Envoy counts of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest
from edge_kit import Answers, World, world

from greenlight.adapters import edge_counts, edge_routes
from greenlight.adapters.edge import validate
from greenlight.adapters.edge_clusters import FAILURES_IN_A_ROW, MOST_COPIES, clusters
from greenlight.adapters.waiting import wait_until
from greenlight.core.assignment import assign, split
from greenlight.core.rollout import Traffic

BOTH = ("v1", "v2")
KEYS = [f"user-{i}" for i in range(400)]


def shared(weight: int, **more: object) -> Traffic:
    return Traffic("v1", "v2", weight, addressable=BOTH, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("edge"), *BOTH, releases=[("v2", "v1")]) as made:
        yield made


@pytest.fixture
def edge(started: World) -> World:
    """v1 is stable, and v2 is well; all clusters are made anew, so that nothing counts from the test before."""
    started.behave("v1")
    started.behave("v2")
    started.edge.set_traffic(shared(0))
    started.edge.set_clusters({})
    started.edge.set_clusters(started.sockets(), [("v2", "v1")])
    for version in BOTH:
        started.edge.wait_healthy(version, 1)
    started.forget()
    return started


def counts(edge: World) -> edge_counts.Release:
    return edge_counts.read(edge.edge, "v2", "v1")


def test_every_kind_of_traffic_is_taken_by_envoy(edge: World) -> None:
    """Clusters and routes of every step inside one start file, checked by Envoy itself without starting."""
    bootstrap = json.loads(edge.edge.paths.bootstrap.read_bytes())
    static = clusters(edge.sockets(), "1", [("v2", "v1")])["resources"]
    cases = [
        Traffic(""), Traffic("v1", addressable=("v1",)), shared(0), shared(1), shared(10_000),
        shared(5_000, sticky=True), shared(5_000, sticky=True, salt="s.1_-"),
        Traffic("v1", "v2", mirror=10_000, addressable=BOTH), Traffic("v1", "v2", mirror=1, addressable=BOTH),
    ]  # fmt: skip
    del bootstrap["dynamic_resources"]
    bootstrap["static_resources"]["clusters"] = [{k: v for k, v in c.items() if k != "@type"} for c in static]
    manager = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"]
    file = edge.edge.paths.folder / "trial.json"
    for traffic in cases:
        resource = edge_routes.routes(traffic, "1")["resources"][0]
        manager["route_config"] = {**{k: v for k, v in resource.items() if k != "@type"}, "validate_clusters": True}
        file.write_text(json.dumps(bootstrap))
        validate(file)


def test_weights_are_shared_out_by_chance(edge: World) -> None:
    edge.edge.set_traffic(shared(1_000))
    found = edge.ask(1_500).by_version
    assert found["v1"] + found["v2"] == 1_500
    assert 95 <= found["v2"] <= 210, "10 % of 1500: 150, standard deviation 11.6; 5 of them"
    edge.edge.set_traffic(shared(0))
    assert edge.ask(50).by_version == {"v1": 50}
    edge.edge.set_traffic(shared(10_000))
    assert edge.ask(50).by_version == {"v2": 50}
    assert edge.edge.follows(shared(10_000))
    assert not edge.edge.follows(shared(9_999))
    assert edge.edge.live_on_file() == "v1"


def test_a_key_stays_and_python_knows_where(edge: World) -> None:
    """Salted or not; growing the weight takes nobody away from the candidate; without a key it is chance."""
    had: set[str] = set()
    for weight in (1_000, 3_000):
        edge.edge.set_traffic(shared(weight, sticky=True, salt="exp-7"))
        found = edge.ask(keys=KEYS).versions
        assert found == [assign(key, "exp-7", split("v2", weight, "v1")) for key in KEYS]
        candidates = {key for key, version in zip(KEYS, found, strict=True) if version == "v2"}
        assert had < candidates
        had = candidates
    edge.edge.set_traffic(shared(3_000, sticky=True))
    found = edge.ask(keys=KEYS).versions
    assert found == [assign(key, "", split("v2", 3_000, "v1")) for key in KEYS]
    assert {key for key, version in zip(KEYS, found, strict=True) if version == "v2"} != had, "another salt"
    assert set(edge.ask(60).by_version) == {"v1", "v2"}


@pytest.mark.parametrize("conduct", ["fail", "drop"])
def test_nobody_sees_a_candidate_fail_and_envoy_counts_and_ejects_it(edge: World, conduct: str) -> None:
    edge.edge.set_traffic(shared(5_000))
    edge.behave("v2", conduct)
    before = counts(edge)
    answers = edge.ask(100)
    assert answers.by_status == {200: 100}
    assert answers.by_version == {"v1": 100}
    found = counts(edge)
    failed = found.candidate.since(before.candidate)
    assert failed.requests == failed.failures == FAILURES_IN_A_ROW
    assert found.stable.since(before.stable).failures == 0
    assert found.healthy == 0, "the edge took it out by itself"
    edge.behave("v2")
    time.sleep(1.5)
    assert edge.ask(30).by_version == {"v1": 30}, "an answer of /readyz does not bring it back"


def test_a_large_body_survives_a_failure_of_the_candidate(edge: World) -> None:
    edge.edge.set_traffic(shared(10_000))
    edge.behave("v2", "fail")
    answers = edge.ask(2, body=b"x" * 5_000_000)
    assert answers.bodies == [b"v1 5000000"] * 2
    assert answers.by_status == {200: 2}


def test_a_candidate_that_hangs_costs_its_users_a_second_and_no_error(edge: World) -> None:
    edge.edge.set_traffic(shared(10_000))
    edge.behave("v2", "hang")
    before = counts(edge)
    found: list[tuple[Answers, float]] = []

    def ask() -> None:
        begun = time.monotonic()
        found.append((edge.ask(1), time.monotonic() - begun))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [answers.by_status for answers, _ in found] == [{200: 1}] * 8
    assert max(seconds for _, seconds in found) < edge_routes.TRY_TIMEOUT_S + 2
    since = counts(edge).candidate.since(before.candidate)
    assert since.failures == since.requests >= FAILURES_IN_A_ROW
    assert counts(edge).healthy == 0
    assert edge.ask(20).by_version == {"v1": 20}


def test_failures_of_the_stable_version_are_counted_in_the_same_way(edge: World) -> None:
    edge.edge.set_traffic(shared(1))
    edge.behave("v1", "fail")
    before = counts(edge)
    assert edge.ask(10).by_status == {500: 10}
    since = counts(edge).stable.since(before.stable)
    assert (since.requests, since.failures) == (10, 10)


def test_copies_reach_the_candidate_marked_and_nobody_waits_for_them(edge: World) -> None:
    """All requests are copied with their id; a client cannot pretend to be a copy; a copy that fails is counted."""
    edge.edge.set_traffic(Traffic("v1", "v2", mirror=10_000, addressable=BOTH))
    before = counts(edge)
    answers = edge.ask(20, x_shadow="1", x_request_id="mine")
    assert answers.by_version == {"v1": 20}
    assert wait_until(lambda: len(edge.seen("v2")) == 20, 30, 0.02)
    assert {line.get("x-shadow") for line in edge.seen("v2")} == {"1"}
    assert {line.get("x-shadow") for line in edge.seen("v1")} == {None}
    assert {line["x-request-id"] for line in edge.seen("v2")} == {"mine"}
    edge.behave("v2", "fail")
    assert edge.ask(10).by_status == {200: 10}
    assert wait_until(lambda: counts(edge).copies.since(before.copies).failures == 10, 30, 0.02)
    edge.behave("v2", "hang")
    begun = time.monotonic()
    assert edge.ask(MOST_COPIES + 40).by_version == {"v1": MOST_COPIES + 40}
    assert time.monotonic() - begun < 15, "a copy that hangs for 20 s"
    since = counts(edge).copies.since(before.copies)
    assert since.requests == 30 + MOST_COPIES + 40
    assert since.failures == 10 + 40, "what found no room is a failure of the candidate"
    edge.edge.set_traffic(Traffic("v1", "v2", mirror=3_000, addressable=BOTH))


def test_half_of_the_copies(edge: World) -> None:
    edge.edge.set_traffic(Traffic("v1", "v2", mirror=5_000, addressable=BOTH))
    edge.ask(200)
    time.sleep(0.3)
    assert 60 <= len(edge.seen("v2")) <= 140


def test_a_request_may_name_its_version_or_label(edge: World) -> None:
    edge.edge.set_traffic(shared(0))
    for name, version in {"v1": "v1", "v2": "v2", "stable": "v1", "candidate": "v2"}.items():
        assert edge.ask(1, x_model_pin=name).versions == [version]
    for path, (version, told) in {
        "/v1/models/m/versions/2:predict": ("v2", "v2"), "/v2/models/m/versions/v1/infer": ("v1", "v1"),
        "/v1/models/m/labels/candidate:predict": ("v2", "candidate"), "/v1/models/m/labels/stable": ("v1", "stable"),
    }.items():  # fmt: skip
        edge.forget()
        assert edge.ask(1, path=path).versions == [version], path
        assert [line["x-model-pin"] for line in edge.seen(version)] == [told], "the server is told what was named"
    unknown = edge.ask(1, x_model_pin="v9")
    assert unknown.statuses == [404]
    assert "v1, v2, stable, candidate" in unknown.json()["error"]
    before = counts(edge)
    edge.behave("v2", "fail")
    assert edge.ask(8, x_model_pin="v2").by_status == {500: 8}, "who names a version gets its own answer"
    assert counts(edge) == before, "and counts for no release"
    assert edge.edge.healthy("v2", "candidate") == 1
    edge.edge.set_traffic(Traffic("v1", addressable=("v1",)))
    assert edge.ask(1, x_model_pin="candidate").statuses == [404]


def test_clients_cannot_tell_envoy_what_to_do(edge: World) -> None:
    edge.edge.set_traffic(Traffic("v1", addressable=("v1",)))
    edge.behave("v1", "slow")
    headers = {"x_envoy_upstream_rq_timeout_ms": "1", "x_envoy_retry_on": "5xx", "x_envoy_max_retries": "9"}
    assert edge.ask(3, **headers).by_status == {200: 3}
    edge.behave("v1", "fail")
    edge.forget()
    assert edge.ask(2, **headers).by_status == {500: 2}
    assert len(edge.seen("v1")) == 2


def test_slow_answers_are_counted_for_each_version(edge: World) -> None:
    edge.edge.set_traffic(shared(5_000))
    before = counts(edge)
    edge.behave("v2", "slow")
    asked = edge.ask(40).by_version
    assert wait_until(lambda: counts(edge).candidate.since(before.candidate).timed == asked["v2"], 30, 0.1)
    since = counts(edge)
    candidate, stable = since.candidate.since(before.candidate), since.stable.since(before.stable)
    assert candidate.slower["75"] == asked["v2"]
    assert candidate.slower["2000"] == 0
    assert stable.slower["75"] == 0
    assert stable.timed == asked["v1"]


def test_the_other_versions_clusters_are_left_alone_when_one_comes_or_goes(edge: World) -> None:
    """Made anew, their counters would vanish, and with them the evidence."""
    edge.edge.set_traffic(shared(5_000))
    edge.ask(40)
    before = counts(edge)
    edge.edge.set_clusters({**edge.sockets(), "v3": [edge.socket("v3")]}, [("v2", "v1")])
    edge.edge.set_clusters(edge.sockets(), [("v2", "v1")])
    assert (counts(edge).candidate.requests, counts(edge).stable.requests) == (
        before.candidate.requests, before.stable.requests
    )  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["/predict", "/invocations", "/v2/models/m/infer", *(f"/v1/models/m:{verb}" for verb in edge_routes.TF_VERBS)],
)
def test_a_candidate_gets_its_share_of_every_way_to_ask(edge: World, path: str) -> None:
    edge.edge.set_traffic(shared(10_000))
    assert edge.ask(2, path).by_version == {"v2": 2}
