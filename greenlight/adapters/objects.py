"""The two places that hold DVC's objects, the shared cache and the remote: what is there, how big, and away with it.

DVC's own ``gc`` walks every revision's pipeline and knows nothing of held or registered runs, and its ``--cloud`` drops
whatever this checkout does not name, what a colleague has not pushed yet included. So what is needed is decided by the
operation; here is only the store. It must not know what an object is for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from greenlight.adapters.dvc import DEFAULT_REMOTE_URL, remote
from greenlight.adapters.dvc_errors import translate

FILES = ("files", "md5")  # where DVC 3 keeps objects below a cache or a remote
DIR = ".dir"  # ends the name of an object that lists a folder's files
BATCH = 500  # objects removed at a time; a listing goes before the files that it names


class Store:
    """One store of objects, named by their MD5.

    Parameters
    ----------
    odb : object
        DVC's object database.
    where : str
        Its folder or address, for messages.
    """

    def __init__(self, odb: Any, where: str) -> None:
        self._odb = odb
        self.where = where

    def existing(self, names: Iterable[str]) -> set[str]:
        """Those of `names` that the store holds.

        Raises
        ------
        DvcError
            The store does not answer.
        """
        wanted = sorted(set(names))
        if not wanted:
            return set()
        with self._translated("status"):
            return set(self._odb.list_oids_exists(wanted))

    def sizes(self) -> dict[str, int]:
        """Every object with its size in bytes; an empty store has none.

        Raises
        ------
        DvcError
            The store does not answer.
        """
        with self._translated("list"):
            try:
                if self._odb.fs.protocol == "local":
                    found = {str(p): p.stat().st_size for p in Path(self._odb.path).glob("??/*")}
                else:
                    infos = self._odb.fs.fs.find(self._odb.path, detail=True)
                    found = {path: int(info.get("size") or 0) for path, info in infos.items()}
            except FileNotFoundError:
                return {}
        names = {_name(path): size for path, size in found.items()}
        return {name: size for name, size in names.items() if name}

    def listing(self, name: str) -> tuple[str, ...] | None:
        """Objects that the folder object `name` lists; None when the store lacks it, or holds no listing there."""
        with self._translated("read"):
            try:
                rows = json.loads(self._odb.fs.cat_file(self._odb.oid_to_path(name)))
                return tuple(str(row["md5"]) for row in rows)
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                return None

    def sound(self, names: Iterable[str]) -> set[str]:
        """Those of `names` that the store holds with the content that their name says; only of a store in a folder."""
        return {name for name in names if self.path(name).is_file() and _md5(self.path(name)) == name.removesuffix(DIR)}

    def path(self, name: str) -> Path:
        """Where an object lies; only of a store that is a folder."""
        return Path(self._odb.oid_to_path(name))

    def remove(self, names: Iterable[str], done: Callable[[int], None] = lambda _: None) -> int:
        """Drop objects; listings first, since DVC takes a listing that is there for proof of the files in it.

        Those that are gone already do not matter. Returns how many were dropped.

        Raises
        ------
        DvcError
            The store does not answer or may not be written to; what was dropped by then is gone.
        """
        ordered = sorted(set(names), key=lambda name: (not name.endswith(DIR), name))
        removed = 0
        for begin in range(0, len(ordered), BATCH):
            # In two calls where a batch holds both kinds: a call may go through its paths in any order.
            batch = ordered[begin : begin + BATCH]
            for part in ([n for n in batch if n.endswith(DIR)], [n for n in batch if not n.endswith(DIR)]):
                present = sorted(self.existing(part))
                if not present:
                    continue
                with self._translated("remove"):
                    self._odb.fs.remove([self._odb.oid_to_path(name) for name in present])
                removed += len(present)
            done(removed)
        return removed

    def take(self, source: Store, names: Iterable[str]) -> None:
        """Copy objects from another store; a listing after the files that it names, so that it never stands alone.

        Raises
        ------
        DvcError
            A store does not answer, or this one may not be written to; what was copied by then stays.
        """
        wanted = set(names)
        with self._translated("push"):
            for part in ([n for n in wanted if not n.endswith(DIR)], [n for n in wanted if n.endswith(DIR)]):
                if part:
                    paths = [source._odb.oid_to_path(name) for name in part]
                    self._odb.add(paths, source._odb.fs, part, hardlink=False)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        logger = logging.getLogger("dvc_objects")
        before, logger.disabled = logger.disabled, True  # its line per query is not for people
        try:
            yield
        except Exception as exc:  # DVC and each of its storages raise their own kinds
            error = translate(exc, doing, Path(self.where))
            error.where = self.where
            error.todo = f"check that {self.where} answers and may be written to, then repeat"
            raise error from exc
        finally:
            logger.disabled = before


def cache_store(home: Path) -> Store:
    """The cache that all workspaces share."""
    from dvc.fs import LocalFileSystem

    return _store(LocalFileSystem(), str(home / "cache"), str(home / "cache"), {})


def remote_store(checkout: Path, home: Path) -> Store:
    """The default remote, as this checkout is configured to reach it.

    Raises
    ------
    DvcError
        There is none, or DVC cannot talk to its kind.
    """
    from dvc.config import Config
    from dvc.fs import LocalFileSystem, get_cloud_fs

    folder = remote_folder(checkout, home)
    if folder is not None:
        return _store(LocalFileSystem(), str(folder), str(folder), {})
    name, url = remote(checkout)
    kind, config, path = get_cloud_fs(Config(dvc_dir=str(checkout / ".dvc")), name=name)
    return _store(kind(**config), path, url, config)


def remote_folder(checkout: Path, home: Path) -> Path | None:
    """The default remote's folder; None for one that is behind an address.

    Raises
    ------
    DvcError
        There is no remote.
    """
    _, url = remote(checkout)
    if "://" in url:
        return None
    shipped = os.path.normpath(checkout / ".dvc" / DEFAULT_REMOTE_URL)
    return home / "remote" if url == shipped else Path(url)


def _store(fs: Any, path: str, where: str, config: dict[str, Any]) -> Store:
    from dvc_data.hashfile.db import get_odb

    more = {key: config[key] for key in ("verify", "read_only") if key in config}
    make: Any = get_odb
    return Store(make(fs, fs.join(path, *FILES), hash_name="md5", **more), where)


def _name(path: str) -> str:
    """An object's name from its path; empty for what is none, such as a file that a crash left half written."""
    *_, first, rest = path.rsplit("/", 2)
    name = first + rest
    digits = name.removesuffix(DIR)
    return name if len(digits) == 32 and all(c in "0123456789abcdef" for c in digits) else ""


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class Weight:
    """How much a set of files weighs on disk, and how much goes when they go: bytes with other links stay."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], list[int]] = {}

    def add(self, path: Path) -> int:
        """Count a file, or everything below a folder; returns the bytes that it takes up, links counted each time."""
        total = 0
        stack = [path]
        while stack:
            here = stack.pop()
            try:
                found = here.lstat()
                if stat.S_ISDIR(found.st_mode):
                    stack.extend(here.iterdir())
            except (FileNotFoundError, PermissionError):
                continue
            taken = found.st_blocks * 512
            total += taken
            entry = self._seen.setdefault((found.st_dev, found.st_ino), [0, found.st_nlink, taken])
            entry[0] += 1
            if stat.S_ISDIR(found.st_mode):
                entry[1] = entry[0]  # a folder's links are its own entries
        return total

    @property
    def freed(self) -> int:
        """Bytes that are free once everything counted is gone."""
        return sum(taken for count, links, taken in self._seen.values() if count >= links)
