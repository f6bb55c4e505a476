"""``greenlight render``: the same release, for Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenlight.cli import complete
from greenlight.cli.options import Json
from greenlight.cli.terminal import answer_only, emit, show


def render(
    version: Annotated[
        str,
        typer.Argument(
            help="A version to release. Left out: what serves now.",
            autocompletion=complete.versions,
            show_default=False,
        ),
    ] = "",
    image: Annotated[
        str, typer.Option(help="Image of a version, with {version} in it.", show_default=False)
    ] = "greenlight/{version}",
    gateway: Annotated[str, typer.Option(help="The Gateway that the route hangs on: name, or namespace/name.")] = (
        "greenlight"
    ),
    stable: Annotated[
        str, typer.Option(help="What serves beside it. Left out: what serves here.", show_default=False)
    ] = "",
    strategy: Annotated[
        str,
        typer.Option(
            help="As of `greenlight release`.",
            autocompletion=complete.strategies,
            show_default=False,
        ),
    ] = "",
    namespace: Annotated[str, typer.Option(help="Namespace of the objects.", show_default=False)] = "",
    host: Annotated[str, typer.Option(help="Host name of the route.", show_default=False)] = "",
    replicas: Annotated[int, typer.Option(help="Pods of a version, at least.")] = 2,
    most_replicas: Annotated[int, typer.Option(help="Pods of a version, at most.")] = 10,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder for one file a step. Left out: all is printed.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what serves, or the steps of a release, as Kubernetes objects. Touches no cluster.

    A Deployment, a Service, an autoscaler and a disruption budget per version, and one HTTPRoute (Gateway API 1.3) for
    each step: copies, weights, pins. docs/kubernetes.md says what holds there and what does not.

    ```sh
    greenlight render v3 --image registry.example/flight-delay:{version} --out deploy/v3
    greenlight render --image registry.example/flight-delay:{version} | kubectl apply -f -
    ```
    """
    from greenlight.adapters.kubernetes import Cluster
    from greenlight.operations import render as rendering
    from greenlight.wiring import open_project

    with answer_only():
        cluster = Cluster(image, gateway, namespace, host, replicas, most_replicas)
        made = rendering.render(open_project(), cluster, version=version, stable=stable, strategy=strategy)
        files = rendering.write(made, out) if out else []
    if as_json:
        emit({"files": [str(path) for path in files]} if out else {"manifests": made})
    elif out:
        for path in files:
            show(str(path))
    else:
        typer.echo("---\n".join(f"# {name}\n{content}" for name, content in made.items()), nl=False)
