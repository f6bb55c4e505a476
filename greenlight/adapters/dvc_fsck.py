"""Every object of many runs, read on both sides: what is damaged, what the other side makes good, what is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from greenlight.adapters.dvc_objects import Store, Stores
from greenlight.errors import DvcError

LOST = "put it back from a backup of the remote; without it that run cannot be reproduced"
MEND = "greenlight fsck --mend"


@dataclass(frozen=True)
class Damage:
    """One object that is not what its name says, or that is on neither side."""

    what: str
    where: str
    mended: bool
    todo: str


def examine(stores: Stores, outs: Mapping[str, str], *, mend: bool) -> tuple[int, list[Damage]]:
    """Read every object below `outs`; returns how many there are, and what is wrong with them.

    Parameters
    ----------
    outs : mapping of str to str
        Output to hash. A hash that neither side has and that names no folder is a small report's, which Git keeps.
    """
    files, found = {}, []
    for path, digest in outs.items():
        if not digest.endswith(".dir"):
            if stores.cache.size(digest) >= 0 or stores.remote.size(digest) >= 0:
                files[digest] = path
            continue
        files[digest] = path
        side = next((s for s in (stores.cache, stores.remote) if s.state(digest) == "good"), None)
        if side:
            files |= {oid: f"{path}/{name}" for oid, name in side.listing(digest).items() if oid not in files}
    here, there = stores.cache.states(files), stores.remote.states(files)
    for oid, file in files.items():
        found += _judge(stores, oid, file, (here[oid], there[oid]), mend=mend)
    return len(files), found


def _judge(stores: Stores, oid: str, file: str, states: tuple[str, str], *, mend: bool) -> list[Damage]:
    here, there = states
    found = []
    if here == "damaged":
        found.append(_damage(stores.cache, oid, file, "is damaged", good=there == "good", mend=mend))
        if mend and there == "good":
            stores.set_aside(oid)
            stores.fetch(oid, file)
    if there != "good" and (there == "damaged" or here != "damaged"):
        how = "is damaged" if there == "damaged" else "is missing"
        found.append(_damage(stores.remote, oid, file, how, good=here == "good", mend=mend))
        if mend and here == "good":
            stores.send(oid)
            if stores.remote.state(oid) != "good":
                raise DvcError("an object was sent and is still damaged", where=stores.remote.path(oid), todo="dmesg")
    return found


def _damage(store: Store, oid: str, file: str, how: str, *, good: bool, mend: bool) -> Damage:
    what = f"{file} {how} in the {store.name}, object {oid}"
    if not good:
        return Damage(f"{what}, and nowhere else is a good one", store.path(oid), False, LOST)
    return Damage(f"{what}{'; put back' if mend else ''}", store.path(oid), mend, "" if mend else MEND)
