"""The desired state, or the steps of a release to come, in the words of Kubernetes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from greenlight.adapters import kubernetes
from greenlight.adapters.desired import DesiredState, replace_file
from greenlight.adapters.kubernetes import Cluster
from greenlight.adapters.kubernetes_routes import route
from greenlight.core import rollout as steps
from greenlight.core.release import Desired
from greenlight.core.release_plan import parse
from greenlight.core.rollout import Traffic, traffic
from greenlight.errors import UsageError
from greenlight.operations.rollout import steps_of
from greenlight.wiring import Project

WORKLOADS, BACK = "workloads", "back"


def render(
    project: Project, cluster: Cluster, *, version: str = "", stable: str = "", strategy: str = ""
) -> dict[str, str]:
    """Manifests as YAML, by name, in the order in which they are to be applied.

    Parameters
    ----------
    version : str
        A version to release: one route for each of its steps, and one for the way back. Left out: what serves now.
    stable : str
        What serves beside it; left out: what serves here.
    strategy : str
        As of a release; left out: what params.yaml says.

    Returns
    -------
    dict of str to str
        ``workloads`` first, then ``<n>-<step>``; ``back``, where there is a stable version, is for when a step goes
        wrong.

    Raises
    ------
    UsageError
        Nothing serves; a step splits by key; a name that Kubernetes does not take.
    NotFound
        A version is not registered.
    """
    app = project.params.dataset.replace("_", "-")
    state = DesiredState(project.settings.home).load()
    if stable:
        state = Desired(live=stable)
    if not version:
        now = traffic(state)
        made = {WORKLOADS: _workloads(project, app, now.addressable, cluster)}
        return {**made, f"1-{_name(state)}": _dump([route(app, now, cluster)])}
    planned = _plan(project, state, version, strategy)
    versions = tuple(dict.fromkeys(v for v in (state.live, version) if v))
    made = {WORKLOADS: _workloads(project, app, versions, cluster)}
    for number, (name, there) in enumerate(planned, 1):
        made[f"{number}-{name}"] = _dump([route(app, there, cluster)])
    if state.live:
        made[BACK] = _dump([route(app, Traffic(state.live, addressable=versions), cluster)])
    return made


def write(made: dict[str, str], folder: Path) -> list[Path]:
    """Write each of `made` into a file of its own, whole or not at all.

    Raises
    ------
    UsageError
        The folder holds other YAML, which ``kubectl apply -f`` would take for ours.
    """
    wanted = {f"{name}.yaml" for name in made}
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted(path.name for path in folder.glob("*.y*ml") if path.name not in wanted)
    if others:
        raise UsageError(
            f"there is other YAML in it: {', '.join(others[:5])}", where=str(folder), todo="name an empty folder"
        )
    for name, content in made.items():
        replace_file(folder / f"{name}.yaml", content.encode())
    return [folder / f"{name}.yaml" for name in made]


def _plan(project: Project, state: Desired, version: str, strategy: str) -> list[tuple[str, Traffic]]:
    """The traffic of every step."""
    asked = project.params.release
    plan = steps_of(parse(strategy or asked.strategy, asked.plan), project.params)
    if version == state.live:
        raise UsageError(f"{version} serves already", todo="leave the version out to render what serves")
    after = Traffic(version, addressable=tuple(v for v in (version, state.live) if v))
    if not state.live or len(plan) == 1:
        return [("full", after)]
    state = Desired(live=state.live)
    state = steps.begin_rollout(state, version, plan, strategy=strategy, salt="", now=time.time())
    state = steps.warmed(state, time.time())
    found = [(_name(state), traffic(state))]
    while state.rollout and not state.rollout.is_last:
        state = steps.advance(state, time.time())
        found.append((_name(state), traffic(state)))
    return [*found, ("full", after)]


def _name(state: Desired) -> str:
    """Of a file: ``full``, ``shadow-100``, ``canary-5``."""
    if not state.rollout:
        return "full"
    return state.rollout.current.name.replace(" %", "").replace(" ", "-")


def _workloads(project: Project, app: str, versions: Sequence[str], cluster: Cluster) -> str:
    notes = {}
    for name in versions:
        found = project.registry.get(name)
        notes[name] = {"run": found.run, "commit": found.commit}
    asked, budget = project.params.release, project.params.preflight
    limited = replace(
        cluster,
        drain_s=math.ceil(asked.drain_s),
        start_s=math.ceil(budget.max_start_s),
        memory_mb=math.ceil(budget.max_memory_mb),
    )
    return _dump(kubernetes.workloads(app, notes, limited))


class _Plain(yaml.SafeDumper):
    """What stands in two places is written twice: people read this, and compare it."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _dump(manifests: Sequence[kubernetes.Manifest]) -> str:
    return yaml.dump_all(manifests, Dumper=_Plain, sort_keys=False, width=120)
