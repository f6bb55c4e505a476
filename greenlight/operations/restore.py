"""Bring a machine that has nothing back from the Git remote and the DVC remote: history first, then what served.

What a fresh clone lacks is fetched, the version that the ledger names is verified, its data pulled, its bento built
again, and it is released like any other. May be repeated at any time; what is as it should be is left alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from greenlight.adapters.desired import DesiredState
from greenlight.adapters.objects import remote_store
from greenlight.adapters.registry import Version
from greenlight.config import Settings
from greenlight.core.release import Desired
from greenlight.errors import DvcError, GitError, PreflightFailed, UsageError
from greenlight.operations import backup, stack
from greenlight.operations.known_versions import mend
from greenlight.operations.label_backup import Returned, bring_back
from greenlight.operations.provenance import verify
from greenlight.operations.release import release_in
from greenlight.operations.runs import run_commits
from greenlight.operations.serving import Log, silent
from greenlight.operations.workspace import materialize
from greenlight.wiring import Project, open_project

KINDS = tuple(backup.KINDS)


@dataclass(frozen=True)
class RestoreReport:
    """What came back.

    Attributes
    ----------
    live : str
        The version that serves now; empty when nothing had ever served.
    already_live : bool
        It served here before; nothing had to be done for it.
    runs, versions : int
        So many are listed now.
    fetched : int
        Refs that were not here before.
    history : tuple of dict
        What served when, oldest first.
    verified : str
        What the check of the version said.
    missing, lost : dict
        Run or version to outputs that the DVC remote lacks; `lost`: which are not on this machine either.
    seconds : dict of str to float
        Per step, in order.
    edge_url : str
        Where it answers.
    labels : Returned
        Labels that came back, and days of which they did not.
    """

    live: str
    already_live: bool
    runs: int
    versions: int
    fetched: int
    history: tuple[dict[str, str], ...]
    verified: str = ""
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lost: dict[str, tuple[str, ...]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    edge_url: str = ""
    labels: Returned = field(default_factory=Returned)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "live": self.live,
            "already_live": self.already_live,
            "runs": self.runs,
            "versions": self.versions,
            "fetched_refs": self.fetched,
            "history": list(self.history),
            "verified": self.verified,
            "missing": {name: list(paths) for name, paths in self.missing.items()},
            "lost": {name: list(paths) for name, paths in self.lost.items()},
            "seconds": self.seconds,
            "total_seconds": round(sum(self.seconds.values()), 1),
            "edge_url": self.edge_url,
            "labels": self.labels.labels,
            "labels_missing": list(self.labels.missing),
        }


def restore(settings: Settings, *, log: Log = silent) -> RestoreReport:
    """Bring history and the live version back; the stack is up and serves it afterwards.

    Raises
    ------
    GitError
        ``origin`` is not there or does not answer, or has a tag that says otherwise than the one here.
    UsageError
        Another version serves here now than the ledger says: which is right is not for a program to say.
    PreflightFailed
        The version does not pass its verification or its preflight; nothing serves it.
    DvcError
        The DVC remote lacks its model, or does not answer.
    ServerError, EdgeError, BentoError
        A part of the stack did not come up.
    """
    project = open_project(settings, lenient=True)
    seconds: dict[str, float] = {}
    with _timed(seconds, "refs"):
        fetched = _fetch(project)
    for line in mend(project):
        log(line)
    runs, versions = run_commits(project.repository), project.registry.versions()
    history = tuple({"version": e.version, "created": e.created.isoformat()} for e in project.registry.history())
    log(f"refs: {len(runs)} runs, {len(versions)} versions, {len(history)} releases; {fetched} refs were not here")
    with _timed(seconds, "labels"):
        labels = bring_back(project)
    log(f"labels: {labels.labels} were not here")
    live = project.registry.champion()
    if live is None:
        return RestoreReport("", False, len(runs), len(versions), fetched, history, seconds=seconds, labels=labels)
    already = _serves(project, live)
    verified = ""
    if already:
        log(f"{live.name} serves here already")
    else:
        verified = _bring_back(project, live, seconds, log)
    with _timed(seconds, "inventory"):
        data = backup.data_backup(project)
    return RestoreReport(
        live.name,
        already,
        len(runs),
        len(versions),
        fetched,
        history,
        verified,
        data.missing,
        data.lost,
        seconds,
        settings.edge_url,
        labels,
    )


def _fetch(project: Project) -> int:
    """Fetch what a clone leaves out; returns how many refs were new. Nothing that is here is overwritten."""
    repository = project.repository
    if not repository.run("remote", "get-url", backup.ORIGIN, check=False):
        raise GitError(
            f"there is no Git remote {backup.ORIGIN} to restore from",
            where=str(project.settings.root),
            todo=f"git remote add {backup.ORIGIN} <address>, then repeat",
        )
    there = repository.remote_refs(backup.ORIGIN, backup.TIMEOUT_S)
    here = repository.refs("refs/")
    different = sorted(ref for ref, sha in there.items() if ref.startswith(KINDS) and here.get(ref, sha) != sha)
    if different:
        raise GitError(
            f"{len(different)} refs here and in {backup.ORIGIN} differ, such as {different[0]}; nothing was changed",
            where=str(project.settings.root),
            todo=f"git show-ref and git ls-remote {backup.ORIGIN} show both; delete the wrong one, then repeat",
        )
    repository.run("fetch", "--quiet", "--no-auto-gc", backup.ORIGIN, *backup.REFSPECS)
    return len(repository.refs("refs/").keys() - here.keys())


def _serves(project: Project, live: Version) -> bool:
    """Whether `live` serves on this machine now.

    Raises
    ------
    UsageError
        Another version does.
    """
    settings = project.settings
    found = stack.status(settings)
    version, answers = found.live["version"], found.live["processes"] > 0
    if version == live.name:
        return found.up and answers
    if version and answers:
        raise UsageError(
            f"{version} serves here, and by the ledger it should be {live.name}; nothing was changed",
            where=settings.edge_url,
            todo=f"greenlight rollback --to {live.name} puts that in its place; or greenlight down, then repeat",
        )
    return False


def _bring_back(project: Project, live: Version, seconds: dict[str, float], log: Log) -> str:
    """Verify, pull, build, start and release `live`; returns what the verification said."""
    settings = project.settings
    with _timed(seconds, "model"):
        _pull(project, live)
    log(f"model: {live.name} of run {live.run} is here")
    with _timed(seconds, "verify"):
        verified = _verify(project, live)
    log(f"verify: {verified}")
    desired = DesiredState(settings.home)
    with desired.changing("restore"):
        state = desired.load()
        if state.live != live.name and state != Desired():
            # What this machine once served is history; otherwise `up` would put it into the ledger as the newest.
            desired.save(Desired(generation=state.generation + 1), f"restore of {live.name}")
    with _timed(seconds, "stack"):
        stack.up(settings, log=log)
    report = release_in(project, live.name, log=log)
    seconds |= report.seconds
    return verified


def _pull(project: Project, live: Version) -> None:
    """Have the version's model in the cache.

    Raises
    ------
    DvcError
        It is in neither the cache nor the remote.
    """
    settings = project.settings
    try:
        with materialize(settings, live.commit, [project.params.paths.model]):
            pass
    except DvcError as exc:
        exc.what = f"the model of {live.name} (run {live.run}) could not be fetched: {exc.what}"
        exc.where = remote_store(settings.root, settings.home).where
        exc.todo = "point the remote to where the data is (dvc remote list), or greenlight backup where it was made"
        raise


def _verify(project: Project, live: Version) -> str:
    """Have the version's signature checked; returns what it says.

    Raises
    ------
    PreflightFailed
        The signature does not hold.
    """
    report = verify(project, live.name)
    if not report.passed:
        raise PreflightFailed(
            f"nothing serves it here: {report.summary()}",
            where=f"run {live.run}, commit {live.commit[:10]}",
            todo=report.todo or f"greenlight verify {live.name} says more",
        )
    return report.summary()


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - began, 2)
