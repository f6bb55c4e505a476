"""What runs the versions on Kubernetes, for teams whose traffic has outgrown one machine.

Pure functions to manifests: a Deployment, a Service, an autoscaler and a disruption budget per version. Who answers
what says `greenlight.adapters.kubernetes_routes`.

Sources: Kubernetes API reference 1.30 (``apps/v1``, ``autoscaling/v2``, ``policy/v1``, ``preStop.sleep``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from greenlight.adapters.edge_routes import REQUEST_TIMEOUT_S
from greenlight.errors import UsageError

PORT = 3000  # of a bento's container
# A DNS label (RFC 1123); the longest name made of it gets 16 more characters, of 63.
NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?$")
NO_SUCH_VERSION = "no-such-version"
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
    drain_s, start_s : int
        Seconds between the end of a pod's traffic and its end; seconds that its start may take.
    memory_mb : int
        The most that a pod may take; it is promised half of that.

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
    start_s: int = 60
    memory_mb: int = 1024

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
        namespace, _, gateway = self.gateway.rpartition("/")
        for where, name in (("--gateway", namespace), ("--gateway", gateway), ("--namespace", self.namespace)):
            if name and not NAME.match(name):
                todo = "small letters, digits and -, at most 47"
                raise UsageError(f"{name!r} is no name for Kubernetes", where=where, todo=todo)


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


def metadata(app: str, name: str, cluster: Cluster, version: str = "") -> Manifest:
    """Name, namespace and labels of one object; of no version in particular where that is left out."""
    labels = {"app.kubernetes.io/name": app, "app.kubernetes.io/managed-by": "greenlight"}
    if version:
        labels["app.kubernetes.io/version"] = version
    return {"name": name, **({"namespace": cluster.namespace} if cluster.namespace else {}), "labels": labels}


def _selector(app: str, version: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": app, "app.kubernetes.io/version": version}


def _deployment(app: str, version: str, notes: Mapping[str, str], cluster: Cluster) -> Manifest:
    def asked(path: str, **more: int) -> Manifest:
        return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 2, **more}

    half = f"{cluster.memory_mb // 2}Mi"
    container: Manifest = {
        "name": "model",
        "image": cluster.image.replace("{version}", version),
        "ports": [{"name": "http", "containerPort": PORT}],
        # One process and one core a pod: more pods, not more threads, carry more requests.
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
        "resources": {"requests": {"cpu": "1", "memory": half}, "limits": {"memory": f"{cluster.memory_mb}Mi"}},
        "startupProbe": asked("/readyz", periodSeconds=1, failureThreshold=cluster.start_s),
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
        "terminationGracePeriodSeconds": cluster.drain_s + REQUEST_TIMEOUT_S,
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
    about = metadata(app, f"{app}-{version}", cluster, version) | {"annotations": annotations}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": about,
        "spec": {
            # No number of replicas: it is the autoscaler's, and applying this again must not take it back.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": _selector(app, version)},
            "template": {"metadata": {"labels": about["labels"], "annotations": annotations}, "spec": pod},
        },
    }


def _service(app: str, version: str, cluster: Cluster) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(app, f"{app}-{version}", cluster, version),
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
        "metadata": metadata(app, name, cluster, version),
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
        "metadata": metadata(app, f"{app}-{version}", cluster, version),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selector(app, version)}},
    }
