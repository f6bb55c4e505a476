"""What a recorded run was asked for, read from its commit. A roll back reads it too, so it imports next to nothing."""

from __future__ import annotations

from typing import Any

import yaml

from greenlight.config import PathParams
from greenlight.errors import NotFound
from greenlight.wiring import Project


def recorded_params(project: Project, commit: str) -> dict[str, Any]:
    """The params.yaml that a run was executed with, as it was: today's schema may know more keys than its own."""
    raw = yaml.safe_load(project.repository.read(commit, "params.yaml") or b"")
    if not isinstance(raw, dict) or not {"data", "paths"} <= set(raw):
        raise NotFound(
            "the commit holds no params.yaml of a run", where=commit[:10], todo="greenlight runs lists the runs"
        )
    return raw


def recorded_paths(project: Project, commit: str) -> PathParams:
    """Where the stages of a recorded run read and wrote."""
    return PathParams.model_construct(**recorded_params(project, commit)["paths"])
