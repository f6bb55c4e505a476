"""Real retrains without Prefect, small: one month to train on, few trees; what tests of the whole start from."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from ruamel.yaml import YAML

from greenlight.adapters import dvc
from greenlight.config import Settings
from greenlight.datasets.supply import INCOMING
from greenlight.operations import plan as plans
from greenlight.operations import retrain as operation
from greenlight.operations.retrain import Run
from greenlight.operations.runs import run_commits
from greenlight.wiring import Project, open_project

OUTCOMES = {"promote": "Promoted", "reject": "KeptChampion", "inconclusive": "Inconclusive"}
# One month to train on and wide gates: what a retrain does is tested here, not how good its model is.
SMALL: dict[str, Any] = {
    "data.window_months": 1,
    "train.device": "cpu",
    "train.max_rounds": 20,
    "decision.golden_rows": 8,
    "gates.min_clusters": 2,
    "gates.minimum.roc_auc": 0.4,
    "gates.minimum.average_precision_lift": 0.5,
    "gates.minimum.calibration_error": 0.5,
    "gates.minimum.calibration_gap": 0.5,
    "gates.minimum.log_loss_ratio": 2.0,
    "gates.champion.max_roc_auc_drop": 0.5,
    "gates.champion.max_log_loss_rise": 1.0,
    "gates.slices.min_roc_auc": 0.1,
    "gates.slices.max_roc_auc_drop": 0.9,
    "gates.behaviour.tolerance": 0.5,
    "preflight.max_p99_ms": 2000,
    "preflight.latency_requests": 20,
    "release.strategy": "full",
    "release.drain_s": 1,
}


@dataclass(frozen=True)
class Done:
    """A retrain that came to its record."""

    run: Run
    outcome: str
    commit: str

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def executed(self) -> list[str]:
        return [stage.stage for stage in self.run.stages if stage.executed]


@dataclass(frozen=True)
class Recorded:
    """A repository with a promoted run that is the champion v1, a rejected one and one of bad data."""

    root: Path
    promoted: str
    kept: str
    rejected: str

    @property
    def project(self) -> Project:
        return open_at(self.root)

    def text(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def of(cls, text: str) -> Recorded:
        values = json.loads(text)
        return cls(Path(values.pop("root")), **values)


def record_all(root: Path) -> Recorded:
    """Shrink a checkout and retrain three times: Promoted as v1, DataRejected, KeptChampion by uncommitted limits."""
    change(root, SMALL)
    git(root, "commit", "-q", "-a", "-m", "Small")
    project = open_at(root)
    first = retrain(project)
    project.registry.assign(first.run.register(first.commit))
    hand_in(root, "flights", "2013-04", month("flights", "2013-04").drop("carrier"))
    bad = retrain(project)
    shutil.rmtree(root / INCOMING)
    change(root, {"gates.minimum.roc_auc": 0.99})
    # Not a dependency of any stage, so that later retrains of this month come from the cache.
    (root / "greenlight" / "cli" / "new.py").write_text('"""New, in the index, not committed."""\n')
    git(root, "add", "greenlight/cli/new.py")
    kept = retrain(open_at(root))
    git(root, "reset", "-q", "--hard")
    return Recorded(root, first.name, kept.name, bad.name)


def retrain(project: Project, trigger: str = "test", **wanted: str) -> Done:
    """What the flow does up to the record."""
    run = operation.begin(project, plans.plan(project, **wanted))
    run.stage("snapshot")
    run.stage("validate")
    contract = run.contract()
    if not contract.passed:
        return Done(run, "DataRejected", run.record("DataRejected", contract, {"trigger": trigger}))
    for stage in ("featurize", "train", "evaluate", "gate"):
        run.stage(stage)
    verdict = run.verdict()
    outcome = OUTCOMES[verdict.decision]
    return Done(run, outcome, run.record(outcome, verdict, {"trigger": trigger}))


def open_at(root: Path, **settings: Any) -> Project:
    """The project in a folder."""
    return open_project(Settings(root=root, **settings))


def copy(recorded: Recorded, target: Path) -> Recorded:
    """Another checkout with the same runs, versions, cache and remote, to be changed at will."""
    shutil.copytree(recorded.root, target, symlinks=True)
    return Recorded(target, recorded.promoted, recorded.kept, recorded.rejected)


def change(root: Path, values: dict[str, Any]) -> None:
    """Set keys of params.yaml, such as ``data.window_months``."""
    yaml = YAML()
    document = yaml.load((root / "params.yaml").read_text())
    for key, value in values.items():
        *sections, last = key.split(".")
        section = document
        for name in sections:
            section = section[name]
        section[last] = value
    with (root / "params.yaml").open("w") as file:
        yaml.dump(document, file)


def remote(root: Path, url: str) -> None:
    """Have `url` as the only DVC remote, committed."""
    config = f"[core]\n    remote = other\n    analytics = false\n['remote \"other\"']\n    url = {url}\n"
    (root / ".dvc" / "config").write_text(config)
    git(root, "commit", "-q", "-a", "-m", "Another remote")


def git(root: Path, *args: str) -> str:
    """Run Git and return what it says."""
    return subprocess.run(["git", *args], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def month(table: str, period: str) -> pl.DataFrame:
    """A good month as the source has it."""
    from greenlight import datasets

    found: pl.DataFrame = datasets.load("flight_delay").source.fetch(period)[table]
    return found


def hand_in(root: Path, table: str, period: str, rows: pl.DataFrame | bytes) -> Path:
    """Put a month into data/incoming."""
    path = root / INCOMING / table / f"{period}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, bytes):
        path.write_bytes(rows)
    else:
        rows.write_parquet(path)
    return path


def lose_champions_rows(project: Project) -> None:
    """Delete the list of the champion's snapshot from cache and remote; its model stays."""
    champion = project.registry.champion()
    assert champion is not None
    (digest,) = dvc.lock_hashes(project.repository.read(champion.commit, dvc.LOCK))["snapshot"].values()
    for home in ("cache", "remote"):
        (project.settings.home / home / "files" / "md5" / digest[:2] / digest[2:]).unlink()


def champion_of(root: Path, as_of: str) -> None:
    """Tag a commit whose params.yaml says `as_of` as the version that serves."""
    change(root, {"data.as_of": as_of})
    git(root, "commit", "-q", "-a", "-m", f"As of {as_of}")
    project = open_at(root)
    project.registry.assign(project.registry.register(project.repository.head(), f"{as_of}-aaaaaa"))
    git(root, "reset", "-q", "--hard", "HEAD~1")


def memory(project: Project) -> dict[str, Any]:
    """What no failure may change: branch, files, tags, champion, recorded runs."""
    champion = project.registry.champion()
    return {
        "head": project.repository.head(),
        "status": project.repository.run("status", "--porcelain"),
        "tags": project.repository.run("tag", "--list"),
        "champion": champion.name if champion else "",
        "runs": run_commits(project.repository),
    }
