"""The clusters (CDS): where Envoy finds the processes of a version, and what it does when one of them fails.

Each version has four clusters over the same sockets, so that what happens to one kind of request neither counts for
nor limits another, and so that no definition changes while a release is under way: Envoy makes a changed cluster anew,
and its counters vanish.

- ``model_v3``: what users ask of the stable version
- ``candidate_v3``: what users ask of it as a candidate; five failures in a row take a process out for half a minute
- ``spare_v3``: what the candidate failed to answer, and requests that name the version
- ``shadow_v3``: copies; at most 64 at a time, so that a copy that hangs costs nothing but itself

During a release there is one more, ``release_v3_v2``: the first try goes to ``candidate_v3``, the second, and all of
them while no process of the candidate is well, to ``spare_v2``.

Sources: Envoy 1.40 API reference; composite cluster, ejection and hedging as tried against the real binary in
tests/adapters/test_edge_release.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

Role = Literal["model", "candidate", "spare", "shadow"]
ROLES: tuple[Role, ...] = ("model", "candidate", "spare", "shadow")
# Must be below the servers' own (server.py: 75 s), or a request can meet a connection that is being closed.
UPSTREAM_IDLE_S = 50
MOST_COPIES = 64
FAILURES_IN_A_ROW = 5
OUT_S = 30

_TYPE = "type.googleapis.com/envoy"


def cluster_name(version: str, role: Role = "model") -> str:
    """Name of a cluster of `version` in Envoy and in its statistics."""
    return f"{role}_{version}"


def release_name(candidate: str, stable: str) -> str:
    """Name of the cluster that asks `candidate` first, and `stable` for what that fails to answer."""
    return f"release_{candidate}_{stable}"


def clusters(
    versions: Mapping[str, Sequence[Path]], generation: str, releases: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """All clusters.

    Parameters
    ----------
    versions : mapping of str to sequence of Path
        The sockets of each version, one a process.
    generation : str
        Read back from Envoy when it has taken them.
    releases : sequence of (str, str)
        Candidate and stable version of each release under way; both among `versions`.
    """
    resources = [_cluster(version, role, socks) for version, socks in versions.items() for role in ROLES]
    resources += [_release(*pair) for pair in releases if set(pair) <= set(versions)]
    return {"version_info": generation, "resources": resources}


def _cluster(version: str, role: Role, sockets: Sequence[Path]) -> dict[str, Any]:
    name = cluster_name(version, role)
    copies = role == "shadow"
    threshold = {"max_connections": 1024, "max_requests": MOST_COPIES if copies else 1024, "max_retries": 64}
    if copies:
        threshold["max_pending_requests"] = MOST_COPIES
    return {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        # With the threshold on, Envoy would send requests to processes that it knows to be dead.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "outlier_detection": _strict() if role == "candidate" else _lenient(),
        "circuit_breakers": {"thresholds": [threshold]},
        # A copy that meets a dead process is lost and counted; nobody waits for it.
        **({} if copies else {"health_checks": [_health_check()]}),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http_protocol_options": {}},
                "common_http_protocol_options": {"idle_timeout": f"{UPSTREAM_IDLE_S}s"},
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(path)}}}} for path in sockets]}
            ],
        },
    }


def _lenient() -> dict[str, Any]:
    """A process that died has the fewest requests under way, and would be preferred until the health checks notice:
    the first connection that fails takes it out for a second, unless it is the only one.
    """
    return {
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
    }


def _strict() -> dict[str, Any]:
    """The way back that needs nobody: a process that fails so often in a row gets no users, and the last one too."""
    return {
        # Together: no answer, a broken connection and a time-out are failures like a 5xx.
        "split_external_local_origin_errors": False,
        "consecutive_5xx": FAILURES_IN_A_ROW,
        "enforcing_consecutive_5xx": 100,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "base_ejection_time": f"{OUT_S}s",
        "max_ejection_time": f"{10 * OUT_S}s",
        "interval": "0.5s",
        "max_ejection_percent": 100,
        # What answers /readyz may all the same fail every prediction.
        "successful_active_health_check_uneject_host": False,
    }


def _health_check() -> dict[str, Any]:
    return {
        "timeout": "2s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/readyz"},
    }


def _release(candidate: str, stable: str) -> dict[str, Any]:
    names = (cluster_name(candidate, "candidate"), cluster_name(stable, "spare"))
    return {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": release_name(candidate, stable),
        "connect_timeout": "1s",
        # Without these three second tries at a time would be the most (Envoy's default), and the fourth user would see
        # the candidate fail.
        "circuit_breakers": {"thresholds": [{"max_connections": 1024, "max_requests": 1024, "max_retries": 1024}]},
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.composite",
            "typed_config": {
                "@type": f"{_TYPE}.extensions.clusters.composite.v3.ClusterConfig",
                "clusters": [{"name": name} for name in names],
            },
        },
    }
