"""Which objects a commit names: the outputs of its dvc.lock and whatever else a ``.dvc`` file tracks.

Read from Git for any number of commits in a few processes; DVC itself would load every revision's pipeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import yaml

from greenlight.adapters.dvc import LOCK, lock_hashes
from greenlight.adapters.git import Repository
from greenlight.adapters.objects import DIR, Store

POINTER = ".dvc"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class Holdings:
    """What commits name.

    Attributes
    ----------
    by_commit : dict
        Per commit ``{path: object}``, as the commit has it; files that Git keeps itself are left out.
    unlisted : dict of str to str
        Folder objects whose listing is in none of the stores, with a path that names them.
    """

    by_commit: dict[str, dict[str, str]]
    unlisted: dict[str, str] = field(default_factory=dict)
    _listings: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def objects(self, commits: Iterable[str]) -> set[str]:
        """Every object that these commits need: what they name, and what the folders among that list."""
        found: set[str] = set()
        for commit in commits:
            for name in self.by_commit.get(commit, {}).values():
                found |= self.of(name)
        return found

    def of(self, name: str) -> set[str]:
        """An object and, of a folder, those that it lists."""
        return {name, *self._listings.get(name, ())}


def read(repository: Repository, commits: Iterable[str], stores: Iterable[Store]) -> Holdings:
    """What `commits` name; folders are listed from the first of `stores` that has their listing."""
    wanted = list(dict.fromkeys(commits))
    trees = {commit: _files(repository, commit) for commit in wanted}
    names = [(commit, path) for commit in wanted for path in trees[commit] if path == LOCK or path.endswith(POINTER)]
    contents = repository.read_many(f"{commit}:{path}" for commit, path in names)
    by_commit: dict[str, dict[str, str]] = {commit: {} for commit in wanted}
    parsed: dict[bytes, dict[str, str]] = {}  # many runs share a pointer or a lock
    for (commit, path), raw in zip(names, contents, strict=True):
        outs = _outs(raw or b"", path, parsed)
        by_commit[commit] |= {out: name for out, name in outs.items() if out not in trees[commit]}
    holdings = Holdings(by_commit)
    _list(holdings, list(stores))
    return holdings


def _list(holdings: Holdings, stores: list[Store]) -> None:
    for outs in holdings.by_commit.values():
        for path, name in outs.items():
            if not name.endswith(DIR) or name in holdings._listings or name in holdings.unlisted:
                continue
            found = next((rows for store in stores if (rows := store.listing(name)) is not None), None)
            if found is None:
                holdings.unlisted[name] = path
            else:
                holdings._listings[name] = found


def _files(repository: Repository, commit: str) -> set[str]:
    return set(filter(None, repository.run("ls-tree", "-r", "-z", "--name-only", commit).split("\0")))


def _outs(raw: bytes, path: str, parsed: dict[bytes, dict[str, str]]) -> dict[str, str]:
    key = path.encode() + b"\0" + raw
    if key not in parsed:
        parsed[key] = _locked(raw) if path == LOCK else _pointed(raw, path)
    return parsed[key]


def _locked(raw: bytes) -> dict[str, str]:
    return {path: name for outs in lock_hashes(raw).values() for path, name in outs.items() if name}


def _pointed(raw: bytes, path: str) -> dict[str, str]:
    document = yaml.load(raw, Loader=_LOADER)
    outs: list[Mapping[str, str]] = document.get("outs", []) if isinstance(document, dict) else []
    folder = path.rpartition("/")[0]
    return {f"{folder}/{out['path']}".lstrip("/"): out["md5"] for out in outs if out.get("md5")}
