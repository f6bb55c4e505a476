"""The job without Greenlight: one process, nothing written, no versions, no record. What `retrain` is measured against.

Reads the same data, checks the same expectations with the same engine, builds the same features, trains, scores both
models and computes the same metrics and verdict, by calling the same functions. Run in a workspace of a retrain, so
that the champion's model is there. Prints one JSON object with the seconds of each part.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

BEGAN = time.perf_counter()


def main() -> None:
    """Everything in memory, in the order of the stages."""
    laps: dict[str, float] = {}
    from greenlight.config import Params, share_cores

    share_cores()
    params = Params.load(Path("params.yaml"))
    state: dict[str, object] = {"params": params}
    for name, step in (
        ("snapshot", snapshot),
        ("validate", validate),
        ("featurize", featurize),
        ("train", train),
        ("evaluate", evaluate),
    ):
        started = time.perf_counter()
        step(state)
        laps[name] = time.perf_counter() - started
    laps["total"] = time.perf_counter() - BEGAN
    print(json.dumps({"seconds": laps, "decision": state["decision"], "roc_auc": state["roc_auc"]}))


def snapshot(state: dict) -> None:
    """Read every period and register from the source."""
    from greenlight import datasets
    from greenlight.core.periods import plan
    from greenlight.datasets.supply import INCOMING, Supply

    params = state["params"]
    state["dataset"] = datasets.load(params.dataset)
    state["periods"] = plan(params.data.as_of, params.data.window_months)
    supply = Supply(state["dataset"].source, Path(INCOMING))
    state["tables"] = {period: supply.fetch(period) for period in state["periods"].all}
    state["registers"] = supply.fetch_registers()


def validate(state: dict) -> None:
    """The same contract on the same frames."""
    from greenlight.adapters import expectations
    from greenlight.core.snapshot import SnapshotFile

    files = [
        SnapshotFile(f"{table}/{period}", table, period, frame)
        for period, tables in state["tables"].items()
        for table, frame in tables.items()
    ]
    files += [SnapshotFile(name, name, "", frame) for name, frame in state["registers"].items()]
    checked = expectations.check(state["dataset"].contract.CONTRACT, files, state["periods"].all)
    if not checked.report.passed:
        sys.exit("the contract does not hold")


def featurize(state: dict) -> None:
    """The same features, as of each period's start."""
    import numpy as np

    dataset, periods = state["dataset"], state["periods"]
    frames = {period: dataset.history.assemble(state["tables"][period], period) for period in periods.all}
    vocabulary = dataset.history.vocabulary([frames[p] for p in periods.train])

    def lookups(period: str) -> dict:
        return dataset.history.lookups([frames[p] for p in periods.before(period)], state["registers"])

    def part(its: tuple[str, ...]) -> tuple:
        made = [
            dataset.features.row_features(dataset.request.columns_of(frames[p]), lookups(p), vocabulary)[0] for p in its
        ]
        return np.concatenate(made), np.concatenate([frames[p]["label"].to_numpy() for p in its])

    state |= {"train": part(periods.train), "stop": part((periods.stop,))}
    state |= {"rows": frames[periods.holdout], "lookups": lookups(periods.holdout), "vocabulary": vocabulary}


def train(state: dict) -> None:
    """The same booster."""
    from greenlight.core import training

    params = state["params"]
    state["trained"] = training.train(
        training.Part(*state["train"]),
        training.Part(*state["stop"]),
        state["dataset"].features.FEATURES,
        params.train.booster,
        seed=params.train.seed,
        max_rounds=params.train.max_rounds,
        early_stopping_rounds=params.train.early_stopping_rounds,
        device="cpu",
        twins=params.gates.stability.seeds,
    )


def evaluate(state: dict) -> None:
    """Both models on the same rows, the same metrics, the same gates."""
    from greenlight.core.evaluation import evaluation_document, feature_table, metrics_document, model_facts
    from greenlight.core.gates import judge
    from greenlight.core.importance import total_gain
    from greenlight.core.model import Model
    from greenlight.stages.declared import Declared
    from greenlight.stages.evaluate import holdout_of, looks_of, stability
    from greenlight.stages.score import read_model, score
    from greenlight.stages.train import manifest_of

    params, dataset, rows, trained = state["params"], state["dataset"], state["rows"], state["trained"]
    about = {"features": [vars(f) for f in dataset.features.FEATURES], "vocabulary": state["vocabulary"].to_json()}
    manifest = manifest_of(params, about | {"rows": {}}, trained, "cpu")
    model = Model.build(manifest, state["lookups"], trained.booster)
    matrix, unseen = dataset.features.row_features(dataset.request.columns_of(rows), model.lookups, state["vocabulary"])
    scores = model.score_matrix(matrix, unseen)
    declared = Declared.of(dataset)
    holdout = holdout_of(rows, params.gates.slices.columns, declared)
    champion = read_model(Path(params.paths.champion) / "model")
    probability = {"candidate": scores.probability, "champion": score(champion, rows).probability}
    facts = {
        "candidate": model_facts(manifest.to_json(), "candidate"),
        "champion": model_facts(champion.manifest.to_json(), "champion", version=params.champion.version),
    }
    table = feature_table(
        dataset.features.FEATURES, total_gain(trained.booster), fit=state["train"], holdout=(matrix, holdout.label)
    )
    metrics = metrics_document(holdout, probability, scores.unseen)
    looks = looks_of(params, declared, holdout, model, rows, matrix, scores.decision)
    found = {
        "stability": stability(trained.twins, model, matrix, holdout.label),
        "known_after": declared.known_after(manifest.features),
        "behaviour": declared.behaviour(model, rows, params.gates.behaviour.rows),
    }
    document = evaluation_document(
        holdout, probability, dataset=params.dataset, models=facts, features=table, facts=found, looks=looks
    )
    verdict = judge(metrics, document, params.gates, champion=params.champion.version)
    state |= {"decision": verdict.decision, "roc_auc": metrics["candidate"]["roc_auc"]}


if __name__ == "__main__":
    main()
