"""Free what nobody needs any more: first say what would go and why the rest stays, then do exactly that.

Two depths. Without `forget` only this machine's copies go (run folders, cached objects that the DVC remote has too,
bentos that can be built again, leftovers): every run is still listed and reproduces, from the remote. With it the
dropped runs themselves go: their refs here and in ``origin``, and their objects in the remote.

The order makes it safe to break off anywhere. First the dropped runs' refs are moved aside, all in one transaction, so
no listed run ever lacks its data; then data goes, listings before files; last the refs put aside. What a crash leaves
is found under those refs, and finished by the next gc.
"""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from greenlight.adapters import in_use
from greenlight.adapters.desired import DesiredState
from greenlight.adapters.objects import cache_store, remote_store
from greenlight.errors import UsageError
from greenlight.operations.backup import ORIGIN
from greenlight.operations.gc_plan import ASIDE, GcPlan, Wish, plan, run_of
from greenlight.operations.runs import list_runs
from greenlight.operations.serving import Log, silent
from greenlight.wiring import Project

BUSY_S = 10.0  # a release takes longer than somebody who wants room should have to wait without a word


def collect(project: Project, wish: Wish, *, agreed: GcPlan | None = None, log: Log = silent) -> GcPlan:
    """Drop what `wish` leaves unneeded; returns what went. No run can begin to work with the cache meanwhile.

    Parameters
    ----------
    agreed : GcPlan, optional
        What a person has been shown and said yes to.

    Raises
    ------
    UsageError
        A run is under way, or by now more would go than was agreed to.
    ServerError
        A release is under way.
    DvcError
        The remote does not answer, or a kept run's listing of files is nowhere: nothing is dropped then.
    GitError
        ``origin`` does not answer, with `forget`.
    """
    home = project.settings.home
    # In the order in which a release takes them, so that the two never wait for each other.
    with DesiredState(home).changing("gc", BUSY_S), in_use.alone(home) as alone:
        if not alone:
            busy = ", ".join(r.name for r in list_runs(project) if r.outcome == "Running") or "a run or reproduction"
            raise UsageError(f"{busy} is under way and works with the cache", todo="repeat when it has ended")
        found = plan(project, wish)
        if agreed is not None and not set(found.dropped) <= set(agreed.dropped):
            more = ", ".join(sorted(set(found.dropped) - set(agreed.dropped)))
            raise UsageError(f"nothing was dropped: by now {more} would go too", todo="repeat and look again")
        _apply(project, found, log)
    return found


def _apply(project: Project, plan: GcPlan, log: Log) -> None:
    settings, repository = project.settings, project.repository
    if plan.origin_refs:
        lease = [f"--force-with-lease={ref}:{sha}" for ref, sha in plan.origin_refs.items()]
        gone = [f":{ref}" for ref in plan.origin_refs]
        repository.run("push", "--quiet", "--no-verify", "--atomic", *lease, ORIGIN, *gone)
        log(f"{len(gone)} runs dropped from {ORIGIN}")
    if plan.refs:
        moved = [f"update {ASIDE}{run_of(ref)} {sha}" for ref, sha in plan.refs.items()]
        repository.change_refs([*moved, *(f"delete {ref} {sha}" for ref, sha in plan.refs.items())])
        log(f"{len(plan.refs)} runs dropped from the list")
    if plan.remote:
        store = remote_store(settings.root, settings.home)
        log(f"{store.remove(plan.remote)} objects dropped from {store.where}")
    if plan.cache:
        log(f"{cache_store(settings.home).remove(plan.cache)} objects dropped from the cache")
    for path in (*plan.folders, *plan.bentos, *plan.leftovers):
        _delete(path, settings.home / "tmp")
    repository.change_refs(f"delete {ref} {sha}" for ref, sha in repository.refs(ASIDE).items())


def _delete(path: Path, scratch: Path) -> None:
    """Delete a folder or file; by a rename first, so that a crash leaves no half of a run or a bento."""
    with suppress(FileNotFoundError):
        if not path.is_dir() or path.is_symlink():
            path.unlink()
            return
        if path.parent != scratch:
            scratch.mkdir(parents=True, exist_ok=True)
            path = path.rename(scratch / f"dropped-{path.name}-{secrets.token_hex(3)}")
        shutil.rmtree(path)
