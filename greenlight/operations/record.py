"""Recording a run: data to the remote first, then one commit, then its ref, then (promoted) its version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlight.adapters import dvc, environment, sbom
from greenlight.adapters.dvc import Pipeline, StageRun
from greenlight.adapters.registry import Version
from greenlight.operations import clock, sealing
from greenlight.operations.workspace import Workspace, model_of, versions_of
from greenlight.wiring import Project

if TYPE_CHECKING:
    from greenlight.operations.plan import Plan

UNCACHED = ("validation", "metrics", "verdict", "sbom")  # small reports and the bill of materials: Git keeps them


def describe(
    project: Project, plan: Plan, workspace: Workspace, *, outcome: str, reason: str, stages: Sequence[StageRun]
) -> dict[str, Any]:
    """Who, what, when and on what: the content of the run's ``reports/run.json``."""
    return {
        "name": workspace.run,
        "created": workspace.created,
        "as_of": plan.params.data.as_of,
        "outcome": outcome,
        "reason": reason,
        "champion": plan.params.champion.model_dump(),
        "code": {"commit": workspace.commit, "uncommitted_changes": workspace.dirty},
        "device": plan.device.to_json(),
        "environment": environment.describe(workspace.root, stages) | {"seed": plan.params.train.seed},
        "stages": [
            {"stage": s.stage, "executed": s.executed, "seconds": round(s.seconds, 3), "summary": s.summary}
            for s in stages
        ],
    }


def bill(project: Project, workspace: Workspace) -> None:
    """Write the bill of materials of the environment that the run's stages were executed in."""
    path = workspace.path("sbom")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sbom.describe(workspace.root / "requirements" / "all.txt", project.settings.home))


def record(workspace: Workspace, pipeline: Pipeline, facts: dict[str, Any], moment: int) -> str:
    """Make the run findable and reproducible by name; returns its commit.

    The order makes it safe to break off anywhere: nothing names what is not in the remote yet.

    Parameters
    ----------
    workspace : Workspace
    pipeline : Pipeline
    facts : dict
        Content of ``reports/run.json``.
    moment : int
        When it is recorded, seconds since 1970; see :func:`greenlight.operations.clock.next_moment`.

    Raises
    ------
    DvcError
        The remote is out of reach or full: nothing was recorded.
    GitError
        The ref could not be written.
    """
    path = workspace.path("run")
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = facts | {"recorded": clock.moment(moment)}
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    pipeline.push()
    message = f"run {workspace.run}: {facts['outcome']}"
    files = [*_reports(workspace), f"{workspace.params.paths.champion}.dvc", workspace.params.paths.run]
    commit = workspace.repository.snapshot([dvc.LOCK, *files], message, moment)
    ref = dvc.experiment_ref(workspace.commit, workspace.run)
    # In the run's folder too: from there `greenlight fsck --mend` puts back a ref that somebody deleted.
    workspace.repository.run("update-ref", ref, commit)
    workspace.repository.push_ref(ref, commit)
    return commit


def register(project: Project, commit: str, run: str, model: Path) -> Version:
    """Sign a promoted run's model and evidence, and give it its version; both come into being with one tag.

    A model that is already a version keeps that version: a retrain that was broken off between here and the release,
    and is started again, ends with the version it would have had.

    Parameters
    ----------
    model : Path
        The model folder as the run left it.

    Raises
    ------
    SigningError
        It could not be signed, or is not the one that the run recorded: nothing was registered.
    """
    made = model_of(project.repository.read(commit, dvc.LOCK))
    same = versions_of(project, made)
    if same:
        return project.registry.get(same[-1].name)
    return project.registry.register(commit, run, sealing.sign(project, commit, model))


def _reports(workspace: Workspace) -> list[str]:
    """What Git keeps itself (small reports, the bill of materials), as far as it exists."""
    paths = [str(getattr(workspace.params.paths, name)) for name in UNCACHED]
    return [path for path in paths if Path(workspace.root / path).is_file()]
