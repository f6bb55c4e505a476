"""What a clean-up would drop and why the rest stays; only reads.

Dropped is a run that is no version, not held, not under way, not among the newest and old enough. What goes with it is
decided object by object: nothing that any other commit with a name needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from greenlight.adapters import bento as bentos
from greenlight.adapters.desired import DesiredState
from greenlight.adapters.objects import Store, Weight, cache_store, remote_store
from greenlight.core.release import standing
from greenlight.errors import DvcError, UsageError
from greenlight.operations import holdings
from greenlight.operations.backup import FETCH_REFS, ORIGIN, TIMEOUT_S
from greenlight.operations.clock import REFS
from greenlight.operations.holds import held
from greenlight.operations.runs import RunRecord, list_runs
from greenlight.wiring import Project

ASIDE = "refs/greenlight-dropped/"  # outside refs/greenlight, which a backup pushes


@dataclass(frozen=True)
class Wish:
    """What a person asked for.

    Attributes
    ----------
    keep : int
        So many of the newest runs stay, however old.
    older_than_days : float
        Only runs older than that are dropped.
    forget : bool
        Drop the runs themselves too, see the module's docstring.
    """

    keep: int
    older_than_days: float = 0
    forget: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be counted.

        Raises
        ------
        UsageError
            A number is negative.
        """
        if self.keep < 0 or self.older_than_days < 0:
            raise UsageError(f"--keep and --older-than count from 0; given: {self.keep}, {self.older_than_days:g}")


