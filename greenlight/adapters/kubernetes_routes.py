"""Who answers what on Kubernetes: one HTTPRoute that carries weights, copies and pins.

A pure function from what the edge would be told (`greenlight.core.rollout.Traffic`) to a manifest.

Source: Gateway API 1.3, standard channel (``RequestMirror`` with a fraction since 1.3, up to 64 matches in a rule since
1.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from greenlight.adapters.edge_routes import PIN, TF_VERBS
from greenlight.adapters.kubernetes import NO_SUCH_VERSION, Cluster, Manifest, metadata
from greenlight.core.assignment import TOTAL
from greenlight.core.rollout import Traffic
from greenlight.errors import UsageError


def route(app: str, traffic: Traffic, cluster: Cluster) -> Manifest:
    """Who answers what.

    Raises
    ------
    UsageError
        Nothing is live; the split goes by a key, which Gateway API has no words for.
    """
    if not traffic.stable:
        raise UsageError("nothing serves, and nothing is to serve", todo="name a version: greenlight render v1")
    if traffic.sticky and traffic.weight:
        raise UsageError(
            "a split by key cannot be said in Gateway API: it has weights, and no hash of a header",
            todo="plan it without ab and with canary.sticky: false, or run this release on one machine",
        )
    model = app.replace("-", "_")
    asked = ["/predict", "/invocations", f"/v2/models/{model}/infer", *(f"/v1/models/{model}:{v}" for v in TF_VERBS)]
    named: dict[str, list[str]] = {version: [version] for version in traffic.addressable}
    named.setdefault(traffic.stable, [traffic.stable]).append("stable")
    if traffic.candidate:
        named.setdefault(traffic.candidate, [traffic.candidate]).append("candidate")
    rules: list[Manifest] = [_pinned(app, version, names, asked, model) for version, names in named.items()]
    # Between equally good matches the first rule wins, so what is left of the pins names no version that is there.
    unknown = [_match(path, {PIN: ".+"}, "RegularExpression") for path in [*asked, ""]]
    rules.append({"matches": unknown, "backendRefs": [_backend(app, NO_SUCH_VERSION)]})
    rules.append({"matches": [_match(path) for path in asked], **_shared(app, traffic)})
    rules.append({"matches": [_match("")], "backendRefs": [_backend(app, traffic.stable)]})
    namespace, _, gateway = cluster.gateway.rpartition("/")
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(app, app, cluster),
        "spec": {
            "parentRefs": [{"name": gateway, **({"namespace": namespace} if namespace else {})}],
            **({"hostnames": [cluster.host]} if cluster.host else {}),
            "rules": rules,
        },
    }


def _shared(app: str, traffic: Traffic) -> Manifest:
    """Weights, or copies: what a candidate gets of the predictions."""
    if traffic.mirror:
        mirror = {
            "backendRef": _backend(app, traffic.candidate),
            "fraction": {"numerator": traffic.mirror, "denominator": TOTAL},
        }
        filters = [{"type": "RequestMirror", "requestMirror": mirror}]
        return {"filters": filters, "backendRefs": [_backend(app, traffic.stable)]}
    if not traffic.weight:
        return {"backendRefs": [_backend(app, traffic.stable)]}
    shares = {traffic.candidate: traffic.weight, traffic.stable: TOTAL - traffic.weight}
    return {"backendRefs": [{**_backend(app, version), "weight": share} for version, share in shares.items()]}


def _pinned(app: str, version: str, names: Sequence[str], asked: Sequence[str], model: str) -> Manifest:
    """Requests that name a version: by a header, or in their path.

    An exact path beats any header in Gateway API, so the header stands beside each path of a prediction once more.
    """
    matches = [_match(path, {PIN: name}) for name in names for path in [*asked, ""]]
    where = [f"versions/{version}", f"versions/{version[1:]}", *(f"labels/{n}" for n in names if n != version)]
    for place in where:
        matches.append(_match(f"/v1/models/{model}/{place}", whole=False))
        matches += [_match(f"/v1/models/{model}/{place}:{verb}") for verb in TF_VERBS]
        matches.append(_match(f"/v2/models/{model}/{place}", whole=False))
    return {"matches": matches, "backendRefs": [_backend(app, version)]}


def _match(path: str, headers: Mapping[str, str] | None = None, kind: str = "Exact", *, whole: bool = True) -> Manifest:
    """A match of a whole path, of all that begins with it, or of every path where it is empty."""
    where = {"type": "Exact" if path and whole else "PathPrefix", "value": path or "/"}
    found: Manifest = {"path": where}
    if headers:
        found["headers"] = [{"type": kind, "name": name, "value": value} for name, value in headers.items()]
    return found


def _backend(app: str, version: str) -> Manifest:
    return {"name": f"{app}-{version}", "port": 80}
