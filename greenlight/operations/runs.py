"""The list of runs, read from Git in two processes whatever their number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from greenlight.adapters import processes
from greenlight.adapters.dvc import LOCK
from greenlight.adapters.git import Repository
from greenlight.adapters.registry import Version
from greenlight.errors import NotFound
from greenlight.operations.clock import REFS
from greenlight.operations.origin import fetch_run
from greenlight.operations.workspace import KILLED, NOTE
from greenlight.wiring import Project

VERSION = re.compile(r"^v\d+$")
UNLISTED = "it was saved, and its ref is not in the repository; greenlight fsck --mend puts it back"
MAIN_METRICS = ("roc_auc", "average_precision", "log_loss", "calibration_error")


@dataclass(frozen=True)
class RunRecord:
    """One line of ``greenlight runs``.

    Attributes
    ----------
    name, created, as_of, outcome : str
        `created` is what the machine's clock said when the run began.
    version : str
        ``v3``, or empty for a run that is no version.
    metrics : dict
        Main metrics of the candidate on the holdout; empty for a run that ended before.
    commit : str
        Empty for a run that was never recorded.
    reason : str
        Why it ended so, in a sentence or two.
    recorded : str
        When it was recorded, never before one that was recorded earlier, whatever the clock said; empty for a run that
        was not.
    """

    name: str
    created: str
    as_of: str
    outcome: str
    version: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    commit: str = ""
    reason: str = ""
    recorded: str = ""

    @property
    def order(self) -> str:
        """What the list goes by."""
        return self.recorded or self.created

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def list_runs(project: Project) -> list[RunRecord]:
    """Every run, newest first: the recorded ones, and those of this machine that broke off before their record."""
    commits = run_commits(project.repository)
    versions = {version.commit: version.name for version in _believed(project)}
    # A version's tag keeps its run, also when the run's own ref was deleted.
    commits = {version.run: version.commit for version in _believed(project) if version.run} | commits
    paths = project.params.paths
    files = (paths.run, paths.metrics)
    contents = project.repository.read_many(f"{commit}:{path}" for commit in commits.values() for path in files)
    records = []
    for index, (name, commit) in enumerate(commits.items()):
        run, metrics = contents[2 * index : 2 * index + 2]
        records.append(_record(name, commit, versions.get(commit, ""), _json(run), _json(metrics)))
    records += _unrecorded(project, set(commits))
    return sorted(records, key=lambda record: record.order, reverse=True)


def run_commits(repository: Repository) -> dict[str, str]:
    """Commit of each recorded run, by name."""
    refs = repository.refs(REFS)
    return {ref.rsplit("/", 1)[1]: sha for ref, sha in refs.items() if ref.count("/") == 4}


def find_run(project: Project, name: str) -> str:
    """Commit of the run called `name` (a version such as v2, or an unambiguous beginning of a name, will do).

    A run that is not here is looked for in the Git remote ``origin``, and fetched.

    Raises
    ------
    NotFound
        No such run, or several begin so.
    """
    try:
        return _find_here(project, name)
    except NotFound:
        if not fetch_run(project, name):
            raise
    return _find_here(project, name)


def _find_here(project: Project, name: str) -> str:
    commits = run_commits(project.repository)
    for version in _believed(project):
        commits.setdefault(version.run, version.commit)
    if VERSION.match(name) and name not in commits:
        return project.registry.get(name).commit
    if name in commits:
        return commits[name]
    if name in (broken := {record.name: record for record in _unrecorded(project, set(commits))}):
        raise NotFound(f"{name} has no record: {broken[name].outcome}, {broken[name].reason}", todo="run it again")
    close = [run for run in commits if run.startswith(name)]
    if len(close) == 1:
        return commits[close[0]]
    if close:
        raise NotFound(f"{len(close)} runs begin with {name}: {', '.join(sorted(close)[:5])}", todo="name one of them")
    raise NotFound(
        f"no run {name}", where=f"{len(commits)} runs in {project.settings.root}", todo="greenlight runs lists them"
    )


def _believed(project: Project) -> list[Version]:
    """The versions whose tags nobody has moved."""
    moved = {fault.version for fault in project.registry.faults()}
    return [version for version in project.registry.versions() if version.name not in moved]


def saved_in_folder(project: Project, recorded: set[str]) -> dict[str, tuple[Path, str]]:
    """Runs that were saved and whose ref the repository lacks: folder and ref of each, from what lies here."""
    found: dict[str, tuple[Path, str]] = {}
    for note in (project.settings.home / "runs").glob(f"*/.git/{NOTE}"):
        folder = note.parents[1]
        if folder.name not in recorded:
            refs = Repository(folder).refs(REFS)
            own = [ref for ref in refs if ref.endswith(f"/{folder.name}") and ref.count("/") == 4]
            if own:
                found[folder.name] = (folder, own[0])
    return found


def get_run(project: Project, name: str) -> dict[str, Any]:
    """Everything that the record of a run holds; of a run that broke off, what its folder holds.

    Raises
    ------
    NotFound
        No such run.
    """
    paths = project.params.paths
    files = (paths.run, paths.metrics, paths.verdict, paths.validation, "params.yaml", LOCK, paths.sbom)
    for broken in _unrecorded(project, set(run_commits(project.repository))):
        if broken.name == name:
            folder = project.settings.home / "runs" / name
            return _everything(broken, [_content(folder / path) for path in files])
    commit = find_run(project, name)
    contents = project.repository.read_many(f"{commit}:{path}" for path in files)
    facts = _json(contents[0])
    version = project.registry.at(commit)
    record = _record(facts.get("name", name), commit, version.name if version else "", facts, _json(contents[1]))
    return _everything(record, contents)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _everything(record: RunRecord, contents: Sequence[bytes | None]) -> dict[str, Any]:
    import yaml

    run, metrics, verdict, validation, params, lock, sbom = contents
    facts = _json(run)
    recorded = yaml.safe_load(params or b"") or {}
    return record.to_json() | {
        "code": facts.get("code", {}),
        "champion": facts.get("champion", {}),
        "device": facts.get("device", {}),
        "environment": facts.get("environment", {}),
        "trigger": facts.get("trigger", ""),
        "flow_run_id": facts.get("flow_run_id", ""),
        "stages": facts.get("stages", []),
        "evaluation": _json(metrics),
        "verdict": _json(verdict),
        "validation": _json(validation),
        "sbom": recorded.get("paths", {}).get("sbom", "") if sbom else "",
        "params": recorded,
        "lock": yaml.safe_load(lock or b"") or {},
    }


def _record(name: str, commit: str, version: str, run: dict[str, Any], metrics: dict[str, Any]) -> RunRecord:
    candidate = metrics.get("candidate") or {}
    return RunRecord(
        name=name,
        created=str(run.get("created", "")),
        as_of=str(run.get("as_of", "")),
        outcome=str(run.get("outcome", "Unknown")),
        version=version,
        metrics={key: candidate[key] for key in MAIN_METRICS if isinstance(candidate.get(key), int | float)},
        commit=commit,
        reason=str(run.get("reason", "")),
        recorded=str(run.get("recorded", "")),
    )


def _unrecorded(project: Project, recorded: set[str]) -> Iterable[RunRecord]:
    """Runs whose folder lies here without a record: running, failed, or killed."""
    saved: dict[str, tuple[Path, str]] | None = None
    for path in (project.settings.home / "runs").glob(f"*/.git/{NOTE}"):
        note = _json(path.read_bytes())
        if not note or note.get("name") in recorded:
            continue
        saved = saved_in_folder(project, recorded) if saved is None else saved
        outcome = str(note.get("outcome", "Failed"))
        if outcome == "Running" and note["name"] in saved:
            outcome, note["reason"] = "Unknown", UNLISTED
        elif outcome == "Running" and not processes.is_same(int(note.get("pid", 0)), str(note.get("began", ""))):
            outcome, note["reason"] = "Failed", KILLED
        yield RunRecord(note["name"], note["created"], note["as_of"], outcome, reason=str(note.get("reason", "")))


def _json(raw: bytes | None) -> dict[str, Any]:
    try:
        value = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
