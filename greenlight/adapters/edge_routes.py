"""The routes (RDS): which version answers which request, as a pure function of what the desired state says.

Sources: Envoy 1.40 API reference (``config.route.v3``); the split by a salted key is recomputed by
`greenlight.core.assignment.assign`, which the tests hold against the real binary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from greenlight.adapters.edge_clusters import cluster_name, release_name
from greenlight.adapters.edge_guard import unbuffered
from greenlight.core.assignment import split
from greenlight.core.rollout import Traffic

ROUTES = "greenlight"
HOST = "all"
ASKED = "predictions"
NOT_LIVE = {"error": "no version is live yet", "todo": "run greenlight retrain"}
NO_SUCH_PATH = {"error": "no such path", "todo": "see /docs; predictions are asked with POST /predict"}
# What a model server answers. Everything else is answered by the edge itself.
PATHS = (
    "/",
    "/labels",
    "/docs",
    "/openapi.json",
    "/livez",
    "/readyz",
    "/metrics",
    "/v2",
    "/ping",
    "/health",
    "/version",
    "/schema.json",
)
PREFIXES = ("/static_content/", "/v2/", "/v1/models/")
# TensorFlow Serving's ways to ask for a prediction.
TF_VERBS = ("predict", "classify", "regress")
# What a candidate gets its share of: it may be asked twice, and copied, because it changes nothing.
PREDICTIONS: tuple[dict[str, Any], ...] = (
    {"path": "/predict"},
    {"path": "/invocations"},
    {"safe_regex": {"regex": "/v2/models/[^/]+/infer"}},
    {"safe_regex": {"regex": f"/v1/models/[^/:]+:({'|'.join(TF_VERBS)})"}},
)
# What changes something: asked once, never copied, never asked again on its own.
CHANGES = frozenset({"/labels"})
REQUEST_TIMEOUT_S = 30
# Tables take longer: somewhat more than the servers' own limit (bulk.py), so that theirs is what a client hears.
BULK_PATH, BULK_TIMEOUT_S = "/bulk", 130
# After so long a second try is begun beside the first, and the first answer counts.
TRY_TIMEOUT_S = 1
MAX_BODY_BYTES = 8 * 1024 * 1024

PIN = "x-model-pin"
KEY = "x-greenlight-key"
SHADOW = "x-shadow"

_TYPE = "type.googleapis.com/envoy"


def routes(traffic: Traffic, generation: str) -> dict[str, Any]:
    """All routes; without anything live one answer that says so.

    Parameters
    ----------
    traffic : Traffic
        Who gets what.
    generation : str
        Read back from Envoy when it has taken them.
    """
    if traffic.stable:
        table = [*_pinned(traffic), *_addressed(traffic)]
        table += [_predictions(traffic, match) for match in PREDICTIONS]
        table += [_to_stable(traffic, {"path": path}) for path in PATHS]
        table += [_to_stable(traffic, {"prefix": prefix}) for prefix in PREFIXES]
        table.append(_tables(traffic))
        table.append(_says(404, NO_SUCH_PATH))
    else:
        table = [_says(503, NOT_LIVE)]
    host: dict[str, Any] = {"name": HOST, "domains": ["*"], "routes": table, "virtual_clusters": [_asked()]}
    # A body is kept until an answer is there; what does not fit could not be asked of another version.
    host["request_body_buffer_limit"] = 2 * MAX_BODY_BYTES
    return {
        "version_info": generation,
        "resources": [
            {
                "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
                "name": ROUTES,
                "virtual_hosts": [host],
                "metadata": {"filter_metadata": {"greenlight": {"stable": traffic.stable}}},
            }
        ],
    }


def _asked() -> dict[str, Any]:
    """Has Envoy count what asks for a prediction, whoever answers: a scrape of /metrics is nobody's request."""
    paths = "|".join(match["path"] if "path" in match else match["safe_regex"]["regex"] for match in PREDICTIONS)
    path = {"safe_regex": {"regex": rf"({paths})(\?.*)?"}}
    return {"name": ASKED, "headers": [_header(":path", path), _header(":method", {"exact": "POST"})]}


def live_of(document: Mapping[str, Any]) -> str:
    """The version that a document made by `routes` sends traffic to; empty for none."""
    resource = document["resources"][0]
    if "metadata" in resource:
        return str(resource["metadata"]["filter_metadata"]["greenlight"]["stable"])
    first = resource["virtual_hosts"][0]["routes"][0]  # written before there were releases by steps
    return str(first.get("route", {}).get("cluster", "")).removeprefix(cluster_name(""))


def same(document: Mapping[str, Any], traffic: Traffic) -> bool:
    """Whether a document says what `routes` would say of `traffic` now."""
    return bool(routes(traffic, str(document.get("version_info"))) == document)


def _pinned(traffic: Traffic) -> list[dict[str, Any]]:
    """A request that names a version, or a label, is answered by that one or not at all."""
    named = {version: version for version in traffic.addressable}
    named["stable"] = traffic.stable
    if traffic.candidate:
        named["candidate"] = traffic.candidate
    table = [
        _plain(cluster_name(version, "spare"), {"prefix": "/", "headers": [_header(PIN, {"exact": name})]})
        for name, version in named.items()
    ]
    there = ", ".join(named)
    unknown = {"error": f"no version of this name answers here; there are: {there}", "todo": f"correct {PIN}"}
    table.append(_says(404, unknown, {"prefix": "/", "headers": [{"name": PIN, "present_match": True}]}))
    return table


