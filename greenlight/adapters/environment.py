"""What a run ran on: interpreter, platform, processor, libraries, lock, threads, and what its stages imported."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

from greenlight.adapters.device import processor
from greenlight.adapters.dvc import StageRun

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
# By name, never by pattern: nothing that could hold a secret is written down. Each can change a result or its bits.
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "GOMP_CPU_AFFINITY",
    "LANG",
    "LC_ALL",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OMP_THREAD_LIMIT",
    "OMP_WAIT_POLICY",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "PYTHONHASHSEED",
    "TZ",
)


def describe(root: Path, stages: Iterable[StageRun] = ()) -> dict[str, Any]:
    """Facts that can change a result, for the run's record.

    Parameters
    ----------
    root : Path
        Repository whose lock is hashed.
    stages : iterable of StageRun
        The stages of the run; what their processes told of themselves is part of the answer.

    Returns
    -------
    dict
        ``imported`` names the distributions that the executed stages really imported, with their versions;
        ``from_cache`` the stages that DVC did not execute, of which nothing can be said. ``libraries`` is what is
        installed, whether it was imported or not.
    """
    from greenlight.core.training import build_info

    lock = root / "requirements" / "all.txt"
    stages = tuple(stages)
    executed = [stage for stage in stages if stage.executed]
    modules = {name for stage in executed for name in stage.process.get("modules", ())}
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "build": " ".join((*platform.python_build(), platform.python_compiler())),
        "platform": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "cuda_runtime": build_info()["cuda"],
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "",
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "imported": imported(frozenset(modules)),
        "threads": {stage.stage: stage.process["threads"] for stage in executed if "threads" in stage.process},
        "from_cache": [stage.stage for stage in stages if not stage.executed],
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


@cache
def imported(modules: frozenset[str]) -> dict[str, str]:
    """Distributions that these top-level modules come from, with their versions, sorted by name.

    ``importlib.metadata.packages_distributions`` answers the same for every module there is and takes most of a second.
    """
    found: dict[str, str] = {}
    rest = set(modules)
    for name in modules:
        if known := _version(name):
            found[_canonical(name)] = known
            rest.discard(name)
    for distribution in distributions() if rest else ():
        provided = rest & _modules_of(distribution)
        if provided:
            found[_canonical(distribution.metadata["Name"])] = distribution.version
    return dict(sorted(found.items()))


def _modules_of(distribution: Distribution) -> set[str]:
    record = distribution.read_text("RECORD") or ""
    return set(re.findall(r"^([A-Za-z_]\w*)(?:/|\.py,|\.[\w-]*so,|\.cpython)", record, re.MULTILINE))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
