"""The version that a run became; a run that became none is refused, whatever it was otherwise."""

from __future__ import annotations

import json
from typing import Any

from greenlight.adapters import dvc
from greenlight.adapters.registry import Version
from greenlight.errors import NotFound
from greenlight.operations.recorded import recorded_paths
from greenlight.operations.runs import find_run
from greenlight.operations.workspace import model_of, versions_of
from greenlight.wiring import Project

LISTS = "greenlight runs shows which runs became versions"
PROMOTED = "Promoted"


def version_of(project: Project, run: str) -> Version:
    """The version that came from `run`: the one tagged on its commit, or, of a promoted run, the one of its model.

    A promoted run is without a tag of its own when its model was a version already: that of a retrain which broke off
    between its record and its release, and was started again.

    Raises
    ------
    NotFound
        No such run, or it became no version: its gates did not let it through, so nothing may serve it.
    """
    commit = find_run(project, run)
    version = project.registry.at(commit)
    if version is not None:
        return version
    facts = _facts(project, commit)
    outcome = str(facts.get("outcome", ""))
    made = model_of(project.repository.read(commit, dvc.LOCK))
    if outcome == PROMOTED and made:
        same = versions_of(project, made)
        if same:
            return same[0]
        raise NotFound(
            f"no version came from run {run!r}: its gates let it through, and it broke off before it was registered",
            where=f"commit {commit[:10]}",
            todo=f"greenlight retrain --as-of {facts.get('as_of')} makes the same model again and registers it",
        )
    why = f": it ended as {outcome}. {facts.get('reason', '')}".rstrip() if outcome else ""
    raise NotFound(f"no version came from run {run!r}{why}", where=f"commit {commit[:10]}", todo=LISTS)


def _facts(project: Project, commit: str) -> dict[str, Any]:
    try:
        raw = project.repository.read(commit, recorded_paths(project, commit).run)
        found = json.loads(raw or b"{}")
    except (NotFound, AttributeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
