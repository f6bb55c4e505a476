"""What the gates cost and whether their bounds hold: ``make bench-gates``.

Three questions, in CPU seconds beside the wall clock: what evaluate and gate add to training on the example, how long a
paired comparison of two models on a million rows with 2,000 resamples takes, and how often a 95 % bound holds the truth
in simulation, by day and (as others do it) by row. Writes benchmarks/results/gates.json.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from greenlight.config import Params, share_cores
from greenlight.core.bounds import t_quantile
from greenlight.core.paired import Clusters, auc_influence, clustered_se
from greenlight.core.uncertainty import Design, measure

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "gates.json"
MONTHS = ("2013-07", "2013-08")  # champion and candidate
SIMULATIONS = 1000


def main() -> None:
    """Run all three and write the result."""
    share_cores()
    found = {"comparison": comparison(), "coverage": coverage(), "example": example()}
    RESULT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


def timed(work: Callable[[], Any]) -> dict[str, float]:
    """Wall and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "wall_s": round(time.perf_counter() - wall, 3),
        "cpu_s": round(time.process_time() - cpu, 3),
    }


def least(work: Callable[[], Any], rounds: int = 5) -> dict[str, float]:
    """The round of the least processor time."""
    return min((timed(work) for _ in range(rounds)), key=lambda its: its["cpu_s"])


def comparison(rows: int = 1_000_000, resamples: int = 2000) -> dict[str, Any]:
    """Two models, a million rows of 31 days: every standard error, formula and bootstrap."""
    rng = np.random.default_rng(1)
    day = np.sort(rng.integers(0, 31, rows))
    odds = rng.normal(0, 1, rows) - 1.3
    label = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    scores = {
        name: (1 / (1 + np.exp(-odds + rng.normal(0, noise, rows)))).astype(np.float32)
        for name, noise in (("candidate", 0.8), ("champion", 0.9))
    }
    design = Design(Clusters.of(day), "day")
    taken = timed(lambda: measure(label, scores, design, resamples=resamples, seed=1))
    return {"rows": rows, "resamples": resamples, "clusters": 31, **taken}


def coverage() -> list[dict[str, Any]]:
    """Share of simulated holdouts whose one-sided 95 % bound of the difference in ROC AUC holds the truth, 0."""
    found = []
    for days in (8, 15, 30, 60):
        held = {"by_day": 0, "by_row": 0}
        for seed in range(SIMULATIONS):
            label, first, second, clusters = _drawn(seed, days)
            (area, pull), (other, its) = auc_influence(label, first), auc_influence(label, second)
            for name, used in (("by_day", clusters), ("by_row", Clusters.rows(label.size))):
                reach = t_quantile(0.95, used.count - 1) * clustered_se(pull - its, used)
                held[name] += area - other - reach <= 0
        found.append(
            {"days": days, "rows_a_day": 40, "simulations": SIMULATIONS, "nominal": 0.95}
            | {name: round(count / SIMULATIONS, 4) for name, count in held.items()}
            | {"standard_error": round(math.sqrt(0.95 * 0.05 / SIMULATIONS), 4)}
        )
    return found


def _drawn(seed: int, days: int) -> tuple[Any, Any, Any, Clusters]:
    """Two models that are equally good by construction, each with days of its own that it reads wrongly."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), 40)
    weather = rng.normal(0, 0.8, days)[day]
    odds = rng.normal(0, 1, day.size) - 1
    label = (rng.random(day.size) < 1 / (1 + np.exp(-odds - weather))).astype(np.int8)
    scores = [
        (1 / (1 + np.exp(-odds - rng.normal(0, 0.8, days)[day] * rng.random(day.size)))).astype(np.float32)
        for _ in range(2)
    ]
    return label, scores[0], scores[1], Clusters(day, days)


def example() -> dict[str, Any]:
    """August against July's model with the shipped parameters: seconds of each stage, imports paid before."""
    from greenlight.stages import evaluate, featurize, gate, snapshot, train

    with tempfile.TemporaryDirectory() as folder:
        champion, candidate = (_workspace(Path(folder) / month, month) for month in MONTHS)
        for root, params in (champion, candidate):
            for stage in (snapshot, featurize, train):
                stage.run(params, root)
        root, params = candidate
        crown = root / params.paths.champion
        crown.mkdir(parents=True)
        shutil.copytree(champion[0] / params.paths.model, crown / "model")
        (crown / "champion.json").write_text(json.dumps({"version": "v1", "run": ""}))
        judged = params.model_copy(update={"champion": params.champion.model_copy(update={"version": "v1"})})
        for stage in (evaluate, gate):  # once for the imports
            stage.run(judged, root)
        raw = params.model_dump()
        raw["gates"]["stability"]["seeds"] = 0
        alone = Params.model_validate(raw)
        taken = {
            "train": least(lambda: train.run(alone, root)),
            "train_with_twins": least(lambda: train.run(params, root)),
            "evaluate": least(lambda: evaluate.run(judged, root)),
            "gate": least(lambda: gate.run(judged, root)),
            "statistics": least(_statistics(judged, root)),
        }
    twins = taken["train_with_twins"]["cpu_s"] - taken["train"]["cpu_s"]
    share = {
        name: round((twins + sum(taken[part]["cpu_s"] for part in parts)) / taken["train"]["cpu_s"], 3)
        for name, parts in (
            ("statistics_gates_and_twins_of_train", ("statistics",)),
            ("evaluate_gate_and_twins_of_train", ("evaluate", "gate")),
        )
    }
    return {**taken, "share_in_cpu_seconds": share}


def _statistics(params: Params, root: Path) -> Callable[[], None]:
    """What the gates themselves need of an evaluation: errors, slices, search, behaviour, and the verdict.

    Rows, features and scores are there before, as in the stage, which needs them for the metrics anyway.
    """
    import polars as pl

    from greenlight import datasets
    from greenlight.core.evaluation import evaluation_document
    from greenlight.core.gates import judge
    from greenlight.stages.declared import Declared
    from greenlight.stages.evaluate import holdout_of, looks_of
    from greenlight.stages.score import read_model

    rows = pl.read_parquet(root / params.paths.features / "holdout.parquet")
    scores = pl.read_parquet(root / params.paths.evaluation / "scores.parquet")
    dataset = datasets.load(params.dataset)
    model = read_model(root / params.paths.model)
    matrix, _ = dataset.features.row_features(
        dataset.request.columns_of(rows), model.lookups, model.manifest.vocabulary
    )
    probability = {name: scores[name].to_numpy() for name in ("candidate", "champion")}

    def work() -> None:
        declared = Declared.of(dataset)
        holdout = holdout_of(rows, params.gates.slices.columns, declared)
        looks = looks_of(params, declared, holdout, model, rows, matrix, probability["candidate"] >= 0.5)
        facts = {"behaviour": declared.behaviour(model, rows, params.gates.behaviour.rows)}
        document = evaluation_document(
            holdout, probability, dataset=params.dataset, models={}, features=[], facts=facts, looks=looks
        )
        judge({}, document, params.gates)

    return work


def _workspace(root: Path, month: str) -> tuple[Path, Params]:
    root.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy2(ROOT / name, root / name)
    raw = Params.load(root / "params.yaml").model_dump()
    raw["data"]["as_of"] = month
    raw["train"]["device"] = "cpu"
    report = root / raw["paths"]["validation"]
    report.parent.mkdir()
    report.write_text(json.dumps({"passed": True}))
    return root, Params.model_validate(raw)


if __name__ == "__main__":
    main()
