"""Which models were judged on a holdout before: what a run fills in as `judged`, so that its verdict reproduces.

Retraining night after night against the same month would pass some night by luck. Every further model that is judged
on one holdout, against one champion, therefore has less chance of error to spend (`greenlight.core.bounds.spent`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from greenlight.adapters.registry import Version
from greenlight.config import JudgedParams, Params
from greenlight.operations.runs import run_commits
from greenlight.wiring import Project

REFUSED = ("KeptChampion", "Inconclusive")
VERDICTS = ("Promoted", *REFUSED)
DECIDES = ("dataset", "data", "train", "decision")  # sections that decide what model comes out


Runs = Sequence[tuple[str, Mapping[str, Any]]]


def judged(project: Project, params: Params, champion: Version | None, runs: Runs | None = None) -> JudgedParams:
    """Section ``judged`` of a run's parameters.

    Parameters
    ----------
    params : Params
        Of the run, with concrete values for ``data`` and ``train.device``.
    champion : Version or None
        What the candidate is compared with.
    runs : sequence of (commit, run.json), optional
        `compared_with` that champion, where the caller has them already.

    Returns
    -------
    JudgedParams
        ``earlier``: SHA-256 of the boosters, oldest first. A run that repeats an earlier one (same parameters, same
        commit) gets what that one had: the same model again is no further look, and comes from DVC's cache.
    """
    day = datetime.now(UTC).date().isoformat() if params.gates.overrides else ""
    runs = compared_with(project, champion) if runs is None else runs
    found = _verdicts(project, params.data.as_of, runs)
    wanted = {key: params.model_dump()[key] for key in DECIDES}
    code = {"commit": project.repository.head(), "uncommitted_changes": False}
    if not project.repository.changes():
        for run, recorded, _ in found:
            if run.get("code") == code and {key: recorded.get(key) for key in DECIDES} == wanted:
                return JudgedParams(earlier=list((recorded.get("judged") or {}).get("earlier") or []), day=day)
    return JudgedParams(earlier=list(dict.fromkeys(model for _, _, model in found)), day=day)


def settled(runs: Runs) -> set[str]:
    """Holdouts on which a candidate was already refused, of runs with one champion: ``next`` goes past them.

    A month whose gates said no, or could not tell, would otherwise be judged again every time, and the months after it
    never. A promoted one is not settled while its version does not serve: a retrain that broke off is finished so.
    """
    return {str(run.get("as_of", "")) for _, run in runs if run["outcome"] in REFUSED}


def overridden(project: Project, commit: str) -> list[dict[str, str]]:
    """Gates of a recorded run whose answer was overridden: ``gate``, ``by``, ``reason``, ``expires``; mostly none."""
    recorded = _yaml(project.repository.read(commit, "params.yaml"))
    path = (recorded.get("paths") or {}).get("verdict", "")
    checks = _json(project.repository.read(commit, path) if path else None).get("checks", [])
    return [{"gate": check["name"], **check["override"]} for check in checks if check.get("override")]


def _verdicts(project: Project, as_of: str, runs: Runs) -> list[tuple[Mapping[str, Any], dict[str, Any], str]]:
    """Of each of `runs` on this holdout, oldest first: run.json, parameters, model."""
    ours = [(commit, run) for commit, run in runs if run.get("as_of") == as_of]
    ours.sort(key=lambda item: str(item[1].get("created", "")))
    return [(run, *_details(project, commit)) for commit, run in ours]


def compared_with(project: Project, champion: Version | None) -> Runs:
    """Commit and run.json of each run that compared its candidate with this champion."""
    paths = project.params.paths
    commits = run_commits(project.repository)
    commits |= {version.run: version.commit for version in project.registry.versions() if version.run}
    contents = project.repository.read_many(f"{c}:{paths.run}" for c in commits.values())
    facts = [(commit, _json(content)) for commit, content in zip(commits.values(), contents, strict=True)]
    name = champion.name if champion else ""
    return [
        (commit, run)
        for commit, run in facts
        if run.get("outcome") in VERDICTS and (run.get("champion") or {}).get("version", "") == name
    ]


def _details(project: Project, commit: str) -> tuple[dict[str, Any], str]:
    """Parameters of a run, and a name of its model: the booster's SHA-256, or, of a run of old, the run's commit."""
    params, verdict = project.repository.read_many(
        (f"{commit}:params.yaml", f"{commit}:{project.params.paths.verdict}")
    )
    recorded = _yaml(params)
    for check in _json(verdict).get("checks", []):
        if check.get("name") == "something_new" and (check.get("evidence") or {}).get("candidate"):
            return recorded, str(check["evidence"]["candidate"])
    return recorded, commit


def _yaml(content: bytes | None) -> dict[str, Any]:
    import yaml

    found: Any = yaml.safe_load(content or b"")
    return dict(found) if isinstance(found, Mapping) else {}


def _json(content: bytes | None) -> dict[str, Any]:
    try:
        found: Any = json.loads(content or b"{}")
    except ValueError:
        return {}
    return dict(found) if isinstance(found, Mapping) else {}
