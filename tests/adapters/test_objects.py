"""The stores of objects: a folder, and S3 over HTTP."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenlight.adapters.objects import DIR, Store, Weight, cache_store, remote_folder, remote_store
from greenlight.errors import DvcError

FILES = {hashlib.md5(body).hexdigest(): body for body in (b"one", b"two", b"three")}
LISTING = json.dumps([{"md5": name, "relpath": f"{name[:4]}.txt"} for name in FILES]).encode()
FOLDER = hashlib.md5(LISTING).hexdigest() + DIR
ALL = {**FILES, FOLDER: LISTING}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server that speaks S3, with an empty bucket; its address."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="bucket")
    yield address
    server.stop()


def checkout(root: Path, lines: str) -> Path:
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text(f"[core]\n    remote = there\n['remote \"there\"']\n{lines}")
    return root


@pytest.fixture(params=["folder", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        root = checkout(tmp_path / "repo", f"    url = {tmp_path / 'remote'}\n")
        return remote_store(root, tmp_path / "home")
    address = request.getfixturevalue("s3")
    keys = "    access_key_id = key\n    secret_access_key = secret\n    region = us-east-1\n"
    root = checkout(tmp_path / "repo", f"    url = s3://bucket/{tmp_path.name}\n    endpointurl = {address}\n{keys}")
    assert remote_folder(root, tmp_path / "home") is None
    return remote_store(root, tmp_path / "home")


@pytest.fixture
def cache(tmp_path: Path) -> Store:
    """A cache with a folder of three files."""
    store = cache_store(tmp_path / "home")
    for name, body in ALL.items():
        store.path(name).parent.mkdir(parents=True, exist_ok=True)
        store.path(name).write_bytes(body)
    return store


def test_objects_are_taken_listed_and_dropped(remote: Store, cache: Store) -> None:
    assert remote.sizes() == {}
    assert remote.existing(ALL) == set()
    assert remote.listing(FOLDER) is None
    remote.take(cache, ALL)
    assert remote.sizes() == {name: len(body) for name, body in ALL.items()} == cache.sizes()
    assert remote.existing([*ALL, "0" * 32]) == set(ALL)
    assert set(remote.listing(FOLDER) or ()) == set(FILES)
    first = min(FILES)
    assert remote.remove([first, FOLDER, "0" * 32]) == 2
    assert set(remote.sizes()) == set(ALL) - {first, FOLDER}
    assert remote.remove([first, FOLDER]) == 0
    remote.take(cache, [first, FOLDER])
    assert set(remote.sizes()) == set(ALL)


def test_a_damaged_object_is_not_sound_and_a_half_written_file_is_no_object(cache: Store) -> None:
    first = min(FILES)
    cache.path(first).write_bytes(b"damaged")
    (cache.path(first).parent / "abc.tmp").write_bytes(b"half")
    assert cache.sound([*ALL, "0" * 32]) == set(ALL) - {first}
    assert set(cache.sizes()) == set(ALL)


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    keys = "    access_key_id = key\n    secret_access_key = secret\n    region = us-east-1\n    connect_timeout = 1\n"
    lines = f"    url = s3://bucket/x\n    endpointurl = http://127.0.0.1:9\n{keys}"
    store = remote_store(checkout(tmp_path / "repo", lines), tmp_path / "home")
    with pytest.raises(DvcError) as caught:
        store.existing(ALL)
    assert caught.value.where == "s3://bucket/x"
    assert "check that s3://bucket/x answers" in caught.value.todo


def test_bytes_are_free_when_the_last_name_goes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 50_000)
    os.link(tmp_path / "a" / "file", tmp_path / "elsewhere")
    weight = Weight()
    weight.add(tmp_path / "a")
    assert weight.freed < 50_000, "another name keeps the bytes"
    weight.add(tmp_path / "elsewhere")
    assert weight.freed >= 50_000
