"""The objects for Kubernetes: who would answer which request, and that nothing is said which cannot hold."""

from __future__ import annotations

from typing import Any

import pytest

from greenlight.adapters import kubernetes, kubernetes_routes
from greenlight.adapters.kubernetes import Cluster
from greenlight.core.rollout import Traffic
from greenlight.errors import UsageError

CLUSTER = Cluster("registry.example/flight-delay:{version}", "edge/public", "models", "delay.example", 2, 6, 7)
BOTH = ("v2", "v3")


def answered(route: dict[str, Any], path: str, **headers: str) -> dict[str, int]:
    """Weights by Service for one request, by the precedence that Gateway API prescribes: an exact path, then the
    longest prefix, then the most headers, then the first rule."""
    best: tuple[tuple[int, int, int, int], dict[str, Any]] | None = None
    for number, rule in enumerate(route["spec"]["rules"]):
        for match in rule["matches"]:
            kind, value = match["path"]["type"], match["path"]["value"]
            wanted = match.get("headers", [])
            # A prefix is one of whole segments.
            below = value == "/" or path == value or path.startswith(f"{value}/")
            if not (path == value if kind == "Exact" else below):
                continue
            given = {key.replace("_", "-"): text for key, text in headers.items()}
            if not all(
                given.get(one["name"]) == one["value"]
                if one["type"] == "Exact"
                else one["value"] == ".+" and given.get(one["name"])
                for one in wanted
            ):
                continue
            rank = (kind == "Exact", len(value), len(wanted), -number)
            if best is None or rank > best[0]:
                best = rank, rule
    assert best
    return {one["name"]: one.get("weight", 1) for one in best[1]["backendRefs"]}


@pytest.mark.parametrize(
    ("path", "headers", "version"),
    [
        ("/docs", {}, "v2"),
        ("/labels", {}, "v2"),
        ("/bulk", {}, "v2"),
        ("/predict", {"x_model_pin": "v3"}, "v3"),
        ("/predict", {"x_model_pin": "candidate"}, "v3"),
        ("/predict", {"x_model_pin": "stable"}, "v2"),
        ("/docs", {"x_model_pin": "v3"}, "v3"),
        ("/v2/models/flight_delay/infer", {"x_model_pin": "v3"}, "v3"),
        ("/v1/models/flight_delay:predict", {"x_model_pin": "v2"}, "v2"),
        ("/v1/models/flight_delay/versions/3:predict", {}, "v3"),
        ("/v1/models/flight_delay/labels/stable:predict", {}, "v2"),
        ("/v1/models/flight_delay/versions/3:regress", {}, "v3"),
        ("/invocations", {"x_model_pin": "v3"}, "v3"),
        ("/v1/models/flight_delay/versions/3", {}, "v3"),
        ("/v2/models/flight_delay/versions/v3/infer", {}, "v3"),
        ("/predict", {"x_model_pin": "v9"}, "no-such-version"),
        ("/docs", {"x_model_pin": "v9"}, "no-such-version"),
    ],
)
def test_a_request_that_names_a_version_reaches_that_one_or_none(
    path: str, headers: dict[str, str], version: str
) -> None:
    route = kubernetes_routes.route("flight-delay", Traffic("v2", "v3", weight=2_500, addressable=BOTH), CLUSTER)
    assert list(answered(route, path, **headers)) == [f"flight-delay-{version}"]


@pytest.mark.parametrize(
    "path",
    [
        "/predict",
        "/v2/models/flight_delay/infer",
        "/v1/models/flight_delay:predict",
        "/v1/models/flight_delay:classify",
        "/v1/models/flight_delay:regress",
        "/invocations",
    ],
)
def test_predictions_are_shared_and_copied_whichever_protocol_asks(path: str) -> None:
    shared = kubernetes_routes.route("flight-delay", Traffic("v2", "v3", weight=2_500, addressable=BOTH), CLUSTER)
    assert answered(shared, path) == {"flight-delay-v3": 2_500, "flight-delay-v2": 7_500}
    whole = kubernetes_routes.route("flight-delay", Traffic("v2", "v3", weight=10_000, addressable=BOTH), CLUSTER)
    assert answered(whole, path) == {"flight-delay-v3": 10_000, "flight-delay-v2": 0}
    copied = kubernetes_routes.route("flight-delay", Traffic("v2", "v3", mirror=5_000, addressable=BOTH), CLUSTER)
    assert answered(copied, path) == {"flight-delay-v2": 1}
    (rule,) = [rule for rule in copied["spec"]["rules"] if "filters" in rule]
    (mirror,) = [one["requestMirror"] for one in rule["filters"]]
    assert mirror["backendRef"]["name"] == "flight-delay-v3"
    assert mirror["fraction"] == {"numerator": 5_000, "denominator": 10_000}


