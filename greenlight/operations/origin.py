"""Runs that the Git remote has and this clone does not: `git clone` takes branches and tags, no runs."""

from __future__ import annotations

from collections.abc import Callable

from greenlight.errors import GitError
from greenlight.operations.clock import REFS
from greenlight.wiring import Project

ORIGIN = "origin"


def fetch_run(project: Project, name: str) -> bool:
    """Fetch the run called `name` (or whose name begins so, or the version of that name) from the Git remote.

    Returns
    -------
    bool
        Whether anything came that was not here. False also where there is no remote, or it does not answer: the caller
        then says that there is no such run.
    """
    tag = f"refs/tags/{project.registry.model}@{name}."
    return _fetch(project, lambda ref: ref.startswith(tag) or (_is_run(ref) and _run(ref).startswith(name)))


def fetch_runs(project: Project) -> bool:
    """Fetch every run that the Git remote has and this clone lacks, and the versions' tags."""
    tags = f"refs/tags/{project.registry.model}"
    return _fetch(project, lambda ref: ref.startswith(tags) or _is_run(ref))


def _fetch(project: Project, wanted: Callable[[str], bool]) -> bool:
    repository = project.repository
    if ORIGIN not in repository.run("remote").splitlines():
        return False
    here = repository.refs("refs/")
    try:
        listing = repository.run("ls-remote", "--quiet", "--refs", ORIGIN, f"{REFS}*", "refs/tags/*")
    except GitError:
        return False
    there = (line.split("\t", 1)[1] for line in listing.splitlines() if "\t" in line)
    missing = [ref for ref in there if ref not in here and wanted(ref)]
    if missing:
        refs = "".join(f"{ref}:{ref}\n" for ref in missing)
        repository.run("fetch", "--quiet", "--no-tags", "--stdin", ORIGIN, stdin=refs.encode())
    return bool(missing)


def _is_run(ref: str) -> bool:
    """``refs/exps/ab/cdef.../name``, and none of DVC's own below ``refs/exps/exec``."""
    return ref.startswith(REFS) and ref.count("/") == 4


def _run(ref: str) -> str:
    return ref.rsplit("/", 1)[1]
