"""What of Envoy's configuration keeps clients within bounds: keys, rates, sizes, times, connections, certificates.

Pure functions from a `Guard` to parts that :mod:`greenlight.adapters.edge_config` puts into the start file. Keys and
certificates are files of their own that Envoy re-reads after a rename, so that neither needs a restart. Everything that
the edge refuses by itself is answered in JSON with what to do.

Sources: Envoy 1.40, "Configuring Envoy as an edge proxy" (configuration/best_practices/edge) for what is limited and
why, and the API references of the filters named; each limit is tried against the real binary in the tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenlight.edge_settings import EdgeSettings

CLIENT_HEADER = "x-greenlight-client"
KEY_HEADERS = ("authorization", "x-api-key")
KEYS = "client_keys"
CERTIFICATE = "edge_certificate"
# Whoever asks only whether the edge is alive needs no key.
OPEN_PATHS = ("/livez", "/readyz")
# The edge alone may say these: which client asks, what is a copy for a shadow, and how Envoy is to route and retry.
OURS = (CLIENT_HEADER, "x-shadow")
OURS_PREFIX = "x-envoy-"

HEADERS_KIB = 32
HEADERS = 100
HEADERS_TIME_S = 10
# More than a request may take upstream (edge_config.REQUEST_TIMEOUT_S), or the edge would cut off what is at work.
STREAM_IDLE_S = 45
CONNECTION_IDLE_S = 300
HANDSHAKE_S = 10
# Clients whose rates are known at a time; the one that was silent longest is forgotten first.
MAX_CLIENTS = 10_000

_TYPE = "type.googleapis.com/envoy"


@dataclass(frozen=True)
class Guard:
    """How far clients may go.

    Attributes
    ----------
    folder : Path
        Holds the watched folders ``keys`` and ``certificate``.
    settings : EdgeSettings
        The limits.
    """

    folder: Path
    settings: EdgeSettings = field(default_factory=EdgeSettings)

    @property
    def keys(self) -> Path:
        """The clients' keys; its folder is watched, and nobody else may read it."""
        return self.folder / "keys" / "clients.json"

    @property
    def certificate(self) -> Path:
        """Names certificate and key; its folder is watched."""
        return self.folder / "certificate" / "certificate.json"

    def http_filters(self) -> list[dict[str, Any]]:
        """What a request passes before it is routed: its key, its client's rate, its size."""
        found = [self._rate()] if self.settings.rate_limit else []
        return [*([self._keys()] if self.settings.client_keys else []), *found, self._size()]

    def manager(self) -> dict[str, Any]:
        """Fields of the HTTP connection manager: times, header limits, paths, headers that clients may not set."""
        mutations: list[dict[str, Any]] = [{"remove": name} for name in OURS]
        mutations.append({"remove_on_match": {"key_matcher": {"prefix": OURS_PREFIX}}})
        strip = {
            "@type": f"{_TYPE}.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": mutations,
        }
        return {
            # Of HTTP/2 a refusal before the body's end comes with a reset of the stream, over which some clients lose
            # the answer: curl 7.88 lost 3 in 12. And there is less to attack.
            "codec_type": "HTTP1",
            "request_headers_timeout": f"{min(HEADERS_TIME_S, self.settings.receive_timeout_s):g}s",
            "request_timeout": f"{self.settings.receive_timeout_s:g}s",
            "stream_idle_timeout": f"{max(STREAM_IDLE_S, math.ceil(self.settings.receive_timeout_s) + 15)}s",
            "max_request_headers_kb": HEADERS_KIB,
            "common_http_protocol_options": {
                "idle_timeout": f"{CONNECTION_IDLE_S}s",
                "max_headers_count": HEADERS,
                "headers_with_underscores_action": "DROP_HEADER",
            },
            # Proxies and probes still speak HTTP/1.0: nginx to its upstreams, HAProxy's checks, ab.
            "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "localhost"},
            "normalize_path": True,
            "merge_slashes": True,
            # Before anything looks at the request: nothing behind may be decided by what a client made up.
            "early_header_mutation_extensions": [{"name": "headers of the edge alone", "typed_config": strip}],
        }

    def answers(self) -> list[dict[str, Any]]:
        """What the edge says when it refuses: mappers of local replies, in the shape of every other error."""
        mib = f"{self.settings.max_body_mb:g}"
        rate = f"{self.settings.rate_limit:g} requests a second, {self.settings.burst} at once"
        key = "send it as `authorization: Bearer <key>`; `greenlight clients add NAME` makes one"
        said = {
            400: ("the edge cannot read the request: %RESPONSE_CODE_DETAILS%", "send HTTP/1.1 or HTTP/1.0"),
            403: ("the edge does not switch protocols", "send plain HTTP/1.1, without Upgrade"),
            401: ("the API key is missing or not known", key),
            408: ("the request did not arrive in time", f"send it within {self.settings.receive_timeout_s:g} s"),
            413: (f"the body has more than {mib} MiB", "send fewer rows at once"),
            429: (f"too many requests from this client; it may send {rate}", "wait as long as retry-after says"),
            431: (f"the headers have more than {HEADERS_KIB} KiB, or are more than {HEADERS}", "send fewer headers"),
        }
        return [_mapper(status, error, todo) for status, (error, todo) in said.items()]

    def overload(self) -> dict[str, Any]:
        """Fields of the start file: how many connections there may be."""
        limit = {
            "@type": f"{_TYPE}.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            "max_active_downstream_connections": self.settings.max_connections,
        }
        monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": limit}
        return {"overload_manager": {"resource_monitors": [monitor]}}

    def filter_chain(self) -> dict[str, Any]:
        """Fields of the listener's filter chain: TLS, where there is a certificate."""
        if not self.settings.tls_cert:
            return {}
        secret = {"name": CERTIFICATE, "sds_config": watched(self.certificate)}
        context = {
            "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["http/1.1"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificate_sds_secret_configs": [secret],
            },
        }
        return {
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
            "transport_socket_connect_timeout": f"{HANDSHAKE_S}s",
        }

    def _keys(self) -> dict[str, Any]:
        """The filter whose configuration is the file of keys; until that was read once, nobody gets in."""
        kinds = ("common.matching.v3.ExtensionWithMatcher", "filters.http.api_key_auth.v3.ApiKeyAuth")
        types = [f"{_TYPE}.extensions.{kind}" for kind in kinds]
        return {"name": KEYS, "config_discovery": {"config_source": watched(self.keys), "type_urls": types}}

    def _rate(self) -> dict[str, Any]:
        rate = self.settings.rate_limit
        tokens = math.ceil(rate)
        bucket = {
            "max_tokens": max(self.settings.burst, tokens),
            "tokens_per_fill": tokens,
            "fill_interval": f"{tokens / rate:.6f}s",
        }
        named = {"request_headers": {"header_name": CLIENT_HEADER, "descriptor_key": "client"}}
        action = named if self.settings.client_keys else {"remote_address": {}}
        entry = "client" if self.settings.client_keys else "remote_address"
        wait = {"header": {"key": "retry-after", "value": str(math.ceil(1 / rate))}}
        return {
            "name": "rate",
            "typed_config": {
                "@type": f"{_TYPE}.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
                "stat_prefix": "edge_rate",
                "filter_enabled": {"default_value": {"numerator": 100}},
                "filter_enforced": {"default_value": {"numerator": 100}},
                "rate_limits": [{"actions": [action]}],
                # An entry without a value stands for every value: each client gets a bucket of its own.
                "descriptors": [{"entries": [{"key": entry}], "token_bucket": bucket}],
                "max_dynamic_descriptors": MAX_CLIENTS,
                "response_headers_to_add": [{**wait, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
            },
        }

    def _size(self) -> dict[str, Any]:
        """Takes the body whole before anything goes on: a model server never waits for a slow client."""
        kind = f"{_TYPE}.extensions.filters.http.buffer.v3.Buffer"
        return {"name": "size", "typed_config": {"@type": kind, "max_request_bytes": self.settings.max_body_bytes}}


def unbuffered() -> dict[str, Any]:
    """What a route says whose bodies may be larger than the limit of all others, and pass as they arrive."""
    return {"size": {"@type": f"{_TYPE}.extensions.filters.http.buffer.v3.BufferPerRoute", "disabled": True}}


def keys_document(credentials: list[tuple[str, str]], generation: str) -> dict[str, Any]:
    """The file of keys.

    Parameters
    ----------
    credentials : list of (str, str)
        Key and client; a client may have several keys.
    generation : str
        Envoy's name for this content.
    """
    auth = {
        "@type": f"{_TYPE}.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
        "credentials": [{"key": key, "client": client} for key, client in credentials],
        "key_sources": [{"header": name} for name in KEY_HEADERS],
        "forwarding": {"header": CLIENT_HEADER, "hide_credentials": True},
    }
    skip = {
        "action": {
            "name": "open",
            "typed_config": {"@type": f"{_TYPE}.extensions.filters.common.matcher.action.v3.SkipFilter"},
        }
    }
    path = {"@type": f"{_TYPE}.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": ":path"}
    matched = {
        "@type": f"{_TYPE}.extensions.common.matching.v3.ExtensionWithMatcher",
        "extension_config": {"name": KEYS, "typed_config": auth},
        "xds_matcher": {
            "matcher_tree": {
                "input": {"name": "path", "typed_config": path},
                "exact_match_map": {"map": dict.fromkeys(OPEN_PATHS, skip)},
            }
        },
    }
    resource = {"@type": f"{_TYPE}.config.core.v3.TypedExtensionConfig", "name": KEYS, "typed_config": matched}
    return {"version_info": generation, "resources": [resource]}


def credentials_of(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Key and client of each credential of a document made by `keys_document`."""
    found = document["resources"][0]["typed_config"]["extension_config"]["typed_config"]["credentials"]
    return [(str(one["key"]), str(one["client"])) for one in found]


def certificate_document(cert: Path, key: Path, folder: Path, generation: str) -> dict[str, Any]:
    """The file that names certificate and key.

    Parameters
    ----------
    cert, key : Path
        As Envoy is to open them. It reads them again when these names change, not when only what they hold did.
    folder : Path
        Envoy also reads both again when something is renamed in here.
    generation : str
        Envoy's name for this content.
    """
    named = {
        "certificate_chain": {"filename": str(cert)},
        "private_key": {"filename": str(key)},
        "watched_directory": {"path": str(folder)},
    }
    kind = f"{_TYPE}.extensions.transport_sockets.tls.v3.Secret"
    resource = {"@type": kind, "name": CERTIFICATE, "tls_certificate": named}
    return {"version_info": generation, "resources": [resource]}


def watched(path: Path) -> dict[str, Any]:
    """A configuration source that is a file, read again after a rename in its folder."""
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
    }


def _mapper(status: int, error: str, todo: str) -> dict[str, Any]:
    equal = {"op": "EQ", "value": {"default_value": status, "runtime_key": f"greenlight.edge.status_{status}"}}
    return {
        "filter": {"status_code_filter": {"comparison": equal}},
        "body_format_override": {"json_format": {"error": error, "todo": todo}, "content_type": "application/json"},
    }
