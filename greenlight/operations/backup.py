"""Is everything that Greenlight remembers somewhere else too? A backup is a ``git push`` and a ``dvc push``.

Git holds runs, versions and what served when, as refs; the DVC remote holds their data. Looked at only, quickly: one
``git ls-remote``, and the objects of the versions and of the newest runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenlight.adapters.git import Repository
from greenlight.adapters.objects import cache_store, remote_folder, remote_store
from greenlight.errors import GitError
from greenlight.operations import holdings, label_backup
from greenlight.operations.runs import run_commits
from greenlight.wiring import Project

ORIGIN = "origin"
TIMEOUT_S = 8.0
NEWEST = 3  # runs that are looked at beside the versions
VERSIONS = 10  # newest versions looked at; earlier ones were looked at when they were new
REFSPECS = ("refs/tags/*:refs/tags/*", "refs/exps/*:refs/exps/*", "refs/greenlight/*:refs/greenlight/*")
KINDS = {"refs/tags/": "tags", "refs/exps/": "runs", "refs/greenlight/": "marks"}
EVERY = 10**9
BACKUP = "greenlight backup"
FETCH_REFS = f"git fetch {ORIGIN} " + " ".join(f"'{spec}'" for spec in REFSPECS)
PUSH_REFS = "git push origin " + " ".join(f"'{spec}'" for spec in REFSPECS)


@dataclass(frozen=True)
class GitBackup:
    """How far the repository ``origin`` is behind.

    Attributes
    ----------
    configured : bool
        There is an ``origin``.
    missing : tuple of str
        Refs that it lacks.
    different : tuple of str
        Refs that it has with other content.
    commits : int
        Commits of the branch checked out that it lacks.
    """

    configured: bool
    missing: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    commits: int = 0


@dataclass(frozen=True)
class DataBackup:
    """What the DVC remote lacks.

    Attributes
    ----------
    where : str
        The remote.
    here : bool
        It is a folder below Greenlight's own home: one more copy on this disk, no backup.
    looked_at : int
        Objects looked for.
    missing : dict
        Run or version to the outputs that the remote lacks something of.
    lost : dict
        The same, of what this machine's cache lacks too.
    """

    where: str
    here: bool
    looked_at: int
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lost: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "remote": self.where,
            "objects_looked_at": self.looked_at,
            "missing": {name: list(paths) for name, paths in self.missing.items()},
            "lost": {name: list(paths) for name, paths in self.lost.items()},
        }


@dataclass(frozen=True)
class BackupReport:
    """What a backup sent.

    Attributes
    ----------
    objects : int
        Sent to the DVC remote.
    refs : tuple of str
        Sent to ``origin``.
    lost : dict
        Run or version to outputs that neither this machine nor the DVC remote holds intact.
    commits : int
        Commits of the branch checked out that ``origin`` lacks.
    labels : int
        In the backup now, those of earlier ones included.
    """

    objects: int
    refs: tuple[str, ...]
    lost: dict[str, tuple[str, ...]]
    commits: int
    labels: int = 0

    @property
    def exit_code(self) -> int:
        """1 when something could not be sent."""
        return int(bool(self.lost))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        lost = {name: list(paths) for name, paths in self.lost.items()}
        return {
            "objects": self.objects,
            "labels": self.labels,
            "refs": list(self.refs),
            "lost": lost,
            "branch_commits_behind": self.commits,
        }


def git_backup(repository: Repository) -> GitBackup:
    """Compare refs and the branch with ``origin``.

    Raises
    ------
    GitError
        ``origin`` does not answer within a few seconds.
    """
    if not repository.run("remote", "get-url", ORIGIN, check=False):
        return GitBackup(False)
    there = repository.remote_refs(ORIGIN, TIMEOUT_S)
    here: dict[str, str] = {}
    for prefix in KINDS:
        here |= {ref: sha for ref, sha in repository.refs(prefix).items() if _counts(ref)}
    missing = tuple(ref for ref in here if ref not in there)
    different = tuple(ref for ref, sha in here.items() if there.get(ref, sha) != sha)
    known = repository.known(there.values())
    # Each excluded by a caret: older Gits take no --not on stdin.
    ahead = repository.run(
        "rev-list", "--count", "--stdin", stdin="\n".join(["HEAD", *(f"^{s}" for s in known)]).encode()
    )
    return GitBackup(True, missing, different, int(ahead or 0))


def _counts(ref: str) -> bool:
    """What DVC keeps for itself between two commands is not worth a backup."""
    return not ref.startswith("refs/exps/") or ref.count("/") == 4


def data_backup(project: Project, *, newest: int = NEWEST, versions: int = VERSIONS) -> DataBackup:
    """Look in the DVC remote for the objects of the newest runs and versions.

    Raises
    ------
    DvcError
        The remote does not answer.
    """
    settings = project.settings
    store, cache = remote_store(settings.root, settings.home), cache_store(settings.home)
    commits = looked_at(project, newest, versions)
    held = holdings.read(project.repository, commits.values(), [cache, store])
    wanted = held.objects(commits.values())
    absent = wanted - store.existing(wanted)
    folder = remote_folder(settings.root, settings.home)
    here = folder is not None and folder.is_relative_to(settings.home)
    named = _named(held, commits, absent)
    gone = absent - cache.existing(absent) | set(held.unlisted) & absent
    return DataBackup(store.where, here, len(wanted), named, _named(held, commits, gone))


def looked_at(project: Project, newest: int, versions: int) -> dict[str, str]:
    """The newest runs and versions with their commits."""
    found = {version.name: version.commit for version in project.registry.versions()[-versions:]}
    runs = run_commits(project.repository)
    order = project.repository.newest(runs.values())
    names = {commit: name for name, commit in runs.items()}
    have = set(found.values())
    return found | {names[commit]: commit for commit in order[:newest] if commit not in have}


def _named(held: holdings.Holdings, commits: dict[str, str], absent: set[str]) -> dict[str, tuple[str, ...]]:
    """Run or version to the outputs of it that need one of the objects `absent`."""
    found = {}
    for name, commit in commits.items():
        outs = held.by_commit[commit]
        paths = tuple(path for path, each in outs.items() if absent & held.of(each))
        if paths:
            found[name] = paths
    return found


def back_up(project: Project, say: Callable[[str], None] = lambda _: None) -> BackupReport:
    """Push what the remotes lack: data first, so that no ref in ``origin`` names what the DVC remote does not hold.

    The branch checked out is its owner's to push and left alone.

    Raises
    ------
    DvcError
        The DVC remote does not answer or cannot be written to; what was sent by then stays.
    GitError
        ``origin`` is not there, refuses, or has a ref with other content.
    """
    sent, lost = _push_data(project, say)
    labels = label_backup.send(project, remote_store(project.settings.root, project.settings.home))
    if labels:
        say(f"labels: {labels} are in the DVC remote")
    before = git_backup(project.repository)
    if not before.configured:
        raise GitError(
            f"the data is in the DVC remote; the runs are not backed up, there is no Git remote {ORIGIN}",
            where=str(project.settings.root),
            todo=f"git remote add {ORIGIN} <address>, then repeat",
        )
    if before.missing or before.different:
        project.repository.run("push", "--quiet", "--no-verify", "--atomic", ORIGIN, *REFSPECS)
    say(f"git: {described(before.missing + before.different) or 'nothing'} pushed to {ORIGIN}")
    return BackupReport(sent, before.missing + before.different, lost, before.commits, labels)


def _push_data(project: Project, say: Callable[[str], None]) -> tuple[int, dict[str, tuple[str, ...]]]:
    """Send every object of every recorded run and version that the remote lacks and this machine has intact."""
    settings = project.settings
    store, cache = remote_store(settings.root, settings.home), cache_store(settings.home)
    commits = looked_at(project, newest=EVERY, versions=EVERY)
    held = holdings.read(project.repository, commits.values(), [cache, store])
    wanted = held.objects(commits.values())
    absent = wanted - store.existing(wanted)
    sendable = cache.sound(absent)
    store.take(cache, sendable)
    say(f"data: {len(wanted)} objects of {len(commits)} runs, {len(sendable)} sent to {store.where}")
    return len(sendable), _named(held, commits, absent - sendable)


def described(refs: Sequence[str]) -> str:
    """Refs counted by kind: ``3 tags, 2 runs``."""
    counts = {kind: sum(ref.startswith(prefix) for ref in refs) for prefix, kind in KINDS.items()}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
