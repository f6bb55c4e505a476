"""What the registry has lost is put back: from the copies of its tags, and from the bentos that were built.

A bento names its version, run and commit by itself, and carries the signature, so even a repository without one ref of
Greenlight's knows its versions again, as long as it has the commits.
"""

from __future__ import annotations

from collections.abc import Iterator

from greenlight.adapters import bento
from greenlight.adapters.desired import DesiredState
from greenlight.wiring import Project


def mend(project: Project) -> list[str]:
    """Put back what something deleted of the registry.

    Returns
    -------
    list of str
        One line for each tag that was put back; callers show them.
    """
    registry = project.registry
    lines = [f"the tag {tag} was gone; it is back from its copy" for tag in registry.mend()]
    for built in _unknown(project):
        registry.bring_back(built.version, built.commit, built.run, bento.signature(built.folder))
        lines.append(f"version {built.version} had no tag; it is back from its bento (run {built.run})")
    return lines


def unknown_live(project: Project) -> str:
    """The version that serves by the desired state and that the registry does not know; empty where all is well."""
    live = DesiredState(project.settings.home).load().live
    return "" if not live or any(version.name == live for version in project.registry.versions()) else live


def _unknown(project: Project) -> Iterator[bento.Built]:
    """Bentos whose version no tag names, and whose commit is here and carries no other version."""
    versions = project.registry.versions()
    names, commits = {v.name for v in versions}, {v.commit for v in versions}
    names |= {fault.version for fault in project.registry.faults()}  # a person has to say what is right there
    for built in bento.built(project.params.dataset, project.settings.home):
        if built.version in names or built.commit in commits or not built.run:
            continue
        if project.repository.resolve(built.commit):
            yield built