@dataclass(frozen=True)
class GcPlan:
    """What a clean-up drops.

    Attributes
    ----------
    forget : bool
        The dropped runs go for good, not only their copies on this machine.
    kept : dict of str to str
        Run to why it stays.
    dropped : tuple of str
        Runs that nothing keeps.
    broken : tuple of str
        Those among them that broke off before their record: with their folder they leave the list.
    refs, origin_refs : dict of str to str
        Refs that go, here and in ``origin``, with what they point at.
    cache, remote : frozenset of str
        Objects that go.
    folders, bentos, leftovers : tuple of Path
        Run folders, built services, and what commands that broke off have left.
    frees : int
        Bytes that become free on this machine; what is linked elsewhere too does not count.
    frees_remote : int
        Bytes that become free in the remote.
    unfinished : tuple of str
        Runs that an earlier clean-up dropped before it broke off.
    notes : tuple of str
        What a person must know beyond that.
    """

    forget: bool
    kept: dict[str, str]
    dropped: tuple[str, ...]
    broken: tuple[str, ...] = ()
    refs: dict[str, str] = field(default_factory=dict)
    origin_refs: dict[str, str] = field(default_factory=dict)
    cache: frozenset[str] = frozenset()
    remote: frozenset[str] = frozenset()
    folders: tuple[Path, ...] = ()
    bentos: tuple[Path, ...] = ()
    leftovers: tuple[Path, ...] = ()
    frees: int = 0
    frees_remote: int = 0
    unfinished: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing would go."""
        lists = (self.refs, self.cache, self.remote, self.folders, self.bentos, self.leftovers, self.unfinished)
        return not any(lists)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "forget": self.forget,
            "kept": self.kept,
            "dropped": list(self.dropped),
            "broken": list(self.broken),
            "refs": sorted(self.refs),
            "origin_refs": sorted(self.origin_refs),
            "cache_objects": len(self.cache),
            "remote_objects": len(self.remote),
            "run_folders": [str(path) for path in self.folders],
            "bentos": [path.name for path in self.bentos],
            "leftovers": [str(path) for path in self.leftovers],
            "frees_bytes": self.frees,
            "frees_remote_bytes": self.frees_remote,
            "unfinished": list(self.unfinished),
            "notes": list(self.notes),
        }


def plan(project: Project, wish: Wish) -> GcPlan:
    """What `wish` would drop; only reads.

    Raises
    ------
    DvcError, GitError, UsageError
        As in :func:`collect`, except that a run may be under way.
    """
    settings, repository = project.settings, project.repository
    records = list_runs(project)
    kept = _kept(project, records, wish)
    dropped = {record.name: record.commit for record in records if record.name not in kept}
    aside = {ref.removeprefix(ASIDE): sha for ref, sha in repository.refs(ASIDE).items()}
    cache, remote = cache_store(settings.home), remote_store(settings.root, settings.home)
    staying = _staying(project, set(dropped.values()))
    going = [sha for sha in dropped.values() if sha]
    held_by = holdings.read(repository, [*staying, *going, *aside.values()], [cache, remote])
    _require_listings(held_by, staying, remote)
    needed = held_by.objects(staying)
    cached, notes = cache.sizes().keys() - needed, []
    forgotten = held_by.objects([*aside.values(), *(going if wish.forget else [])]) - needed
    sizes = remote.sizes() if forgotten else {}
    from_remote = {name: sizes[name] for name in forgotten if name in sizes}
    if not wish.forget:
        copies = (cached & held_by.objects(going)) - forgotten
        only_here = copies - remote.existing(copies)
        cached -= only_here
        if only_here:
            notes.append(f"{len(only_here)} objects of dropped runs stay: {remote.where} lacks them; greenlight backup")
    refs = {ref: sha for ref, sha in repository.refs(REFS).items() if run_of(ref) in dropped} if wish.forget else {}
    folders = tuple(path for name in {**dropped, **aside} if (path := settings.home / "runs" / name).is_dir())
    services = _unneeded_bentos(project, wish.keep)
    leftovers = (*sorted((settings.home / "tmp").glob("*")), *bentos.leftover_builds(bentos.store(settings.home)))
    weight = Weight()
    for path in (*(cache.path(name) for name in cached), *folders, *services, *leftovers):
        weight.add(path)
    return GcPlan(
        forget=wish.forget,
        kept=kept,
        dropped=tuple(dropped),
        broken=tuple(name for name, commit in dropped.items() if not commit),
        refs=refs,
        origin_refs=_origin_refs(project, {*dropped, *aside}) if wish.forget else {},
        cache=frozenset(cached),
        remote=frozenset(from_remote),
        folders=folders,
        bentos=services,
        leftovers=leftovers,
        frees=weight.freed,
        frees_remote=sum(from_remote.values()),
        unfinished=tuple(aside),
        notes=tuple(notes),
    )


def run_of(ref: str) -> str:
    """The run that a ref below refs/exps names; empty for what DVC keeps there for itself."""
    return ref.rsplit("/", 1)[1] if ref.count("/") == 4 else ""


def _kept(project: Project, records: list[RunRecord], wish: Wish) -> dict[str, str]:
    """Runs that stay, each with the strongest reason."""
    live, marked = DesiredState(project.settings.home).load().running, held(project)
    champion = project.registry.champion()
    live = (*live, champion.name) if champion else live
    young = datetime.now(UTC) - timedelta(days=wish.older_than_days)
    found: dict[str, str] = {}
    for position, record in enumerate(records):
        reasons = {
            f"{record.version}, live": record.version in live,
            f"is {record.version}": bool(record.version),
            "held": record.name in marked,
            "under way": record.outcome == "Running",
            f"among the {wish.keep} newest": position < wish.keep,
            f"not older than {wish.older_than_days:g} days": wish.older_than_days and _created(record) > young,
        }
        why = next((reason for reason, holds in reasons.items() if holds), "")
        if why:
            found[record.name] = why
    return found


def _created(record: RunRecord) -> datetime:
    """When a run was recorded, or began; one that does not say counts as young."""
    try:
        return datetime.fromisoformat(record.order)
    except ValueError:
        return datetime.now(UTC)


def _staying(project: Project, dropped: set[str]) -> list[str]:
    """Every commit that anything but a dropped run names: runs, versions, marks, branches, the checkout."""
    repository = project.repository
    found = [repository.head()]
    form = "--format=%(refname) %(objecttype) %(objectname) %(*objecttype) %(*objectname)"
    for line in repository.run("for-each-ref", form).splitlines():
        ref, kind, sha, *of_tag = line.split(" ")
        kind, sha = of_tag if kind == "tag" else (kind, sha)
        if kind == "commit" and not ref.startswith(ASIDE) and not (ref.startswith(REFS) and sha in dropped):
            found.append(sha)
    return list(dict.fromkeys(found))


def _require_listings(held_by: holdings.Holdings, staying: list[str], remote: Store) -> None:
    """What a kept folder holds must be known, or its files would count as unneeded."""
    lost = {path for commit in staying for path, name in held_by.by_commit[commit].items() if name in held_by.unlisted}
    if lost:
        raise DvcError(
            f"nothing is dropped: what is in {', '.join(sorted(lost)[:5])} of a kept run is not known, its listing is "
            "in neither the cache nor the remote",
            where=remote.where,
            todo="greenlight doctor says which run; send its data from where it was made (greenlight backup)",
        )


def _origin_refs(project: Project, going: set[str]) -> dict[str, str]:
    """Refs of dropped runs in ``origin``.

    Raises
    ------
    UsageError
        ``origin`` has runs that this checkout has not: whether they need an object could not be told.
    """
    repository = project.repository
    if not repository.run("remote", "get-url", ORIGIN, check=False):
        return {}
    prefixes = (REFS, "refs/greenlight/", "refs/tags/")
    there = {ref: s for ref, s in repository.remote_refs(ORIGIN, TIMEOUT_S).items() if ref.startswith(prefixes)}
    found = {ref: sha for ref, sha in there.items() if ref.startswith(REFS) and run_of(ref) in going}
    unknown = there.keys() - repository.refs("refs/").keys() - found.keys()
    if unknown:
        raise UsageError(
            f"{ORIGIN} has {len(unknown)} refs that are not here, such as {min(unknown)}; what they need is not known",
            where=str(project.settings.root),
            todo=f"{FETCH_REFS}; then repeat",
        )
    return found


def _unneeded_bentos(project: Project, keep: int) -> tuple[Path, ...]:
    """Services of versions that neither run, nor are next in a roll back, nor newest; each can be built again."""
    settings = project.settings
    versions = project.registry.versions()
    served = [entry.version for entry in project.registry.history()]
    marked = set(held(project))
    stay = {*DesiredState(settings.home).load().running, *standing(served)[-2:]}
    stay |= {version.name for version in versions[max(0, len(versions) - max(keep, 1)) :]}
    stay |= {version.name for version in versions if version.run in marked}
    folder = bentos.path_of(project.params.dataset, "v0", settings.home).parent
    found = (path for path in folder.glob("v*") if path.is_dir()) if folder.is_dir() else ()
    return tuple(sorted(path for path in found if path.name not in stay))
