"""What Envoy reads: its start file, the clusters (CDS) and the routes (RDS), rendered as JSON values.

Pure functions from names and paths to documents. Routes and clusters are files that Envoy re-reads after a
rename (file xDS); everything else is fixed at its start. Sources: Envoy 1.40 API reference; ``retry_on`` and
health checks as tried in our tests against the real binary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlight.adapters.edge_guard import CLIENT_HEADER, Guard, unbuffered, watched

ROUTES = "greenlight"
STAT_PREFIX = "edge"
NOT_LIVE = {"error": "no version is live yet", "todo": "run greenlight retrain"}
NO_SUCH_PATH = {"error": "no such path", "todo": "see /docs; predictions are asked with POST /predict"}
# What a model server answers. Everything else is answered by the edge itself.
PATHS = ("/", "/predict", "/labels", "/docs", "/openapi.json", "/livez", "/readyz", "/metrics", "/v2")
PREFIXES = ("/static_content/", "/v2/", "/v1/models/")
# What changes something: asked once, never mirrored, never asked again on its own.
CHANGES = frozenset({"/labels"})
REQUEST_TIMEOUT_S = 30
# Tables take longer: somewhat more than the servers' own limit (bulk.py), so that theirs is what a client hears.
BULK_PATH, BULK_TIMEOUT_S = "/bulk", 130
# Must be below the servers' own (server.py: 75 s), or a request can meet a connection that is being closed.
UPSTREAM_IDLE_S = 50

_TYPE = "type.googleapis.com/envoy"


@dataclass(frozen=True)
class EdgePaths:
    """Files and addresses of one edge.

    Attributes
    ----------
    folder : Path
        Holds the start file and the watched folders ``cds`` and ``rds``.
    admin : Path
        Unix socket of the admin interface.
    access_log : Path
        One JSON line a request.
    host, port
        Where the edge listens.
    """

    folder: Path
    admin: Path
    access_log: Path
    host: str
    port: int

    @property
    def bootstrap(self) -> Path:
        """The start file."""
        return self.folder / "envoy.json"

    @property
    def clusters(self) -> Path:
        """The clusters; its folder is watched."""
        return self.folder / "cds" / "clusters.json"

    @property
    def routes(self) -> Path:
        """The routes; its folder is watched."""
        return self.folder / "rds" / "routes.json"


def bootstrap(paths: EdgePaths, guard: Guard) -> dict[str, Any]:
    """The start file: admin on a unix socket, one listener, clusters and routes from watched files."""
    return {
        "node": {"id": "edge", "cluster": "greenlight"},
        # Open to us alone, and open when clients have taken every connection there may be.
        "admin": {"address": {"pipe": {"path": str(paths.admin), "mode": 0o600}}, "ignore_global_conn_limit": True},
        "stats_flush_interval": "1s",
        "dynamic_resources": {"cds_config": watched(paths.clusters)},
        "static_resources": {"listeners": [_listener(paths, guard)]},
        **guard.overload(),
    }


def clusters(versions: Mapping[str, Sequence[Path]], generation: str) -> dict[str, Any]:
    """The clusters: one a version, each with the sockets of its processes, health-checked."""
    return {"version_info": generation, "resources": [_cluster(v, socks) for v, socks in versions.items()]}


def routes(live: str, generation: str) -> dict[str, Any]:
    """The routes: all traffic to `live`, or an answer that says that nothing is live yet."""
    if live:
        table = [_to_version(live, {"path": path}) for path in PATHS]
        table += [_to_version(live, {"prefix": prefix}) for prefix in PREFIXES]
        # A table passes in pieces, and the model server limits it: held whole, a few of them would fill the memory.
        table.append(
            {**_to_version(live, {"path": BULK_PATH}, BULK_TIMEOUT_S), "typed_per_filter_config": unbuffered()}
        )
        table.append(_says(404, NO_SUCH_PATH))
    else:
        table = [_says(503, NOT_LIVE)]
    return {
        "version_info": generation,
        "resources": [
            {
                "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
                "name": ROUTES,
                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": table}],
            }
        ],
    }


def live_of(document: Mapping[str, Any]) -> str:
    """The version that a document made by `routes` sends traffic to; empty for none."""
    first = document["resources"][0]["virtual_hosts"][0]["routes"][0]
    cluster = first.get("route", {}).get("cluster", "")
    return str(cluster).removeprefix(cluster_name(""))


def cluster_name(version: str) -> str:
    """Name of the cluster of `version` in Envoy and in its statistics."""
    return f"model_{version}"


def _cluster(version: str, sockets: Sequence[Path]) -> dict[str, Any]:
    name = cluster_name(version)
    options = {
        "explicit_http_config": {"http_protocol_options": {}},
        "common_http_protocol_options": {"idle_timeout": f"{UPSTREAM_IDLE_S}s"},
    }
    return {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        # With the threshold on, Envoy would send requests to processes that it knows to be dead.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        # A process that died has the fewest requests under way, and would be preferred until the health checks notice:
        # the first connection that fails takes it out for a second, unless it is the only one.
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 1,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "base_ejection_time": "1s",
            "max_ejection_time": "2s",
            "interval": "0.5s",
            "max_ejection_percent": 50,
        },
        "circuit_breakers": {"thresholds": [{"max_connections": 1024, "max_requests": 1024, "max_retries": 64}]},
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {"path": "/readyz"},
            }
        ],
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                **options,
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(path)}}}} for path in sockets]}
            ],
        },
    }


def _to_version(version: str, match: dict[str, Any], timeout_s: int | None = None) -> dict[str, Any]:
    route: dict[str, Any] = {"cluster": cluster_name(version), "timeout": f"{timeout_s or REQUEST_TIMEOUT_S}s"}
    if match.get("path") in CHANGES:
        return {"match": match, "route": route}
    return {
        "match": match,
        "route": {
            **route,
            # A prediction changes nothing, so it may be asked again: a process that dies costs no request.
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset",
                "num_retries": 3,
                "retry_host_predicate": [
                    {
                        "name": "envoy.retry_host_predicates.previous_hosts",
                        "typed_config": {
                            "@type": f"{_TYPE}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                        },
                    }
                ],
                "host_selection_retry_max_attempts": 10,
            },
        },
    }


def _says(status: int, body: dict[str, str]) -> dict[str, Any]:
    return {
        "match": {"prefix": "/"},
        "direct_response": {"status": status, "body": {"inline_string": json.dumps(body) + "\n"}},
        "response_headers_to_add": [
            {
                "header": {"key": "content-type", "value": "application/json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }


def _listener(paths: EdgePaths, guard: Guard) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STAT_PREFIX,
        "use_remote_address": True,
        # The caller's id survives, and everybody gets one back: it is what joins logs.
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "rds": {"route_config_name": ROUTES, "config_source": watched(paths.routes)},
        "access_log": [_access_log(paths.access_log)],
        "local_reply_config": {"mappers": [*guard.answers(), _own_error_as_json()]},
        **guard.manager(),
        "http_filters": [
            *guard.http_filters(),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": "front",
        "address": {"socket_address": {"address": paths.host, "port_value": paths.port}},
        # Otherwise a second Envoy could share the port and take half of the requests.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "filter_chains": [chain | guard.filter_chain()],
    }


def _access_log(path: Path) -> dict[str, Any]:
    fields = {
        "at": "%START_TIME(%Y-%m-%dT%H:%M:%E3SZ)%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "method": "%REQ(:METHOD)%",
        # Without its query: somebody may have put a key there.
        "path": "%PATH(NQ:PATH)%",
        "client": f"%REQ({CLIENT_HEADER.upper()})%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "version": "%RESP(X-MODEL-VERSION)%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "ms": "%DURATION%",
    }
    return {
        "name": "json",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"json_format": fields},
        },
    }


def _own_error_as_json() -> dict[str, Any]:
    """What Envoy says by itself (no healthy server, time out) gets the shape of every other error."""
    body = {"error": "the edge got no answer from the model servers: %LOCAL_REPLY_BODY%", "flags": "%RESPONSE_FLAGS%"}
    shape = {"json_format": body, "content_type": "application/json"}
    # Our own direct answers carry no response flag and stay as they are; no flags named means any flag.
    return {"filter": {"response_flag_filter": {}}, "body_format_override": shape}
