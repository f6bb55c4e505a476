"""What a folder that DVC keeps consists of, without laying it out: its list of files, and some of the files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from greenlight.adapters.dvc import Pipeline
from greenlight.errors import DvcError


class Folders(Pipeline):
    """Reads single objects of a workspace's cache, from the remote where the cache lacks them."""

    def files(self, digest: str) -> dict[str, str]:
        """Hash of each file in the folder with this hash, by path relative to it; empty for no hash.

        Raises
        ------
        DvcError
            Neither the cache nor the remote holds the list.
        """
        if not digest.endswith(".dir"):
            return {}
        listed = json.loads(self.objects([digest])[digest].read_bytes())
        return {entry["relpath"]: entry["md5"] for entry in listed}

    def objects(self, digests: Iterable[str]) -> dict[str, Path]:
        """Where each of these objects lies in the cache; those that it lacks are fetched.

        Raises
        ------
        DvcError
            Neither the cache nor the remote holds one of them.
        """
        wanted = sorted(set(digests))
        with self._translated(f"fetch {len(wanted)} objects"):
            from dvc_data.hashfile.hash_info import HashInfo

            repo = self._repo()
            cache = repo.cache.local
            missing = [digest for digest in wanted if not cache.exists(digest)]
            if missing:
                repo.cloud.pull([HashInfo("md5", digest) for digest in missing])
            lacking = [digest for digest in missing if not cache.exists(digest)]
            paths = {digest: Path(cache.oid_to_path(digest)) for digest in wanted}
        if lacking:
            raise DvcError(
                f"neither the cache nor the remote holds {len(lacking)} of {len(wanted)} objects, such as {lacking[0]}",
                where=str(self.root),
                todo="dvc push where it was made, or point the remote to where it is (dvc remote list)",
            )
        return paths
