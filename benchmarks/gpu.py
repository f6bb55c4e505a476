"""Training on a GPU, checked against the CPU: `python -m benchmarks.gpu`. Needs an NVIDIA GPU and says so without one.

Trains the shipped model twice on the GPU and twice on the CPU from the same matrices, compares the model files byte by
byte, compares the two devices' scores on the holdout, and times each. Writes ``benchmarks/results/gpu.json`` with the
device's name. With ``--rows`` the training rows are repeated up to that number (labelled synthetic in the result),
since 130 thousand rows keep no GPU busy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from greenlight import datasets
from greenlight.adapters.device import resolve
from greenlight.config import Params, share_cores
from greenlight.core import training
from greenlight.core.lookup import Vocabulary
from greenlight.core.metrics import roc_auc
from greenlight.core.model import Feature, lookups_from_bytes
from greenlight.errors import ConfigError
from greenlight.stages import featurize, snapshot

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "gpu.json"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--as-of", default="2013-07")
    parser.add_argument("--rows", type=int, default=0, help="repeat the training rows up to this number")
    parser.add_argument("--cpu-only", action="store_true", help="the CPU half alone, to try this script without a GPU")
    args = parser.parse_args()
    share_cores()
    try:
        device = resolve("cpu" if args.cpu_only else "cuda")
    except ConfigError as exc:
        sys.exit(f"nothing was measured: {exc}")
    params = Params.load(ROOT / "params.yaml")
    raw = params.model_dump()
    raw["data"]["as_of"] = args.as_of
    data = _matrices(Params.check(raw, where="params.yaml"), args.rows)
    found: dict[str, Any] = {"device": asdict(device), "as_of": args.as_of, "rows": int(data["train"].label.size)}
    found["synthetic_rows"] = args.rows > 0
    for kind in dict.fromkeys(["cpu", device.kind]):
        found[kind] = _twice(params, data, kind)
    if device.kind == "cuda":
        gap = np.abs(found["cpu"].pop("scores") - found["cuda"].pop("scores"))
        found["largest_score_difference"] = float(gap.max())
        found["speed_up"] = found["cpu"]["seconds"] / found["cuda"]["seconds"]
    else:
        found["cpu"].pop("scores")
    print(json.dumps(found, indent=2))
    if device.kind == "cuda":
        RESULT.write_text(json.dumps(found, indent=2) + "\n")


def _matrices(params: Params, rows: int) -> dict[str, Any]:
    """Matrices and holdout by the real stages, in a folder that goes away."""
    dataset = datasets.load(params.dataset)
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        root = Path(folder)
        snapshot.run(params, root)
        (root / params.paths.validation).parent.mkdir(parents=True, exist_ok=True)
        (root / params.paths.validation).write_text('{"passed": true}')  # the contract is not what is measured
        featurize.run(params, root)
        out = root / params.paths.features
        about = json.loads((out / "features.json").read_bytes())
        parts = {name: (np.load(out / f"{name}.npy"), np.load(out / f"{name}_label.npy")) for name in ("train", "stop")}
        holdout = pl.read_parquet(out / "holdout.parquet")
        lookups = lookups_from_bytes((out / "lookups.json").read_bytes())
    vocabulary = Vocabulary.from_json(about["vocabulary"])
    matrix, _ = dataset.features.row_features(dataset.request.columns_of(holdout), lookups, vocabulary)
    times = max(1, -(-rows // parts["train"][1].size))
    return {
        "train": training.Part(np.tile(parts["train"][0], (times, 1)), np.tile(parts["train"][1], times)),
        "stop": training.Part(*parts["stop"]),
        "features": tuple(Feature(**f) for f in about["features"]),
        "holdout": (matrix, holdout["label"].to_numpy()),
    }


def _twice(params: Params, data: dict[str, Any], device: str) -> dict[str, Any]:
    import xgboost

    digests, seconds, trained = [], [], None
    for _ in range(2):
        started = time.perf_counter()
        trained = training.train(
            data["train"],
            data["stop"],
            data["features"],
            params.train.booster,
            seed=params.train.seed,
            max_rounds=params.train.max_rounds,
            early_stopping_rounds=params.train.early_stopping_rounds,
            device=device,
        )
        seconds.append(time.perf_counter() - started)
        digests.append(hashlib.sha256(trained.booster).hexdigest())
    assert trained is not None
    booster = xgboost.Booster(model_file=bytearray(trained.booster))
    matrix, label = data["holdout"]
    kinds = ["c" if f.kind == "c" else "q" for f in data["features"]]
    names = [f.name for f in data["features"]]
    scores = booster.predict(xgboost.DMatrix(matrix, feature_names=names, feature_types=kinds))
    return {
        "same_bytes_twice": digests[0] == digests[1],
        "sha256": digests,
        "seconds": min(seconds),
        "trees": trained.trees,
        "roc_auc": roc_auc(label, scores),
        "scores": scores,
    }


if __name__ == "__main__":
    main()
