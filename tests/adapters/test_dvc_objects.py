"""Damaged objects in DVC's cache and remote: noticed before they are used, mended from the other side, or refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from test_dvc import Place

from greenlight.adapters import dvc
from greenlight.adapters.dvc import Pipeline
from greenlight.errors import DvcError


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def damage(path: Path, how: str = "flip") -> None:
    """Change an object and leave its inode, its rights, its time and (flip) its size as they were, as a disk does."""
    before = path.stat()
    content = path.read_bytes()
    path.chmod(0o644)
    with path.open("r+b") as file:
        if how == "flip":
            file.write(bytes([content[0] ^ 1]))
        else:
            file.truncate(0)
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def digest(pipeline: Pipeline) -> str:
    return dvc.lock_hashes((pipeline.root / dvc.LOCK).read_bytes())["one"]["data/out"]


def objects(pipeline: Pipeline) -> tuple[str, str]:
    """Hashes of the output's folder and of the file in it."""
    folder = digest(pipeline)
    listing = json.loads(at(pipeline.root.parent / "cache", folder).read_bytes())
    return folder, str(listing[0]["md5"])


def at(store: Path, oid: str) -> Path:
    return store / "files" / "md5" / oid[:2] / oid[2:]


EACH = pytest.mark.parametrize(("which", "how"), [(0, "flip"), (0, "truncate"), (1, "flip"), (1, "truncate")])
SOME = pytest.mark.parametrize(("which", "how"), [(0, "truncate"), (1, "flip")])
WHICH = pytest.mark.parametrize("which", [0, 1], ids=["folder", "file"])


@EACH
def test_a_damaged_object_of_the_cache_is_mended_from_the_remote_before_a_stage_hands_it_on(
    place: Place, how: str, which: int
) -> None:
    first = place.workspace("a")
    first.run_stage("one")
    first.push()
    oid = objects(first)[which]
    damage(at(place.base / "cache", oid), how)

    second = place.workspace("b")
    second.run_stage("one")

    assert (second.root / "data/out/file").read_text() == "plain"
    assert at(place.base / "cache", oid).read_bytes() == at(place.base / "remote", oid).read_bytes()


@EACH
def test_a_damaged_object_of_the_cache_that_no_remote_has_is_refused_once_and_made_anew(
    place: Place, how: str, which: int
) -> None:
    first = place.workspace("a")
    first.run_stage("one")
    oid = objects(first)[which]
    damage(at(place.base / "cache", oid), how)

    with pytest.raises(DvcError, match=rf"data/out.* is damaged: its object {oid}") as caught:
        place.workspace("b").run_stage("one")
    assert Path(caught.value.where).is_file(), "what was taken out of use is kept"

    again = place.workspace("c")
    again.run_stage("one")
    assert (again.root / "data/out/file").read_text() == "plain"


@SOME
def test_what_a_stage_makes_again_is_not_swapped_for_a_damaged_object_of_the_same_name(
    place: Place, how: str, which: int
) -> None:
    first = place.workspace("a")
    first.run_stage("one")
    first.push()
    damage(at(place.base / "cache", objects(first)[which]), how)

    second = place.workspace("b")
    assert second.run_stage("one", force=True).executed
    assert (second.root / "data/out/file").read_text() == "plain"


@SOME
def test_pull_mends_the_cache_from_the_remote(place: Place, how: str, which: int) -> None:
    first = place.workspace("a")
    first.run_stage("one")
    first.push()
    oid = objects(first)[which]
    damage(at(place.base / "cache", oid), how)

    other = place.workspace("b")
    other.fetch(digest(first), other.root / "data" / "out")

    assert (other.root / "data/out/file").read_text() == "plain"


@SOME
def test_pull_refuses_a_damaged_object_of_the_remote_by_name(place: Place, how: str, which: int) -> None:
    first = place.workspace("a")
    first.run_stage("one")
    first.push()
    oid = objects(first)[which]
    damage(at(place.base / "remote", oid), how)

    place.repository.clone(place.base / "elsewhere", place.repository.head())
    elsewhere = Pipeline(place.base / "elsewhere")
    elsewhere.configure(place.base / "another cache", place.base / "remote", place.source)
    with pytest.raises(DvcError, match=f"damaged in the DVC remote: its object {oid}") as caught:
        elsewhere.fetch(digest(first), elsewhere.root / "data" / "out")

    assert caught.value.where == str(at(place.base / "remote", oid))
    assert "fsck" in caught.value.todo
    assert not at(place.base / "another cache", oid).exists()


@WHICH
@pytest.mark.parametrize("how", ["truncate", "delete"])
def test_push_sends_again_what_lies_cut_short_in_the_remote_or_is_gone(place: Place, how: str, which: int) -> None:
    first = place.workspace("a")
    first.run_stage("one")
    first.push()
    oid = objects(first)[which]
    there = at(place.base / "remote", oid)
    damage(there, how) if how == "truncate" else there.unlink()

    again = place.workspace("again")
    again.run_stage("one")
    assert again.push() >= 1

    assert there.read_bytes() == at(place.base / "cache", oid).read_bytes()
