"""DVC's hash of a folder, without DVC: what dvc.lock names a folder by."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def folder_hash(folder: Path) -> str:
    """The hash that dvc.lock has for a folder with these files; empty where there is no folder."""
    if not folder.is_dir():
        return ""
    rows = [
        {"md5": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(), "relpath": name}
        for name, path in sorted((p.relative_to(folder).as_posix(), p) for p in folder.rglob("*") if p.is_file())
    ]
    listing = json.dumps(rows, sort_keys=True).encode()
    return f"{hashlib.md5(listing, usedforsecurity=False).hexdigest()}.dir"
