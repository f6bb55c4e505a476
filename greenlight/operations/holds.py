"""Runs that somebody wants kept: a ref ``refs/greenlight/held/<run>`` on the run's commit."""

from __future__ import annotations

from greenlight.operations.runs import find_run, run_commits
from greenlight.wiring import Project

HELD = "refs/greenlight/held/"


def held(project: Project) -> dict[str, str]:
    """Held runs with their commits."""
    return {ref.removeprefix(HELD): commit for ref, commit in project.repository.refs(HELD).items()}


def hold(project: Project, run: str) -> str:
    """Keep a run whatever its age; returns its full name.

    Raises
    ------
    NotFound
        No such run.
    """
    name, commit = _named(project, run)
    project.repository.change_refs([f"update {HELD}{name} {commit}"])
    return name


def let_go(project: Project, run: str) -> str:
    """Hold a run no longer; returns its full name. One that is not held stays so.

    Raises
    ------
    NotFound
        No such run.
    """
    name = run if run in held(project) else _named(project, run)[0]
    project.repository.change_refs([f"delete {HELD}{name}"] if name in held(project) else [])
    return name


def _named(project: Project, run: str) -> tuple[str, str]:
    commit = find_run(project, run)
    names = {found: name for name, found in run_commits(project.repository).items()}
    version = project.registry.at(commit)
    return names.get(commit) or (version.run if version else run), commit
