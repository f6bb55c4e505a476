"""Look at what the memory of the runs consists of, byte by byte, and mend what another copy makes good.

``greenlight doctor`` looks at the machine in a second or two; this reads every object of every recorded run.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from greenlight.adapters import dvc
from greenlight.adapters.git import Repository
from greenlight.errors import GreenlightError
from greenlight.operations.clock import REFS
from greenlight.operations.record import UNCACHED
from greenlight.operations.runs import run_commits, saved_in_folder
from greenlight.operations.workspace import configured, remove
from greenlight.wiring import Project

Log = Callable[[str], None]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was left.

    Attributes
    ----------
    what : str
    where : str
    mended : bool
    todo : str
        What to do; empty when it was mended.
    """

    what: str
    where: str
    mended: bool
    todo: str = ""


@dataclass(frozen=True)
class Report:
    """What was looked at, and what was found."""

    runs: int
    objects: int
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """1 when something is still wrong."""
        return int(any(not finding.mended for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"sound": self.exit_code == 0, **asdict(self)}


def fsck(project: Project, *, mend: bool = False, log: Log = lambda _: None) -> Report:
    """Check tags, refs and every object of every run, in the cache and in the remote.

    Parameters
    ----------
    mend : bool
        Put back what can be put back without a choice: a run's ref from its version's tag or its folder, an object from
        the side that has a good one. Tags are named with their command and left to a person.

    Raises
    ------
    DvcError
        The remote is out of reach.
    """
    findings = list(_tags(project)) + list(_refs(project, mend=mend))
    commits = run_commits(project.repository) | {v.run: v.commit for v in project.registry.versions()}
    log(f"{len(commits)} runs; reading their objects")
    outs = _outs(project, commits)
    root = project.settings.home / "tmp" / f"fsck-{secrets.token_hex(3)}"
    project.repository.clone(root, project.repository.head())
    pipeline = configured(project.settings, root)
    try:
        looked, damaged = pipeline.examine(outs, mend=mend)
    finally:
        pipeline.close()
        remove(root)
    findings += [Finding(d.what, d.where, d.mended, d.todo) for d in damaged]
    return Report(len(commits), looked, tuple(findings))


def _tags(project: Project) -> Iterator[Finding]:
    for fault in project.registry.faults():
        yield Finding(fault.what, "git tags", False, fault.todo)


def _refs(project: Project, *, mend: bool) -> Iterator[Finding]:
    """Runs that are still known, and whose ref is gone."""
    repository, known = project.repository, set(run_commits(project.repository))
    moved = {fault.version for fault in project.registry.faults()}
    for version in project.registry.versions():
        if version.run in known or version.name in moved or not repository.read(version.commit, dvc.LOCK):
            continue
        known.add(version.run)
        base = repository.run("rev-parse", f"{version.commit}^")
        ref = f"{REFS}{base[:2]}/{base[2:]}/{version.run}"
        command = ["update-ref", ref, version.commit]
        yield _ref_finding(repository, command, f"the ref of run {version.run} ({version.name}) is gone", ref, mend)
    for run, (folder, ref) in saved_in_folder(project, known).items():
        command = ["fetch", "--quiet", str(folder), f"{ref}:{ref}"]
        yield _ref_finding(repository, command, f"the ref of run {run} is gone; its folder has it", ref, mend)


def _ref_finding(repository: Repository, command: list[str], what: str, ref: str, mend: bool) -> Finding:
    if not mend:
        return Finding(what, ref, False, f"greenlight fsck --mend, or git {' '.join(command)}")
    repository.run(*command)
    return Finding(f"{what}; put back", ref, True)


def _outs(project: Project, commits: Mapping[str, str]) -> dict[str, str]:
    """Every output that a recorded run names: ``{"<run>: <path>": hash}``, one line per hash."""
    pointer = f"{project.params.paths.champion}.dvc"
    names = [f"{commit}:{path}" for commit in commits.values() for path in (dvc.LOCK, pointer)]
    contents = project.repository.read_many(names)
    in_git = {str(getattr(project.params.paths, name)) for name in UNCACHED}
    found: dict[str, str] = {}
    for index, run in enumerate(commits):
        lock, champion = contents[2 * index : 2 * index + 2]
        try:
            stages = [*dvc.lock_hashes(lock).values(), _pointed(champion)]
        except (yaml.YAMLError, AttributeError, KeyError) as exc:
            raise GreenlightError(f"the lock of run {run} cannot be read: {exc}", where=commits[run][:10]) from exc
        for out in stages:
            found |= {
                digest: f"{run}: {path}"
                for path, digest in out.items()
                if digest not in ("", *found) and path not in in_git
            }
    return {path: digest for digest, path in found.items()}


def _pointed(pointer: bytes | None) -> dict[str, str]:
    return {out["path"]: out["md5"] for out in (yaml.safe_load(pointer) if pointer else {"outs": []})["outs"]}
