"""DVC: the stages, the cache, the remote, and runs as experiments.

DVC is called through its Python objects in this process: a call of its command line costs about a second, most of it
imports. One :class:`Pipeline` per workspace; DVC allows one writer per folder.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from greenlight.adapters import dvc_fsck
from greenlight.adapters.dvc_errors import quiet, translate
from greenlight.adapters.dvc_fsck import Damage
from greenlight.adapters.dvc_objects import Stores
from greenlight.adapters.stage_process import raise_end, read_report, told, venv_first
from greenlight.errors import DvcError, GreenlightError

CACHE_TYPES = "reflink,hardlink,symlink,copy"
DEFAULT_REMOTE_URL = "../.greenlight/remote"
LOCK = "dvc.lock"


@dataclass(frozen=True)
class StageRun:
    """How one stage went.

    Attributes
    ----------
    stage : str
    executed : bool
        False when DVC found the outputs in its cache.
    seconds : float
        Wall time, DVC's own share included.
    summary : str
        What the stage said of itself; empty when it was not executed.
    process : dict
        What its process used: ``modules`` imported, ``threads`` of each pool; empty when it was not executed.
    """

    stage: str
    executed: bool
    seconds: float
    summary: str
    process: dict[str, Any] = field(default_factory=dict)


class Pipeline:
    """The DVC pipeline of one workspace.

    Parameters
    ----------
    root : Path
        Top of the workspace.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened: Any = None

    def configure(self, cache: Path, remote_home: Path, checkout: Path) -> None:
        """Share the cache and make the remote's address absolute; both for this workspace only.

        Parameters
        ----------
        cache : Path
            The cache that all workspaces share.
        remote_home : Path
            Folder that stands in for the shipped default remote.
        checkout : Path
            The user's checkout, which a relative remote is relative to.

        Raises
        ------
        DvcError
            No default remote is configured: a run could not be brought back on another machine.
        """
        from dvc.config import Config, merge
        from dvc.config_schema import RelPath

        name, url = remote(checkout)
        today = Config(dvc_dir=str(checkout / ".dvc"))
        config = Config(dvc_dir=str(self.root / ".dvc"))
        with self._translated("config"), config.edit("local", validate=False) as local:
            # A clone of an old commit must use today's remotes and credentials, not those of its time.
            for level in ("repo", "local"):
                merge(local, today.load_one(level))
            # Written relative to the workspace: DVC writes ASCII only, and the folder above may be called anything.
            merge(local, {"core": {"remote": name}, "cache": {"dir": RelPath(cache), "type": CACHE_TYPES}})
            if "://" not in url:
                shipped = os.path.normpath(checkout / ".dvc" / DEFAULT_REMOTE_URL)
                merge(local, {"remote": {name: {"url": RelPath(remote_home if url == shipped else url)}}})

    def run_stage(self, stage: str, *, force: bool = False) -> StageRun:
        """Bring one stage up to date, from the cache where nothing it depends on changed.

        Raises
        ------
        StageFailed, DataRejected, GreenlightError
            What the stage itself raised, or that it ended without a word.
        DvcError
            DVC, the cache or the disk failed.
        """
        started = time.perf_counter()
        with told() as report, self._translated(f"stage {stage}"):
            try:
                self._repo().reproduce([stage], single_item=True, force=force)
            except Exception as exc:  # noqa: BLE001 - DVC raises dozens of kinds; every one is translated
                raise_end(stage, report, exc)
            said = read_report(report)
            self._require_sound(lock_hashes((self.root / LOCK).read_bytes()).get(stage, {}))
        seconds = time.perf_counter() - started
        return StageRun(stage, bool(said), seconds, str(said.get("summary", "")), said.get("process", {}))

    def add(self, path: str) -> None:
        """Track a file or folder that no stage makes (writes ``<path>.dvc``)."""
        with self._translated(f"add {path}"):
            self._repo().add(path)

    def push(self) -> int:
        """Copy everything this workspace's lock names to the remote; returns the number of files copied.

        Raises
        ------
        DvcError
            No remote, out of reach, or disk full. Nothing points at half a push: refs are written after it.
        """
        with self._translated("push"):
            repo, stores = self._repo(), Stores.of(self._repo())
            outs = {str(out): out.hash_info.value for out in repo.index.outs if out.use_cache and out.hash_info}
            files = stores.files(outs)
            cut_short = stores.send_cut_short(files)  # before, as DVC breaks off at one
            return len(cut_short) + int(repo.push()) + len(stores.send_missing(files))

    def pull(self, targets: Sequence[str]) -> None:
        """Fetch outputs from the remote (or the cache) and lay them into the workspace.

        Raises
        ------
        DvcError
            The remote is out of reach, lacks an object, or has a damaged one that the cache has no good one of.
        """
        with self._translated("pull " + " ".join(targets)):
            stores = Stores.of(self._repo())
            files = stores.files(_digests(self.root, targets))
            stores.mend(files)
            lacking = {oid: file for oid, file in files.items() if stores.cache.size(oid) < 0}
            self._repo().pull(targets=list(targets), force=True)
            stores.require_fetched(lacking)

    def examine(self, outs: Mapping[str, str], *, mend: bool) -> tuple[int, list[Damage]]:
        """Read every object below `outs` in the cache and in the remote; see :mod:`greenlight.adapters.dvc_fsck`."""
        with self._translated("fsck"):
            return dvc_fsck.examine(Stores.of(self._repo()), outs, mend=mend)

    def fetch(self, digest: str, target: Path) -> None:
        """Lay the folder with this hash at `target`, from the cache or the remote, without tracking it.

        Raises
        ------
        DvcError
            Neither holds it.
        """
        # At the top of the workspace: DVC refuses pointers in folders that Git ignores.
        pointer = self.root / f"{target.name}-{digest[:8]}.dvc"
        out = {"md5": digest, "hash": "md5", "path": target.name}
        wdir = os.path.relpath(target.parent, self.root)
        pointer.write_text(yaml.safe_dump({"wdir": wdir, "outs": [out]}), encoding="utf-8")
        try:
            self.pull([pointer.name])
        finally:
            pointer.unlink()
            self.close()

    def close(self) -> None:
        """Let go of DVC's databases."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _require_sound(self, outs: Mapping[str, str]) -> None:
        """Read what a stage laid out from the cache; lay it out again where an object had to be mended."""
        stores = Stores.of(self._repo())
        for path, digest in outs.items():
            if stores.cache.size(digest) < 0:
                continue  # small reports are Git's
            state = stores.cache.state(digest)
            if stores.mend(stores.files({path: digest})) or state == "damaged":
                target = self.root / path
                shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
                self._repo().checkout([path], force=True)

    def _repo(self) -> Any:
        if self._opened is None:
            os.environ.setdefault("DVC_NO_ANALYTICS", "true")
            from dvc.repo import Repo

            self._opened = Repo(str(self.root))
        return self._opened

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        before = os.getcwd()
        heard: list[BaseException] = []
        try:
            with venv_first(), quiet(heard):
                os.chdir(self.root)  # DVC resolves targets against the working directory
                yield
        except GreenlightError:
            raise
        except Exception as exc:
            raise translate(exc, doing, self.root, heard) from exc
        finally:
            os.chdir(before)


def experiment_ref(baseline: str, name: str) -> str:
    """The ref by which DVC finds the experiment `name` on top of the commit `baseline` (``dvc exp list``, ``show``).

    An experiment is a commit and this ref. ``dvc exp save`` makes the same after stashing, committing all stages once
    more and restoring the folder, which takes 1.5 s of a run of 13 s and leaves a half-restored folder when killed.
    Source: ``ExpRefInfo`` in ``dvc/repo/experiments/refs.py`` (DVC 3.67).
    """
    return f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"


def remote(checkout: Path) -> tuple[str, str]:
    """Name and address of the default remote as configured; a folder's address is absolute.

    Raises
    ------
    DvcError
        There is none, DVC cannot talk to its kind, or the folder is no DVC repository.
    """
    from dvc.config import Config

    if not (checkout / ".dvc").is_dir():
        raise DvcError("not a DVC repository", where=str(checkout), todo="git checkout .dvc, or dvc init")
    config = Config(dvc_dir=str(checkout / ".dvc"))
    name = config["core"].get("remote")
    if not name or name not in config["remote"]:
        raise DvcError(
            "no default DVC remote is configured, so a run could not be reproduced elsewhere",
            where=str(checkout / ".dvc" / "config"),
            todo="dvc remote add --default local ../.greenlight/remote (a folder), or an s3:// address",
        )
    url = str(config["remote"][name].get("url", ""))
    if "://" not in url:
        return name, os.path.normpath(checkout / ".dvc" / url)
    _require_driver(url)
    return name, url


def _require_driver(url: str) -> None:
    """Find out now that DVC cannot talk to this kind of remote, not at the push that ends a run."""
    from dvc.fs import get_fs_cls

    try:
        get_fs_cls({"url": url})
    except ImportError as exc:
        raise DvcError(
            f"the DVC remote cannot be used: {exc}",
            where=url,
            todo="add it to pyproject.toml and to the lock (make lock, make setup), or use another remote",
        ) from exc


def lock_hashes(lock: bytes | None) -> dict[str, dict[str, str]]:
    """Hashes of every stage's outputs as dvc.lock has them: ``{stage: {path: md5}}``."""
    if not lock:
        return {}
    # The C loader reads a lock in a tenth of the time; it is missing only where PyYAML was built without libyaml.
    stages = yaml.load(lock, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)).get("stages", {})
    return {name: {out["path"]: out.get("md5", "") for out in body.get("outs", [])} for name, body in stages.items()}


def _digests(root: Path, targets: Sequence[str]) -> dict[str, str]:
    """The hash of each output among `targets`: paths of stages' outputs, or ``.dvc`` files."""
    lock = root / LOCK
    known: dict[str, str] = {}
    for outs in lock_hashes(lock.read_bytes() if lock.is_file() else None).values():
        known |= outs
    found = {target: known[target] for target in targets if known.get(target)}
    for pointer in (target for target in targets if target.endswith(".dvc")):
        found |= {out["path"]: out["md5"] for out in yaml.safe_load((root / pointer).read_bytes())["outs"]}
    return found
