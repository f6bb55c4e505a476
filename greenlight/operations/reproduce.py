"""Execute a recorded run again in a clean clone and say whether everything came out the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from greenlight.adapters import device as devices
from greenlight.adapters import dvc, dvc_lock, environment, scratch
from greenlight.adapters.dvc import Pipeline, StageRun
from greenlight.adapters.dvc_folders import Folders
from greenlight.adapters.git import Repository
from greenlight.core.changes import Change, changes
from greenlight.core.environments import environment_changes
from greenlight.core.equivalence import SCORE_TOLERANCE, Difference, compare
from greenlight.errors import DataRejected, NotFound, StageFailed
from greenlight.operations.recorded import recorded_params, recorded_paths
from greenlight.operations.reproduction import Output, ReproduceReport
from greenlight.operations.runs import find_run
from greenlight.operations.workspace import configured, materialize, remove, write_params
from greenlight.wiring import Project

ORDER = ("snapshot", "validate", "featurize", "train", "evaluate", "gate")
Hashes = Mapping[str, Mapping[str, str]]


def reproduce(project: Project, run: str, *, log: Callable[[str], None] = lambda _: None) -> ReproduceReport:
    """Re-execute `run` and compare every output's hash with the recorded one.

    The snapshot (and the champion it was compared with) come from the DVC remote, never from the source; everything
    behind them is executed anew. A run that is not here is fetched from the Git remote ``origin``.

    Raises
    ------
    NotFound
        No such run, or its commit holds no lock.
    DvcError
        The snapshot is not in the remote.
    StageFailed
        A stage broke that worked when the run was recorded, and got the very inputs that it had then.
    """
    started = time.perf_counter()
    commit = find_run(project, run)
    recorded = dvc.lock_hashes(project.repository.read(commit, dvc.LOCK))
    if "snapshot" not in recorded:
        raise NotFound(f"{run} recorded no snapshot", where=f"dvc.lock at {commit[:10]}", todo="greenlight runs")
    root = scratch.folder(project.settings.home, f"reproduce-{run[:40]}")
    project.repository.clone(root, commit)
    pipeline = configured(project.settings, root)
    try:
        stages = _execute(project, commit, pipeline, recorded, log)
        found = _judge(project, run, commit, root, stages)
        if found.verdict != "identical":
            inputs = _inputs(project, commit, root, found.stage)
            found = replace(found, inputs=inputs, environment=_since(project, commit, root, stages))
    finally:
        pipeline.close()
        remove(root)
    return replace(found, seconds=round(time.perf_counter() - started, 1))


def _execute(
    project: Project, commit: str, pipeline: Pipeline, recorded: Hashes, log: Callable[[str], None]
) -> list[StageRun]:
    """Everything behind the snapshot, as far as the run went; returns how the stages went."""
    paths = recorded_paths(project, commit)
    wanted = [paths.snapshot]
    if (pipeline.root / f"{paths.champion}.dvc").is_file():
        wanted.append(f"{paths.champion}.dvc")
    pipeline.pull(wanted)
    log(f"snapshot: fetched {paths.snapshot} as recorded")
    _on_a_device_that_is_here(recorded_params(project, commit)["train"]["device"], pipeline.root, log)
    done: list[StageRun] = []
    for stage in ORDER[1:]:
        if stage not in recorded:
            continue
        try:
            done.append(pipeline.run_stage(stage, force=True))
        except (DataRejected, StageFailed) as exc:
            if _same_so_far(recorded, pipeline.root, [run.stage for run in done]):
                raise
            log(f"{stage}: {exc}")
            break  # it got something else than what was recorded; the verdict names the first difference
        log(f"{stage}: {done[-1].summary} ({done[-1].seconds:.1f} s)")
    return done


def _on_a_device_that_is_here(device: str, root: Path, log: Callable[[str], None]) -> None:
    """A run of a GPU is executed on a machine without one too; how near it comes, the comparison says."""
    if device != "cuda" or devices.resolve("auto").kind == "cuda":
        return
    log("train: recorded on a GPU, and there is none here; training on the CPU")
    write_params(root / "params.yaml", {"train": {"device": "cpu"}})


def _same_so_far(recorded: Hashes, root: Path, stages: list[str]) -> bool:
    now = _lock(root)
    return all(dict(recorded[stage]) == now.get(stage) for stage in stages)


def _lock(root: Path) -> dict[str, dict[str, str]]:
    return dvc.lock_hashes((root / dvc.LOCK).read_bytes())


def _outputs(recorded: Hashes, now: Hashes, executed: frozenset[str]) -> tuple[Output, ...]:
    rows = []
    for stage in ORDER:
        for path, digest in recorded.get(stage, {}).items():
            again = now.get(stage, {}).get(path, "") if stage in executed else ""
            rows.append(Output(stage, path, digest, again, bool(digest) and digest == again))
    return tuple(rows)


def _judge(project: Project, run: str, commit: str, root: Path, stages: list[StageRun]) -> ReproduceReport:
    recorded = dvc.lock_hashes(project.repository.read(commit, dvc.LOCK))
    executed = frozenset({"snapshot", *(done.stage for done in stages)})
    outputs = _outputs(recorded, _lock(root), executed)
    outcome = str(_json(project.repository.read(commit, recorded_paths(project, commit).run)).get("outcome", ""))
    different = [output for output in outputs if not output.same]
    if not different:
        text = f"all {len(outputs)} outputs have the recorded hashes"
        return ReproduceReport(run, commit, outcome, "identical", text, outputs, 0.0)
    first = different[0]
    head = f"{len(different)} of {len(outputs)} outputs differ, the first is {first.path} (stage {first.stage})"
    report = ReproduceReport(
        run, commit, outcome, "different", head, outputs, 0.0, stage=first.stage, file=_file(root, first)
    )
    if ORDER.index(first.stage) < ORDER.index("train"):
        return replace(report, explanation=f"{head}: what the model is trained on came out differently")
    return _within_tolerance(project, commit, root, report)


def _within_tolerance(project: Project, commit: str, root: Path, report: ReproduceReport) -> ReproduceReport:
    """`report` with the largest differences, and as equivalent where they are small and the decision is the same."""
    paths = recorded_paths(project, commit)
    decisions = [
        _json(raw).get("decision")
        for raw in (project.repository.read(commit, paths.verdict), _read(root / paths.verdict))
    ]
    if not (root / paths.verdict).is_file():
        return replace(report, explanation=f"{report.explanation}; a later stage did not come to its end")
    found = _compare_scores(project, commit, root)
    text = (
        f"{report.explanation}; scores differ by at most {found.scores:.3g}, metrics by at most {found.metrics:.3g} "
        f"(tolerance {SCORE_TOLERANCE:g})"
    )
    if decisions[0] != decisions[1]:
        text += f"; the gates decide {decisions[1]} instead of {decisions[0]}"
    same = found.equivalent and decisions[0] == decisions[1]
    verdict = "equivalent" if same else "different"
    return replace(report, verdict=verdict, explanation=text, scores=found.scores, metrics=found.metrics)


def _file(root: Path, output: Output) -> str:
    """The first file of an output that differs; the output itself where it is a file, or was not made."""
    if not output.reproduced.endswith(".dir") or not output.recorded.endswith(".dir"):
        return output.path
    folders = Folders(root)
    try:
        before, now = folders.files(output.recorded), folders.files(output.reproduced)
    finally:
        folders.close()
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return f"{output.path}/{changed[0]}" if changed else output.path


def _inputs(project: Project, commit: str, root: Path, stage: str) -> tuple[Change, ...]:
    """What differs in what `stage` depends on, by dvc.lock."""
    before = dvc_lock.inputs(project.repository.read(commit, dvc.LOCK), stage)
    return changes(before, dvc_lock.inputs((root / dvc.LOCK).read_bytes(), stage))


def _since(project: Project, commit: str, root: Path, stages: list[StageRun]) -> tuple[Change, ...]:
    """What is another one now than when the run was recorded: interpreter, platform, device, libraries, threads."""
    record = _json(project.repository.read(commit, recorded_paths(project, commit).run))
    device = recorded_params(project, commit)["train"]["device"]
    resolved = devices.resolve("auto" if device == "cuda" else device).to_json()
    before = record.get("environment", {}) | {"device": record.get("device", {})}
    return environment_changes(before, environment.describe(root, stages) | {"device": resolved})


def _compare_scores(project: Project, commit: str, root: Path) -> Difference:
    """The largest differences in holdout scores and metrics between the recorded run and `root`."""
    import polars as pl

    paths = recorded_paths(project, commit)
    with materialize(project.settings, commit, [paths.evaluation]) as before:
        old = pl.read_parquet(before / paths.evaluation / "scores.parquet", glob=False)["candidate"].to_numpy()
        old_metrics = _json(Repository(before).read(commit, paths.metrics))
    new = pl.read_parquet(root / paths.evaluation / "scores.parquet", glob=False)["candidate"].to_numpy()
    new_metrics = _json(_read(root / paths.metrics))
    return compare(old, new, old_metrics.get("candidate") or {}, new_metrics.get("candidate") or {})


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _json(raw: bytes | None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw or b"{}")
    return found
