"""What a run ran on: interpreter, platform, libraries, lock."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = (
    "numpy",
    "polars",
    "xgboost",
    "scikit-learn",
    "great-expectations",
    "pandas",
    "dvc",
    "prefect",
    "bentoml",
)


def describe(root: Path) -> dict[str, Any]:
    """Facts that can change a result, for the run's record.

    Parameters
    ----------
    root : Path
        Repository whose lock is hashed.
    """
    lock = root / "requirements" / "all.txt"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "",
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
