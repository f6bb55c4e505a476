"""The process that DVC starts for a stage: what it finds in its environment, and what it leaves behind."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from greenlight.adapters import scratch
from greenlight.config import STAGE_REPORT_FILE


@contextmanager
def told() -> Iterator[Path]:
    """A file that the stage's process leaves its summary, or its error, in."""
    with scratch.passing("stage") as folder:
        path = folder / "said.json"
        with _environment({STAGE_REPORT_FILE: str(path)}):
            yield path


def read_report(path: Path) -> dict[str, Any]:
    """What the stage left; empty where it left nothing."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


@contextmanager
def venv_first() -> Iterator[None]:
    """``python`` in dvc.yaml means the interpreter that runs now."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    with _environment({"PATH": path}):
        yield


@contextmanager
def _environment(extra: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in extra}
    os.environ.update(extra)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
