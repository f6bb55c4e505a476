"""A real S3 server over HTTP on the loopback address: moto's, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import serving_kit

START_S = 60


@dataclass(frozen=True)
class Store:
    """A bucket on the server."""

    endpoint: str
    bucket: str = "runs"

    def local_config(self, key: str = "a-key") -> str:
        """What ``dvc remote modify --local`` writes: address and credentials, outside of Git."""
        return (
            f"['remote \"store\"']\n    endpointurl = {self.endpoint}\n"
            f"    access_key_id = {key}\n    secret_access_key = a-secret\n    region = us-east-1\n"
        )

    def config(self) -> str:
        """What is committed: which remote, and where."""
        return f"[core]\n    remote = store\n    analytics = false\n['remote \"store\"']\n    url = s3://{self.bucket}/dvc\n"

    def stored(self) -> list[str]:
        """Objects in the bucket."""
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="a-key",
            aws_secret_access_key="a-secret",
        )
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


@contextmanager
def serving(folder: Path, bucket: str = "runs") -> Iterator[Store]:
    """The server with an empty bucket."""
    port = serving_kit.free_port()
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    store = Store(f"http://127.0.0.1:{port}", bucket)
    try:
        until = time.monotonic() + START_S
        while not _made(store):
            assert process.poll() is None, (folder / "moto.log").read_text()
            assert time.monotonic() < until, (folder / "moto.log").read_text()
            time.sleep(0.2)
        yield store
    finally:
        process.terminate()
        process.wait(30)


def _made(store: Store) -> bool:
    """Make the bucket; false while nothing answers."""
    request = urllib.request.Request(f"{store.endpoint}/{store.bucket}", method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
