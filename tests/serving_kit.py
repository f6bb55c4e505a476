"""Small real models of the example dataset, and projects that have versions of them: what serving tests start
from."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from greenlight import datasets
from greenlight.adapters import bento
from greenlight.adapters.git import Repository
from greenlight.adapters.registry import Registry
from greenlight.config import Settings
from greenlight.core.lookup import Lookup, Vocabulary
from greenlight.core.model import Golden, Manifest, Model
from greenlight.core.training import Part, train

ROOT = Path(__file__).resolve().parents[1]
DATASET = datasets.load("flight_delay")
CARRIERS, ORIGINS, DESTINATIONS = ("AA", "B6", "UA"), ("EWR", "JFK", "LGA"), ("ATL", "IAH", "LAX", "ORD")


def requests(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Plausible rows as a client sends them."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        at = dt.datetime(2013, 7, 1) + dt.timedelta(minutes=int(rng.integers(0, 43_000)))
        late = at + dt.timedelta(minutes=int(rng.integers(60, 400)))
        row = dict(DATASET.request.EXAMPLE)
        row |= {"carrier": str(rng.choice(CARRIERS)), "origin": str(rng.choice(ORIGINS))}
        row |= {"dest": str(rng.choice(DESTINATIONS)), "tailnum": f"N{rng.integers(100, 140)}UA"}
        row |= {"scheduled_departure": at.isoformat(), "scheduled_arrival": late.time().isoformat()}
        row |= {"temp": round(float(rng.normal(70, 10)), 1), "visib": None if rng.random() < 0.1 else 10.0}
        rows.append(row)
    return rows


def small_model(seed: int = 1, rounds: int = 12, eta: float = 0.2, depth: int = 4) -> dict[str, bytes]:
    """The files of a model that was really trained, in well under a second; another seed is another model."""
    request, features = DATASET.request, DATASET.features
    rows = requests(1500, seed)
    columns = request.columns([request.Row.model_validate(row) for row in rows])
    vocabulary = Vocabulary.of({"carrier": CARRIERS, "origin": ORIGINS, "dest": DESTINATIONS})
    lookups = _lookups(features)
    matrix, _ = features.row_features(columns, lookups, vocabulary)
    rng = np.random.default_rng(seed)
    signal = columns["temp"] - 70 + 8 * (columns["carrier"] == "UA") + rng.normal(0, 12, len(rows))
    label = (signal > np.median(signal)).astype(np.int8)
    booster = {"max_depth": depth, "eta": eta, "base_score": 0.5}
    trained = train(
        Part(matrix[:1000], label[:1000]),
        Part(matrix[1000:], label[1000:]),
        features.FEATURES,
        booster,
        seed=seed,
        max_rounds=rounds,
        early_stopping_rounds=rounds,
        threads=1,
    )
    manifest = Manifest(
        dataset=DATASET.name, as_of="2013-07", train=("2013-05",), stop="2013-06", features=features.FEATURES,
        vocabulary=vocabulary, threshold=0.5, trees=trained.trees, stop_log_loss=trained.stop_log_loss,
        rows={"train": 1000, "stop": 500, "holdout": 24}, device="cpu", seed=seed, booster=booster, code="test",
        xgboost=trained.version,
    )  # fmt: skip
    model = Model.build(manifest, lookups, trained.booster, threads=1)
    golden = requests(24, seed + 100)
    scores = model.score(request.columns([request.Row.model_validate(r) for r in golden]), features.row_features)
    answers = zip(golden, scores.probability.tolist(), scores.decision.tolist(), strict=True)
    return Model.build(manifest, lookups, trained.booster, golden=[Golden(*a) for a in answers]).to_files()


def _lookups(features: Any) -> dict[str, Lookup]:
    planes = tuple(f"N{i}UA" for i in range(100, 130))
    values = {name: np.arange(len(planes), dtype=np.float32) for name in ("year", "seats")}
    rates = {name: Lookup(("UA|1545",), {"lateness": np.array([0.2], np.float32)}) for name in features.RATES}
    return {"planes": Lookup(planes, values), **rates}


def workspace(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with the code that is packed and a model, as a run's workspace has them."""
    for name in ("bentos", "greenlight"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore, dirs_exist_ok=True)
    model = folder / "data" / "model"
    model.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (model / name).write_bytes(content)
    return folder


def build(folder: Path, home: Path, version: str, seed: int, **model: Any) -> Path:
    """The bento of one small model in the store of `home`."""
    made = workspace(folder / f"workspace-{version}", small_model(seed, **model))
    return bento.build(made, name=DATASET.name, version=version, labels={"run": f"run-{version}"}, home=home)


def project(root: Path, versions: int, bentos: Path | None = None, **more: Any) -> Settings:
    """A repository with registered versions whose bentos are built; nothing runs.

    Parameters
    ----------
    bentos : Path, optional
        A home whose bentos are copied instead of built, to save seconds.
    **more
        Settings by name; anything else goes to `small_model`.
    """
    root.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, root / name)
    (root / ".gitignore").write_text(".greenlight/\n")
    git = ("git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "-C", str(root))
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    chosen = {name: more.pop(name) for name in list(more) if name in Settings.model_fields}
    made = Settings(root=root, **{"edge_port": free_port(), "prefect_port": free_port(), "workers": 2} | chosen)
    registry = Registry(Repository(root), DATASET.name)
    for number in range(1, versions + 1):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", f"Run {number}"], check=True)
        version = registry.register(registry.repository.head(), f"run-v{number}")
        if bentos is None:
            build(root.parent / "workspaces", made.home, version.name, seed=number, **more)
    if bentos is not None:
        shutil.copytree(bento.store(bentos), bento.store(made.home))
    return made


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
