"""What dvc.lock says a stage was executed with."""

from __future__ import annotations

from typing import Any

import yaml

from greenlight.core.changes import flatten


def inputs(lock: bytes | None, stage: str) -> dict[str, Any]:
    """Everything that a stage depended on: the hash of each file by its path, and each parameter by its key."""
    if not lock:
        return {}
    body = yaml.safe_load(lock).get("stages", {}).get(stage, {})
    found: dict[str, Any] = {dep["path"]: dep.get("md5", "") for dep in body.get("deps", ())}
    for file, values in body.get("params", {}).items():
        found |= {f"{file}: {key}": value for key, value in flatten(values).items()}
    return found
