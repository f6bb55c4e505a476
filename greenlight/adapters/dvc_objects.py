"""The bytes behind DVC's hashes: what is not what its name says is noticed, and mended from the other side or refused.

DVC believes a read-only file of its cache without a look, and a remote's object by its name. A flipped bit would become
a model's input, or a model, without a word. So whatever comes out of the cache or the remote is read once more here,
where it is laid out: one pass of MD5 per run, in a few threads.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from greenlight.errors import DvcError

State = Literal["good", "damaged", "missing"]
CHUNK = 1 << 20
THREADS = 4  # MD5 lets go of the interpreter; four keep up with a fast disk
DAMAGED = "damaged"  # folder in the cache that keeps what was taken out of use


@dataclass(frozen=True)
class Store:
    """The cache, or a remote.

    Attributes
    ----------
    name : str
        ``cache`` or ``remote``, for messages.
    odb : Any
        DVC's object database.
    """

    name: str
    odb: Any

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return bool(self.odb.fs.protocol == "local")

    def path(self, oid: str) -> str:
        """Where the object lies."""
        return str(self.odb.oid_to_path(oid))

    def state(self, oid: str) -> State:
        """Read the object and compare it with its name."""
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with self.odb.fs.open(self.path(oid), "rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
        except FileNotFoundError:
            return "missing"
        return "good" if digest.hexdigest() == oid.removesuffix(".dir") else "damaged"

    def states(self, oids: Iterable[str]) -> dict[str, State]:
        """`state` of many."""
        wanted = list(dict.fromkeys(oids))
        with ThreadPoolExecutor(THREADS) as pool:
            return dict(zip(wanted, pool.map(self.state, wanted), strict=True))

    def size(self, oid: str) -> int:
        """Bytes of the object; -1 where there is none."""
        try:
            return int(self.odb.fs.size(self.path(oid)))
        except FileNotFoundError:
            return -1

    def listing(self, oid: str) -> dict[str, str]:
        """What a folder's object names: the file of each object."""
        with self.odb.fs.open(self.path(oid), "rb") as file:
            return {entry["md5"]: entry["relpath"] for entry in json.load(file)}


@dataclass(frozen=True)
class Stores:
    """Both sides of one repository."""

    cache: Store
    remote: Store

    @classmethod
    def of(cls, repo: Any) -> Stores:
        """Those of an open DVC repository."""
        return cls(Store("cache", repo.cache.local), Store("remote", repo.cloud.get_remote_odb()))

    def files(self, outs: Mapping[str, str]) -> dict[str, str]:
        """Every object below these outputs, folders' own objects included, with the file it is of.

        Mends folders' objects on the way, and fetches those that only the remote has.

        Raises
        ------
        DvcError
            A folder's object is damaged, and neither side has a good one.
        """
        found = {}
        for path, digest in outs.items():
            found[digest] = path
            if digest.endswith(".dir"):
                state = self.cache.state(digest)
                if state == "damaged":
                    self.mend_cache(digest, path)
                elif state == "missing" and not self.fetch(digest, path):
                    continue
                found |= {oid: f"{path}/{name}" for oid, name in self.cache.listing(digest).items()}
        return found

    def mend(self, files: Mapping[str, str]) -> list[str]:
        """Replace what is damaged in the cache with what the remote has; returns the objects replaced.

        Raises
        ------
        DvcError
            The remote has no good one either. The damaged one is out of use, so that nothing takes it for good.
        """
        bad = [oid for oid, state in self.cache.states(files).items() if state == "damaged"]
        for oid in bad:
            self.mend_cache(oid, files[oid])
        return bad

    def mend_cache(self, oid: str, file: str) -> None:
        """Take a damaged object out of the cache and put the remote's in its place.

        Raises
        ------
        DvcError
            The remote's is missing or damaged too.
        """
        kept = self.set_aside(oid)
        if not self.fetch(oid, file):
            raise DvcError(
                f"{file} is damaged: its object {oid} in the cache is not what its hash says, and the remote has none",
                where=str(kept),
                todo="it is out of use now; a retrain makes it anew, an old run needs it from a backup of the remote",
            )

    def fetch(self, oid: str, file: str) -> bool:
        """Copy one object from the remote into the cache, whole and checked; False where the remote has none.

        Raises
        ------
        DvcError
            The remote's is damaged.
        """
        partial = self._aside(f"{oid}.{os.getpid()}")
        try:
            self.remote.odb.fs.get_file(self.remote.path(oid), str(partial))
            if _md5(partial) != oid.removesuffix(".dir"):
                raise damaged_remote(oid, file, self.remote.path(oid))
            partial.chmod(0o444)
            target = Path(self.cache.path(oid))
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)
        except FileNotFoundError:
            return False
        finally:
            partial.unlink(missing_ok=True)
        return True

    def require_fetched(self, files: Mapping[str, str]) -> None:
        """Check what DVC has just downloaded.

        Raises
        ------
        DvcError
            An object is not what its name says; it is out of the cache again.
        """
        for oid, state in self.cache.states(files).items():
            if state == "damaged":
                self.set_aside(oid)
                raise damaged_remote(oid, files[oid], self.remote.path(oid))

    def send_cut_short(self, files: Mapping[str, str]) -> list[str]:
        """Send again what lies in the remote with another size than it has here; returns the objects sent.

        DVC's push goes by names and by what it remembers of earlier pushes. Sizes cost nothing in a folder; a bucket
        has no half objects, and what else can happen to one ``greenlight fsck`` looks for.
        """
        if not self.remote.is_local:
            return []
        sizes = {oid: (self.cache.size(oid), self.remote.size(oid)) for oid in files}
        return self._send(oid for oid, (here, there) in sizes.items() if here >= 0 and there >= 0 and here != there)

    def send_missing(self, files: Mapping[str, str]) -> list[str]:
        """Send what a push left out because it remembers having sent it; returns the objects sent."""
        if not self.remote.is_local:
            return []
        return self._send(oid for oid in files if self.cache.size(oid) >= 0 and self.remote.size(oid) < 0)

    def _send(self, oids: Iterable[str]) -> list[str]:
        sent = list(oids)
        for oid in sent:
            self.send(oid)
        return sent

    def send(self, oid: str) -> None:
        """Put the cache's object into the remote, over whatever is there."""
        target = self.remote.path(oid)
        self.remote.odb.fs.makedirs(self.remote.odb.fs.parent(target), exist_ok=True)
        self.remote.odb.fs.put_file(self.cache.path(oid), target)

    def set_aside(self, oid: str) -> Path:
        """Move a damaged object out of the cache; returns where it lies now."""
        kept = self._aside(oid)
        Path(self.cache.path(oid)).replace(kept)
        return kept

    def _aside(self, name: str) -> Path:
        folder = Path(self.cache.odb.path).parents[1] / DAMAGED
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


def damaged_remote(oid: str, file: str, where: str) -> DvcError:
    """The message on a damaged object of the remote."""
    return DvcError(
        f"{file} is damaged in the DVC remote: its object {oid} is not what its hash says",
        where=where,
        todo="greenlight fsck --mend on a machine whose cache has a good one, else put it back from a backup",
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
