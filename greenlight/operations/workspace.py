"""The folder that a run works in: a clone at one commit, with everything the stages read laid out."""

from __future__ import annotations

import filecmp
import io
import json
import os
import shutil
import tarfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlight import datasets
from greenlight.adapters import dvc, in_use, processes, scratch
from greenlight.adapters.dvc import Pipeline
from greenlight.adapters.git import Repository
from greenlight.adapters.registry import Version
from greenlight.config import Params, Settings
from greenlight.datasets.supply import INCOMING, Supply
from greenlight.errors import DvcError, GreenlightError, NotFound, storage
from greenlight.wiring import Project

if TYPE_CHECKING:
    from greenlight.operations.plan import Plan

NOTE = "greenlight.json"
KILLED = "its process ended without a word (killed, or the machine went down)"


@dataclass(frozen=True)
class Workspace:
    """A run's folder.

    Attributes
    ----------
    run : str
    root : Path
    params : Params
        As written into the folder's params.yaml.
    commit : str
        The commit of the user's checkout that the folder was cloned at.
    dirty : bool
        Whether uncommitted changes of tracked files travelled along.
    created : str
        When the run began, ISO 8601, UTC.
    warnings : tuple of str
        What could not be laid out and the run does without, in words for the log.
    """

    run: str
    root: Path
    params: Params
    commit: str
    dirty: bool
    created: str
    warnings: tuple[str, ...] = ()

    @property
    def repository(self) -> Repository:
        """The folder as a Git checkout."""
        return Repository(self.root)

    def path(self, name: str) -> Path:
        """Where `params.paths.<name>` lies in this folder."""
        return self.root / str(getattr(self.params.paths, name))

    def note(self, outcome: str, reason: str = "") -> None:
        """Leave word of how far the run came, for runs that never reach their record."""
        body = {
            "name": self.run,
            "created": self.created,
            "as_of": self.params.data.as_of,
            "outcome": outcome,
            "reason": reason,
            "pid": os.getpid(),
            "began": processes.began(os.getpid()),
        }
        (self.root / ".git" / NOTE).write_text(json.dumps(body), encoding="utf-8")

    @contextmanager
    def noting_failure(self) -> Iterator[None]:
        """Leave word when what happens inside breaks off with an error of ours."""
        try:
            yield
        except GreenlightError as exc:
            with suppress(OSError):  # on a full disk the message itself matters more than word of it
                self.note("Failed", str(exc))
            raise
        except OSError as exc:
            found = storage(exc)
            with suppress(OSError):
                self.note("Failed", str(found))
            raise found from exc


def create(project: Project, plan: Plan) -> Workspace:
    """Lay out a new run's folder below ``<home>/runs``.

    The user's checkout is only read. Uncommitted changes of tracked files travel along and become part of the run's own
    commit, so that a run never executes what it cannot reproduce.
    """
    commit = project.repository.head()
    changes = project.repository.changes()
    root = project.settings.home / "runs" / plan.run
    begun = scratch.folder(project.settings.home, plan.run)
    clone = project.repository.clone(begun, commit)
    clone.apply(changes)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    workspace = Workspace(plan.run, begun, plan.params, commit, bool(changes), created)
    workspace.note("Running")
    root.parent.mkdir(parents=True, exist_ok=True)
    begun.rename(root)  # a folder below runs/ always holds its note, or nobody could tell whether its run lives
    workspace = replace(workspace, root=root)
    with workspace.noting_failure():
        pipeline = configured(project.settings, root)
        write_params(root / "params.yaml", plan.overrides)
        write_params(root / "params.yaml", _concrete(plan.params))
        source = datasets.load(plan.params.dataset).source
        _lay_incoming(Supply(source, project.settings.root / INCOMING), root)
        warnings = lay_champion(project, workspace, pipeline, plan.champion)
        pipeline.close()
    return replace(workspace, warnings=warnings)


def configured(settings: Settings, root: Path) -> Pipeline:
    """The pipeline of a clone, with the shared cache and the remote's absolute address."""
    pipeline = Pipeline(root)
    # Until the pipeline is gone, or its process: meanwhile `greenlight gc` drops nothing.
    weakref.finalize(pipeline, os.close, in_use.share(settings.home))
    pipeline.configure(settings.home / "cache", settings.home / "remote", settings.root)
    return pipeline


@contextmanager
def materialize(settings: Settings, commit: str, paths: Sequence[str]) -> Iterator[Path]:
    """A throw-away clone at `commit` with some DVC outputs in place.

    Parameters
    ----------
    settings : Settings
    commit : str
        A run's commit.
    paths : sequence of str
        Outputs relative to the repository, such as ``data/model``.

    Raises
    ------
    DvcError
        Neither the cache nor the remote holds an output.
    """
    root = scratch.folder(settings.home, commit[:10])
    Repository(settings.root).clone(root, commit)
    pipeline = configured(settings, root)
    try:
        if paths:
            pipeline.pull(paths)
        yield root
    finally:
        pipeline.close()
        remove(root)


