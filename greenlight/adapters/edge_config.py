"""What Envoy reads at its start, rendered as JSON values.

Pure functions from names and paths to documents. Clusters (`edge_clusters`) and routes (`edge_routes`) are files that
Envoy re-reads after a rename (file xDS); everything else is fixed here. Source: Envoy 1.40 API reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlight.adapters.edge_guard import CLIENT_HEADER, Guard, watched
from greenlight.adapters.edge_routes import REQUEST_TIMEOUT_S as REQUEST_TIMEOUT_S
from greenlight.adapters.edge_routes import ROUTES

STAT_PREFIX = "edge"
# Answers are packed for who asks, the better coding first where a client takes both.
CODINGS = ("zstd", "gzip")
# Of less, packing saves two TCP segments at most.
PACK_FROM_BYTES = 4096
PACKED_TYPES = (
    "application/json",
    "application/vnd.apache.arrow.stream",
    "text/html",
    "text/css",
    "text/javascript",
    "application/javascript",
    "text/plain",
    "image/svg+xml",
)
# What is told apart in the seconds of an answer; the limits of "slow" are among them.
MS = (0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10000, 30000)

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
        "stats_config": {"histogram_bucket_settings": [{"match": {"suffix": "upstream_rq_time"}, "buckets": list(MS)}]},
        "dynamic_resources": {"cds_config": watched(paths.clusters)},
        "static_resources": {"listeners": [_listener(paths, guard)]},
        **guard.overload(),
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
            *(_compressor(coding) for coding in CODINGS),
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


def _compressor(coding: str) -> dict[str, Any]:
    """Packs answers on the edge's threads: a model server that did it would score nothing meanwhile.

    At its fastest level; a higher one takes several times as long for a few percent.
    """
    library = {
        "gzip": {"compression_level": "BEST_SPEED", "@type": f"{_TYPE}.extensions.compression.gzip.compressor.v3.Gzip"},
        "zstd": {"compression_level": 1, "@type": f"{_TYPE}.extensions.compression.zstd.compressor.v3.Zstd"},
    }[coding]
    common = {"min_content_length": PACK_FROM_BYTES, "content_type": list(PACKED_TYPES)}
    return {
        "name": f"pack_{coding}",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.http.compressor.v3.Compressor",
            "response_direction_config": {"common_config": common},
            "choose_first": coding == CODINGS[0],
            "compressor_library": {"name": coding, "typed_config": library},
        },
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
