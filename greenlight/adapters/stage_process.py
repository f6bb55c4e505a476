"""The process that DVC starts for a stage: what it finds in its environment, and what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from greenlight import errors
from greenlight.adapters import scratch
from greenlight.config import RUN_PROCESS, STAGE_REPORT_FILE
from greenlight.errors import GreenlightError, StageFailed

NEARLY_FULL = 50e6  # bytes; what one stage writes, and what its libraries say of a full disk is hard to understand


@contextmanager
def told() -> Iterator[Path]:
    """A file that the stage's process leaves its summary, or its error, in."""
    with scratch.passing("stage") as folder:
        path = folder / "said.json"
        with _environment({STAGE_REPORT_FILE: str(path), RUN_PROCESS: str(os.getpid())}):
            yield path


def read_report(path: Path) -> dict[str, Any]:
    """What the stage left; empty where it left nothing."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def raise_end(stage: str, report: Path, exc: Exception) -> None:
    """Raise what the stage said of its own end; what it did not say is DVC's or a crash."""
    said = read_report(report)
    kind = getattr(errors, str(said.get("error", "")), None)
    if isinstance(kind, type) and issubclass(kind, GreenlightError):
        raise kind(said["what"], where=said["where"] or f"stage {stage}", todo=said["todo"]) from exc
    if "StageCmdFailedError" in {type(e).__name__ for e in (exc, exc.__cause__, exc.__context__)}:
        detail = said.get("crash") or str(exc.__cause__ or exc)
        free = shutil.disk_usage(Path.cwd()).free
        full = f"free space, the disk has {free / 1e6:.0f} MB left; " if free < NEARLY_FULL else ""
        raise StageFailed(
            f"the stage ended without its answer: {detail}",
            where=f"stage {stage}",
            todo=f"{full}read its lines above; rerunning is safe",
        ) from exc
    raise exc


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