def remove(root: Path) -> None:
    """Delete a clone, also when DVC made its files read-only."""
    with suppress(FileNotFoundError):
        shutil.rmtree(root)


def write_params(path: Path, values: Mapping[str, Mapping[str, object]]) -> None:
    """Write values into sections of a params.yaml and leave its comments, order and other keys as they are."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    text = yaml.load(path.read_text(encoding="utf-8"))
    for section, changes in values.items():
        _merge(text.setdefault(section, {}), changes)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(text, file)


def _merge(into: Any, changes: Mapping[str, object]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), Mapping):
            _merge(into[key], value)
        else:
            into[key] = value


def _concrete(params: Params) -> dict[str, dict[str, object]]:
    """What a run resolves: the values that params.yaml leaves open."""
    return {
        "data": {"as_of": params.data.as_of, "source": params.data.source},
        "champion": params.champion.model_dump(),
        "judged": params.judged.model_dump(),
        "train": {"device": params.train.device},
    }


def _lay_incoming(supply: Supply, root: Path) -> None:
    """Months handed in by hand lie in the checkout, ignored by Git; the snapshot stage reads them here.

    File by file, because one that was committed all the same has come with the clone. A folder that was committed as
    a link is laid anew: a relative one points elsewhere from here.
    """
    for name, file in supply.handed().items():
        here = root / INCOMING / name
        for folder in (root / INCOMING, here.parent):
            if folder.is_symlink():
                folder.unlink()
        if here.is_file() and filecmp.cmp(here, file, shallow=False):
            continue
        here.parent.mkdir(parents=True, exist_ok=True)
        here.unlink(missing_ok=True)
        here.symlink_to(file.resolve())


def lay_champion(
    project: Project, workspace: Workspace, pipeline: Pipeline, champion: Version | None
) -> tuple[str, ...]:
    """Put the champion's model folder and its code where `evaluate` reads them, as one DVC-tracked folder.

    Returns
    -------
    tuple of str
        Warnings: what of the champion's is not at hand, and what is not checked therefore.
    """
    target = workspace.path("champion")
    target.mkdir(parents=True)
    warnings: tuple[str, ...] = ()
    facts = {"version": "", "run": "", "model_md5": ""}
    if champion:
        digest = model_hash(project, champion)
        facts = {"version": champion.name, "run": champion.run, "model_md5": digest}
        pipeline.fetch(digest, target / "model")
        warnings = tuple(_lay_snapshot(project, pipeline, champion, target / "snapshot"))
        with tarfile.open(fileobj=io.BytesIO(project.repository.archive(champion.commit, "greenlight"))) as tar:
            tar.extractall(target / "code", filter="data")
    (target / "champion.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    pipeline.add(workspace.params.paths.champion)
    return warnings


def _lay_snapshot(project: Project, pipeline: Pipeline, champion: Version, target: Path) -> Iterator[str]:
    """Put the rows that the champion learnt from beside it: `validate` says which of them were corrected since.

    Links into the cache, so no copy. Where neither cache nor remote has them any more nothing is compared, and the
    run goes on: its own data is judged all the same. That is said, as a warning.
    """
    outs = dvc.lock_hashes(project.repository.read(champion.commit, dvc.LOCK)).get("snapshot", {})
    for digest in outs.values():
        try:
            pipeline.fetch(digest, target)
        except DvcError as exc:
            shutil.rmtree(target, ignore_errors=True)
            yield (
                f"corrections of earlier months are not looked for: the rows that champion {champion.name} learnt from "
                f"cannot be laid out, {exc.what}. The run goes on without. Next: {exc.todo}; "
                "greenlight fsck says what else is missing"
            )


def model_hash(project: Project, version: Version) -> str:
    """DVC's hash of a version's model folder, from the lock of its run.

    Raises
    ------
    NotFound
        The tagged commit is no run's: it holds no lock that names a model.
    """
    digest = model_of(project.repository.read(version.commit, dvc.LOCK))
    if not digest:
        raise NotFound(
            f"{version.name} is tagged on {version.commit[:10]}, which is no run: its dvc.lock names no model",
            where="git tags",
            todo="check who moved the tag: git tag -l --format='%(refname:short) %(*objectname)'",
        )
    return digest


def versions_of(project: Project, digest: str) -> list[Version]:
    """The versions whose model folder has this hash, oldest first; one Git process whatever their number.

    Locks are searched before they are parsed: parsing a thousand takes ten seconds.
    """
    versions = project.registry.versions()
    locks = project.repository.read_many(f"{version.commit}:{dvc.LOCK}" for version in versions)
    found = [version for version, lock in zip(versions, locks, strict=True) if lock and digest.encode() in lock]
    return [v for v in found if digest and model_of(project.repository.read(v.commit, dvc.LOCK)) == digest]


def model_of(lock: bytes | None) -> str:
    """DVC's hash of the model folder that a lock names; empty where it names none."""
    return next(iter(dvc.lock_hashes(lock).get("train", {}).values()), "")
