"""What changed from one run to another: code, parameters, rows, environment, metrics, verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from greenlight import datasets
from greenlight.adapters import dvc
from greenlight.adapters.dvc_folders import Folders
from greenlight.core.changes import Change, changes
from greenlight.core.environments import environment_changes
from greenlight.core.rows import RowChanges, compare_rows
from greenlight.errors import ConfigError
from greenlight.operations.runs import find_run, get_run
from greenlight.operations.workspace import materialize
from greenlight.wiring import Project

COMMITS_SHOWN = 50
DVC_OWN = ".dvc/tmp/"  # what DVC itself put into the commits of experiments that it saved


@dataclass(frozen=True)
class FileChange:
    """A file of the code: lines added and removed, None for a binary file."""

    path: str
    added: int | None
    removed: int | None


@dataclass(frozen=True)
class SnapshotFile:
    """A file of the snapshot that is another one, new, or gone; `rows` is None where it cannot be read as a table."""

    path: str
    state: str
    rows: RowChanges | None


@dataclass(frozen=True)
class RunDiff:
    """The answer.

    Attributes
    ----------
    before, after : dict
        ``name``, ``version``, ``outcome``, ``as_of`` and ``commit`` of the two runs.
    commits : tuple of str
        Commits of the code that only the second has, newest first; with a ``-`` in front, that only the first has.
    files : tuple of FileChange
        Files of the code that differ, uncommitted changes that travelled along included.
    params, environment : tuple of Change
    snapshot : tuple of SnapshotFile
    metrics : tuple of dict
        ``name``, ``before``, ``after``, ``difference`` (None where one of them is no number), of the candidates.
    verdict : tuple of Change
        The outcome, the decision, and each check that does not pass or fail as before.
    """

    before: dict[str, str]
    after: dict[str, str]
    commits: tuple[str, ...]
    files: tuple[FileChange, ...]
    params: tuple[Change, ...]
    snapshot: tuple[SnapshotFile, ...]
    environment: tuple[Change, ...]
    metrics: tuple[dict[str, Any], ...]
    verdict: tuple[Change, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def diff(project: Project, before: str, after: str) -> RunDiff:
    """Compare two recorded runs.

    Parameters
    ----------
    before, after : str
        Names of runs, or versions.

    Raises
    ------
    NotFound
        No such run.
    DvcError
        A file of a snapshot that differs is in neither the cache nor the remote.
    """
    commits = find_run(project, before), find_run(project, after)
    old, new = get_run(project, before), get_run(project, after)
    return RunDiff(
        before=_about(old),
        after=_about(new),
        commits=_commits(project, *commits),
        files=_files(project, commits, old, new),
        params=changes(old["params"], new["params"]),
        snapshot=_snapshot(project, commits, old, new),
        environment=environment_changes(_environment(old), _environment(new)),
        metrics=_metrics(old["evaluation"].get("candidate") or {}, new["evaluation"].get("candidate") or {}),
        verdict=_verdict(old, new),
    )


def _about(run: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(run[key]) for key in ("name", "version", "outcome", "as_of", "commit")}


def _environment(run: Mapping[str, Any]) -> dict[str, Any]:
    return {**run["environment"], "device": run["device"]}


def _commits(project: Project, before: str, after: str) -> tuple[str, ...]:
    """The commits between the two runs' code; each run's own commit is its record and no code."""
    lines = project.repository.run("log", "--left-right", "--format=%m %h %s", f"{before}~1...{after}~1").splitlines()
    named = [("- " if line.startswith("<") else "") + line[2:] for line in lines]
    more = [f"and {len(named) - COMMITS_SHOWN} more"] if len(named) > COMMITS_SHOWN else []
    return (*named[:COMMITS_SHOWN], *more)


def _files(
    project: Project, commits: tuple[str, str], old: Mapping[str, Any], new: Mapping[str, Any]
) -> tuple[FileChange, ...]:
    """Without what a run itself writes into its commit: parameters, lock, reports, the champion's pointer."""
    written = {dvc.LOCK, "params.yaml"}
    for run in (old, new):
        for path in run["params"].get("paths", {}).values():
            written |= {str(path), f"{path}.dvc"}
    listing = project.repository.run("diff", "--numstat", "--no-renames", "-z", *commits)
    found = [entry.split("\t", 2) for entry in listing.split("\0") if entry]
    return tuple(
        FileChange(path, _number(added), _number(removed))
        for added, removed, path in found
        if path not in written and not path.startswith(DVC_OWN)
    )


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _snapshot(
    project: Project, commits: tuple[str, str], old: Mapping[str, Any], new: Mapping[str, Any]
) -> tuple[SnapshotFile, ...]:
    """Every file of the two snapshots whose hash differs; only those are fetched."""
    digests = [_digest(run) for run in (old, new)]
    if digests[0] == digests[1]:
        return ()
    keys = _keys(str(new["params"].get("dataset", "")))
    with materialize(project.settings, commits[1], []) as root:
        folders = Folders(root)
        try:
            before, after = (folders.files(digest) for digest in digests)
            names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
            wanted = [files[name] for files in (before, after) for name in names if name in files]
            objects = folders.objects(wanted)
        finally:
            folders.close()
    sides = [(objects.get(before.get(name, "")), objects.get(after.get(name, ""))) for name in names]
    return tuple(_changed(name, *side, keys) for name, side in zip(names, sides, strict=True))


def _digest(run: Mapping[str, Any]) -> str:
    outs = run["lock"].get("stages", {}).get("snapshot", {}).get("outs", ())
    return next((out.get("md5", "") for out in outs), "")


def _keys(dataset: str) -> dict[str, tuple[str, ...]]:
    """Which columns name a row, by table; nothing where this checkout does not know the dataset."""
    try:
        return {table.name: tuple(table.key) for table in datasets.load(dataset).contract.CONTRACT.tables}
    except ConfigError:
        return {}


def _changed(name: str, old: Path | None, new: Path | None, keys: Mapping[str, tuple[str, ...]]) -> SnapshotFile:
    import polars as pl

    state = "new" if old is None else "gone" if new is None else "changed"
    table = name.split("/")[0].removesuffix(".parquet")
    try:
        frames = [None if path is None else pl.read_parquet(path, memory_map=False, glob=False) for path in (old, new)]
        return SnapshotFile(name, state, compare_rows(frames[0], frames[1], keys.get(table, ())))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return SnapshotFile(name, state, None)


def _metrics(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    found = []
    for name in dict.fromkeys((*old, *new)):
        values = [value if _is_number(value := side.get(name)) else None for side in (old, new)]
        if values != [None, None]:
            gap = None if None in values else values[1] - values[0]  # type: ignore[operator]
            found.append({"name": name, "before": values[0], "after": values[1], "difference": gap})
    return tuple(found)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _verdict(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    sides = []
    for run in (old, new):
        checks = {check["name"]: _answer(check["passed"]) for check in run["verdict"].get("checks", ())}
        sides.append(
            {"outcome": run["outcome"], "contract": _contract(run), "decision": run["verdict"].get("decision")} | checks
        )
    return changes(*sides)


def _contract(run: Mapping[str, Any]) -> str | None:
    return _answer(run["validation"].get("passed")) if run["validation"] else None


def _answer(passed: bool | None) -> str:
    return {True: "passed", False: "failed", None: "cannot be decided"}[passed]