def test_what_gateway_api_takes_at_most_is_kept_with_four_versions() -> None:
    route = kubernetes_routes.route(
        "flight-delay", Traffic("v2", "v5", weight=1, addressable=("v2", "v3", "v4", "v5")), CLUSTER
    )
    rules = route["spec"]["rules"]
    assert len(rules) <= 16
    assert max(len(rule["matches"]) for rule in rules) <= 64
    assert sum(len(rule["matches"]) for rule in rules) < 128


def test_a_route_leads_to_services_that_select_the_pods_of_that_version_alone() -> None:
    made = kubernetes.workloads("flight-delay", {"v2": {"run": "r2"}, "v3": {"run": "r3"}}, CLUSTER)
    route = kubernetes_routes.route("flight-delay", Traffic("v2", "v3", weight=1, addressable=BOTH), CLUSTER)
    services = {one["metadata"]["name"]: one for one in made if one["kind"] == "Service"}
    asked = {ref["name"] for rule in route["spec"]["rules"] for ref in rule["backendRefs"]}
    assert asked == set(services)
    pods = {
        one["spec"]["template"]["spec"]["containers"][0]["image"]: one["spec"]["template"]["metadata"]["labels"]
        for one in made
        if one["kind"] == "Deployment"
    }
    selected = {
        name: [i for i, labels in pods.items() if service["spec"]["selector"].items() <= labels.items()]
        for name, service in services.items()
    }
    assert selected == {
        "flight-delay-v2": ["registry.example/flight-delay:v2"],
        "flight-delay-v3": ["registry.example/flight-delay:v3"],
        "flight-delay-no-such-version": [],
    }
    assert {one["metadata"]["namespace"] for one in [*made, route]} == {"models"}
    assert route["spec"]["parentRefs"] == [{"name": "public", "namespace": "edge"}]


def test_a_pod_drains_before_it_ends_and_its_number_is_the_autoscalers() -> None:
    made = kubernetes.workloads("flight-delay", {"v2": {}}, CLUSTER)
    kinds = {one["kind"]: one["spec"] for one in made if one["metadata"]["name"] == "flight-delay-v2"}
    pod = kinds["Deployment"]["template"]["spec"]
    drained = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert drained == 7
    assert pod["terminationGracePeriodSeconds"] >= drained + 30
    assert "replicas" not in kinds["Deployment"]
    assert (kinds["HorizontalPodAutoscaler"]["minReplicas"], kinds["HorizontalPodAutoscaler"]["maxReplicas"]) == (2, 6)
    assert pod["securityContext"]["runAsNonRoot"]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"image": "registry.example/flight-delay:latest"}, "the same for every version"),
        ({"replicas": 3, "most_replicas": 2}, "3 to 2 replicas"),
        ({"namespace": "Models"}, "no name for Kubernetes"),
        ({"gateway": "a/b/c"}, "no name for Kubernetes"),
    ],
)
def test_what_no_cluster_would_take_is_refused(made: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        Cluster(**{"image": "x/{version}", **made})
    assert caught.value.todo


def test_what_cannot_be_said_there_is_refused() -> None:
    with pytest.raises(UsageError, match="split by key") as caught:
        kubernetes_routes.route("flight-delay", Traffic("v2", "v3", weight=1, sticky=True, addressable=BOTH), CLUSTER)
    assert "canary.sticky" in caught.value.todo
    with pytest.raises(UsageError, match="nothing serves"):
        kubernetes_routes.route("flight-delay", Traffic(""), CLUSTER)