def _addressed(traffic: Traffic) -> list[dict[str, Any]]:
    """The same for versions and labels in a path, as TensorFlow Serving and the Open Inference Protocol have them.

    The server is told with `PIN` what was named: what a label stands for is known here alone, and an answer that
    somebody asked of this version is kept as such.
    """
    named = {f"versions/v?{version[1:]}": (version, version) for version in traffic.addressable}
    named["labels/stable"] = (traffic.stable, "stable")
    if traffic.candidate:
        named["labels/candidate"] = (traffic.candidate, "candidate")
    return [
        _plain(cluster_name(version, "spare"), {"safe_regex": {"regex": f"/v[12]/models/[^/:]+/{where}([/:].*)?"}})
        | {
            "request_headers_to_add": [
                {"header": {"key": PIN, "value": name}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            ]
        }
        for where, (version, name) in named.items()
    ]


def _predictions(traffic: Traffic, match: dict[str, Any]) -> dict[str, Any]:
    if traffic.mirror:
        return _mirrored(traffic, match)
    return _shared(traffic, match) if traffic.weight else _to_stable(traffic, match)


def _to_stable(traffic: Traffic, match: dict[str, Any]) -> dict[str, Any]:
    route = _plain(cluster_name(traffic.stable), match)
    if match.get("path") in CHANGES:
        del route["route"]["retry_policy"]
    return route


def _tables(traffic: Traffic) -> dict[str, Any]:
    """A table passes in pieces, and the model server limits it: held whole, a few of them would fill the memory."""
    route = _plain(cluster_name(traffic.stable), {"path": BULK_PATH})
    route["route"]["timeout"] = f"{BULK_TIMEOUT_S}s"
    return {**route, "typed_per_filter_config": unbuffered()}


def _shared(traffic: Traffic, match: dict[str, Any]) -> dict[str, Any]:
    """Candidate and stable version each answer their share, and nobody sees the candidate fail.

    What fails, or takes too long, is asked once more: of the stable version where the candidate was asked. The same
    holds for the stable version, so that the failures of both are counted alike.
    """
    names = {
        traffic.candidate: release_name(traffic.candidate, traffic.stable),
        traffic.stable: cluster_name(traffic.stable),
    }
    arms = split(traffic.candidate, traffic.weight, traffic.stable)
    weighted: dict[str, Any] = {"clusters": [{"name": names[arm], "weight": weight} for arm, weight in arms]}
    route: dict[str, Any] = {
        "weighted_clusters": weighted,
        "timeout": f"{REQUEST_TIMEOUT_S}s",
        "retry_policy": {
            "retry_on": "5xx,reset,connect-failure,refused-stream",
            "num_retries": 1,
            "per_try_timeout": f"{TRY_TIMEOUT_S}s",
            **_another_process(),
        },
        # A try that takes long is not given up: an honest large request must not fail for it.
        "hedge_policy": {"hedge_on_per_try_timeout": True},
    }
    if traffic.sticky:
        weighted["use_hash_policy"] = True
        salted = {"pattern": {"regex": "^(.*)$"}, "substitution": f"{traffic.salt}:\\1"}
        header = {"header_name": KEY, **({"regex_rewrite": salted} if traffic.salt else {})}
        route["hash_policy"] = [{"header": header}]
    return {"match": match, "route": route}


def _mirrored(traffic: Traffic, match: dict[str, Any]) -> dict[str, Any]:
    """The stable version answers; the candidate gets copies, whose answers go nowhere."""
    found = _plain(cluster_name(traffic.stable), match)
    mark = {"header": {"key": SHADOW, "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    found["route"]["request_mirror_policies"] = [
        {
            "cluster": cluster_name(traffic.candidate, "shadow"),
            "runtime_fraction": {"default_value": {"numerator": traffic.mirror, "denominator": "TEN_THOUSAND"}},
            "disable_shadow_host_suffix_append": True,
            "request_headers_mutations": [{"append": mark}],
        }
    ]
    return found


def _plain(cluster: str, match: dict[str, Any]) -> dict[str, Any]:
    return {
        "match": match,
        "route": {
            "cluster": cluster,
            "timeout": f"{REQUEST_TIMEOUT_S}s",
            # A prediction changes nothing, so it may be asked again: a process that dies costs no request.
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset",
                "num_retries": 3,
                **_another_process(),
            },
        },
    }


def _another_process() -> dict[str, Any]:
    kind = f"{_TYPE}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    predicate = {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": kind}}
    return {"retry_host_predicate": [predicate], "host_selection_retry_max_attempts": 10}


def _header(name: str, match: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "string_match": match}


def _says(status: int, body: dict[str, str], match: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "match": match or {"prefix": "/"},
        "direct_response": {"status": status, "body": {"inline_string": json.dumps(body) + "\n"}},
        "response_headers_to_add": [
            {
                "header": {"key": "content-type", "value": "application/json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }
