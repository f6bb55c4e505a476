"""Execute a recorded run again in a clean clone and say whether everything came out the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from greenlight.adapters import device as devices
from greenlight.adapters import dvc, environment, scratch
from greenlight.adapters.dvc import Pipeline
from greenlight.adapters.git import Repository
from greenlight.core.equivalence import SCORE_TOLERANCE, Difference, compare
from greenlight.errors import NotFound
from greenlight.operations.plan import recorded_params, recorded_paths
from greenlight.operations.runs import find_run
from greenlight.operations.workspace import configured, materialize, remove, write_params
from greenlight.wiring import Project

ORDER = ("snapshot", "validate", "featurize", "train", "evaluate", "gate")


@dataclass(frozen=True)
class Output:
    """One output of the run: its hash as recorded and as it came out now."""

    stage: str
    path: str
    recorded: str
    reproduced: str
    same: bool


@dataclass(frozen=True)
class ReproduceReport:
    """The answer to "does this run come back?".

    Attributes
    ----------
    run : str
    commit : str
    verdict : str
        ``identical``, ``equivalent`` or ``different``.
    explanation : str
        One or two sentences.
    outputs : tuple of Output
        In the order of the stages.
    seconds : float
    """

    run: str
    commit: str
    verdict: str
    explanation: str
    outputs: tuple[Output, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 for identical and equivalent, 1 for different."""
        return 1 if self.verdict == "different" else 0

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def markdown(self) -> str:
        """For the artifact in the UI."""
        head = f"## {self.run}: {self.verdict}\n\n{self.explanation} ({self.seconds:.0f} s).\n\n"
        rows = ["| stage | output | recorded | now | |", "| --- | --- | --- | --- | --- |"]
        for o in self.outputs:
            rows.append(f"| {o.stage} | `{o.path}` | `{o.recorded[:12]}` | `{o.reproduced[:12]}` | {_mark(o)} |")
        return head + "\n".join(rows) + "\n"


def reproduce(project: Project, run: str, *, log: Callable[[str], None] = lambda _: None) -> ReproduceReport:
    """Re-execute `run` and compare every output's hash with the recorded one.

    The snapshot (and the champion it was compared with) come from the DVC remote, never from the source; everything
    behind them is executed anew.

    Raises
    ------
    NotFound
        No such run, or its commit holds no lock.
    DvcError
        The snapshot is not in the remote.
    StageFailed
        A stage broke that worked when the run was recorded.
    """
    import time

    started = time.perf_counter()
    commit = find_run(project, run)
    recorded = dvc.lock_hashes(project.repository.read(commit, dvc.LOCK))
    if "snapshot" not in recorded:
        raise NotFound(f"{run} recorded no snapshot", where=f"dvc.lock at {commit[:10]}", todo="greenlight runs")
    root = scratch.folder(project.settings.home, f"reproduce-{run[:40]}")
    project.repository.clone(root, commit)
    pipeline = configured(project.settings, root)
    try:
        _execute(project, commit, pipeline, recorded, log)
        outputs = _outputs(recorded, dvc.lock_hashes((root / dvc.LOCK).read_bytes()))
        verdict, explanation = _judge(project, commit, root, outputs)
        if verdict != "identical":
            explanation += _changed_since(project, commit, root)
    finally:
        pipeline.close()
    remove(root)
    return ReproduceReport(run, commit, verdict, explanation, outputs, round(time.perf_counter() - started, 1))


def _mark(output: Output) -> str:
    return "same" if output.same else "**different**"


def _execute(
    project: Project,
    commit: str,
    pipeline: Pipeline,
    recorded: dict[str, dict[str, str]],
    log: Callable[[str], None],
) -> None:
    paths = recorded_paths(project, commit)
    wanted = [paths.snapshot]
    if (pipeline.root / f"{paths.champion}.dvc").is_file():
        wanted.append(f"{paths.champion}.dvc")
    pipeline.pull(wanted)
    log(f"snapshot: fetched {paths.snapshot} as recorded")
    _on_a_device_that_is_here(recorded_params(project, commit)["train"]["device"], pipeline.root, log)
    for stage in ORDER[1:]:
        if stage in recorded:
            done = pipeline.run_stage(stage, force=True)
            log(f"{stage}: {done.summary} ({done.seconds:.1f} s)")


def _on_a_device_that_is_here(device: str, root: Path, log: Callable[[str], None]) -> None:
    """A run of a GPU comes back on a machine without one too, within the tolerance instead of byte by byte."""
    if device != "cuda" or devices.resolve("auto").kind == "cuda":
        return
    log("train: recorded on a GPU, and there is none here; training on the CPU")
    write_params(root / "params.yaml", {"train": {"device": "cpu"}})


def _outputs(recorded: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> tuple[Output, ...]:
    rows = []
    for stage in ORDER:
        for path, digest in recorded.get(stage, {}).items():
            again = now.get(stage, {}).get(path, "")
            rows.append(Output(stage, path, digest, again, bool(digest) and digest == again))
    return tuple(rows)


def _judge(project: Project, commit: str, root: Path, outputs: tuple[Output, ...]) -> tuple[str, str]:
    different = [output for output in outputs if not output.same]
    if not different:
        return "identical", f"all {len(outputs)} outputs have the recorded hashes"
    first = different[0]
    head = f"{len(different)} of {len(outputs)} outputs differ, the first is {first.path} (stage {first.stage})"
    if ORDER.index(first.stage) < ORDER.index("train"):
        return "different", f"{head}: what the model is trained on came out differently"
    found = _compare_scores(project, commit, root)
    text = (
        f"{head}; scores differ by at most {found.scores:.3g}, metrics by at most {found.metrics:.3g} "
        f"(tolerance {SCORE_TOLERANCE:g})"
    )
    return ("equivalent" if found.equivalent else "different"), text


def _changed_since(project: Project, commit: str, root: Path) -> str:
    """What is another one now than when the run was recorded: interpreter, platform, libraries."""
    run = recorded_paths(project, commit).run
    before = json.loads(project.repository.read(commit, run) or b"{}").get("environment", {})
    now = environment.describe(root)
    pairs = {key: (before.get(key), now.get(key)) for key in ("python", "platform", "machine", "cpus")}
    libraries = (before.get("libraries", {}), now["libraries"])
    pairs |= {name: (libraries[0].get(name), libraries[1].get(name)) for name in {*libraries[0], *libraries[1]}}
    changed = [f"{name} {old} -> {new}" for name, (old, new) in sorted(pairs.items()) if old != new]
    return f"; since then {', '.join(changed)}" if changed else "; libraries and machine are those of the run"


def _compare_scores(project: Project, commit: str, root: Path) -> Difference:
    """The largest differences in holdout scores and metrics between the recorded run and `root`."""
    import polars as pl

    paths = recorded_paths(project, commit)
    with materialize(project.settings, commit, [paths.evaluation]) as before:
        old = pl.read_parquet(before / paths.evaluation / "scores.parquet")["candidate"].to_numpy()
        old_metrics = json.loads(Repository(before).read(commit, paths.metrics) or b"{}")
    new = pl.read_parquet(root / paths.evaluation / "scores.parquet")["candidate"].to_numpy()
    new_metrics = json.loads((root / paths.metrics).read_text(encoding="utf-8"))
    return compare(old, new, old_metrics.get("candidate") or {}, new_metrics.get("candidate") or {})
