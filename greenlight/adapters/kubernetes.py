"""The desired state as Kubernetes objects, for teams whose traffic has outgrown one machine.

Pure functions from what the edge would be told (`greenlight.core.rollout.Traffic`) to manifests: a Deployment, a
Service, an autoscaler and a disruption budget per version, and one HTTPRoute that carries weights, copies and pins.

Sources: Kubernetes API reference 1.30 (``apps/v1``, ``autoscaling/v2``, ``policy/v1``, ``preStop.sleep``); Gateway API
1.3, standard channel (``RequestMirror`` with a fraction since 1.3, up to 64 matches in a rule since 1.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenlight.core.assignment import TOTAL
from greenlight.core.rollout import Traffic
from greenlight.errors import UsageError

PORT = 3000  # of a bento's container
PIN = "x-model-pin"
# A DNS label (RFC 1123); the longest name made of it gets 16 more characters, of 63.
NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?$")
NO_SUCH_VERSION = "no-such-version"
READY_WITHIN_S, UNDER_WAY_S = 120, 30  # for a start; for the longest request
BENTOML_USER = 1034  # of the images that `bentoml containerize` makes

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """Where the objects are to live.

    Attributes
    ----------
    image : str
        Image of a version; ``{version}`` stands for its name.
    gateway : str
        The Gateway that the route hangs on, as ``name`` or ``namespace/name``.
    namespace : str
        Of everything made here; empty: whatever ``kubectl`` uses.
    host : str
        Host name of the route; empty: all that the Gateway listens to.
    replicas, most_replicas : int
        Pods of a version, at least 1 and at most.
    drain_s : int
        Seconds between the end of a pod's traffic and its end.

    Raises
    ------
    UsageError
        Something cannot be: an image that is the same for every version, numbers out of order, no DNS name.
    """

    image: str
    gateway: str = "greenlight"
    namespace: str = ""
    host: str = ""
    replicas: int = 2
    most_replicas: int = 10
    drain_s: int = 5

    def __post_init__(self) -> None:
        """Check what no cluster would take."""
        if "{version}" not in self.image:
            raise UsageError(
                f"the image {self.image!r} is the same for every version",
                where="--image",
                todo="let it contain {version}, such as registry.example/flight-delay:{version}",
            )
        if not 1 <= self.replicas <= self.most_replicas:
            raise UsageError(
                f"{self.replicas} to {self.most_replicas} replicas; at least 1, and not more than the most",
                where="--replicas, --most-replicas",
                todo="correct the two",
            )
        named = {"--gateway": self.gateway.rpartition("/")[2], "--namespace": self.namespace}
        for where, name in {**named, "--gateway (namespace)": self.gateway.rpartition("/")[0]}.items():
            if name and not NAME.match(name):
                raise UsageError(
                    f"{name!r} is no name for Kubernetes", where=where, todo="small letters, digits and -, at most 47"
                )


def workloads(app: str, versions: Mapping[str, Mapping[str, str]], cluster: Cluster) -> list[Manifest]:
    """What runs each version.

    Parameters
    ----------
    app : str
        Name of the service, such as ``flight-delay``.
    versions : mapping of str to mapping of str to str
        Each version's annotations: the run it comes from, its commit.

    Raises
    ------
    UsageError
        `app` is no DNS label.
    """
    if not NAME.match(app):
        raise UsageError(
            f"{app!r} is no name for Kubernetes", todo="small letters, digits and -, at most 47 characters"
        )
    made: list[Manifest] = []
    for version, notes in versions.items():
        made += [
            _deployment(app, version, notes, cluster),
            _service(app, version, cluster),
            _autoscaler(app, version, cluster),
            _budget(app, version, cluster),
        ]
    # Selects no pod: who asks for a version that is not there gets a 503, and never another version's answer.
    made.append(_service(app, NO_SUCH_VERSION, cluster))
    return made


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
    asked = ["/predict", f"/v2/models/{model}/infer", f"/v1/models/{model}:predict"]
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
        "metadata": _metadata(app, app, cluster),
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
        matches.append(_match(f"/v1/models/{model}/{place}:predict"))
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


def _metadata(app: str, name: str, cluster: Cluster, version: str = "") -> Manifest:
    labels = {"app.kubernetes.io/name": app, "app.kubernetes.io/managed-by": "greenlight"}
    if version:
        labels["app.kubernetes.io/version"] = version
    return {"name": name, **({"namespace": cluster.namespace} if cluster.namespace else {}), "labels": labels}


def _selector(app: str, version: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": app, "app.kubernetes.io/version": version}


def _deployment(app: str, version: str, notes: Mapping[str, str], cluster: Cluster) -> Manifest:
    def asked(path: str, **more: int) -> Manifest:
        return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 2, **more}

    container: Manifest = {
        "name": "model",
        "image": cluster.image.replace("{version}", version),
        "ports": [{"name": "http", "containerPort": PORT}],
        # One process and one core a pod: more pods, not more threads, carry more requests.
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
        "resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "startupProbe": asked("/readyz", periodSeconds=1, failureThreshold=READY_WITHIN_S),
        "readinessProbe": asked("/readyz", periodSeconds=2, failureThreshold=2),
        "livenessProbe": asked("/livez", periodSeconds=10, failureThreshold=3),
        # Endpoints are told later than the pod is; so long it goes on answering.
        "lifecycle": {"preStop": {"sleep": {"seconds": max(1, cluster.drain_s)}}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": BENTOML_USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": cluster.drain_s + UNDER_WAY_S,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _selector(app, version)},
            }
        ],
        "containers": [container],
    }
    annotations = {f"greenlight/{key}": value for key, value in notes.items()}
    labels = _metadata(app, "", cluster, version)["labels"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_metadata(app, f"{app}-{version}", cluster, version), "annotations": annotations},
        "spec": {
            # No number of replicas: it is the autoscaler's, and applying this again must not take it back.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": _selector(app, version)},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }


def _service(app: str, version: str, cluster: Cluster) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(app, f"{app}-{version}", cluster, version),
        "spec": {
            "selector": _selector(app, version),
            "ports": [{"name": "http", "port": 80, "targetPort": PORT, "appProtocol": "http"}],
        },
    }


def _autoscaler(app: str, version: str, cluster: Cluster) -> Manifest:
    name = f"{app}-{version}"
    busy = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(app, name, cluster, version),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": cluster.replicas,
            "maxReplicas": cluster.most_replicas,
            "metrics": [busy],
        },
    }


def _budget(app: str, version: str, cluster: Cluster) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(app, f"{app}-{version}", cluster, version),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selector(app, version)}},
    }
