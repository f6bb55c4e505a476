"""Small real models of the example dataset, and projects that have versions of them: what serving tests start
from."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from greenlight import datasets
from greenlight.adapters import bento, keys, signing
from greenlight.adapters.registry import Version
from greenlight.config import Settings
from greenlight.core.lookup import Lookup, Vocabulary
from greenlight.core.model import Golden, Manifest, Model
from greenlight.core.training import Part, train
from greenlight.operations import record, sealing
from greenlight.wiring import Project, open_project

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


def register(project: Project, files: dict[str, bytes], run: str, folder: Path) -> Version:
    """A version of a model as a retrain makes it: its record is committed, its model pushed, and it is signed."""
    root, home = project.settings.root, project.settings.home
    made = workspace(folder, files)
    digest = remember(made / "data" / "model", home / "cache" / "files" / "md5")
    lock = {"snapshot": ("data/snapshot", "0" * 32 + ".dir"), "train": ("data/model", digest)}
    stages = {
        name: {"cmd": f"python -m greenlight.stages {name}", "outs": [{"path": path, "md5": md5, "hash": "md5"}]}
        for name, (path, md5) in lock.items()
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    (root / "reports").mkdir(exist_ok=True)
    (root / "reports" / "run.json").write_text(json.dumps({"name": run, "outcome": "Promoted"}))
    (root / "reports" / "verdict.json").write_text(json.dumps({"decision": "promote"}))
    subprocess.run([*git(root), "add", "-A", "-f", "dvc.lock", "reports"], check=True)
    subprocess.run([*git(root), "commit", "-q", "-m", f"Run {run}"], check=True)
    return record.register(project, project.repository.head(), run, made / "data" / "model")


def remember(folder: Path, cache: Path) -> str:
    """Put a folder into a DVC cache; returns its hash there."""
    rows = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        rows.append({"md5": keep(path.read_bytes(), cache), "relpath": path.relative_to(folder).as_posix()})
    return keep(json.dumps(rows, sort_keys=True).encode(), cache, ".dir")


def keep(content: bytes, cache: Path, suffix: str = "") -> str:
    name = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
    path = cache / name[:2] / name[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name


def git(root: Path) -> tuple[str, ...]:
    return ("git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "-C", str(root))


def sealed(made: Path, home: Path, run: str = "r1") -> Path:
    """What is packed beside a workspace's model, signed by the key of `home`, as a repository of its own has it."""
    settings = Settings(root=made, home=home)
    folder = home / f"sealed-{made.name}"
    shutil.rmtree(folder, ignore_errors=True)
    signed = folder / "signed"
    (signed / "evidence").mkdir(parents=True)
    (signed / "evidence" / "run.json").write_text(json.dumps({"name": run}))
    shutil.copytree(made / "data" / "model", signed / "model")
    key = keys.signing_key(settings)
    public = keys.public_of(key)
    (folder / "packed").mkdir()
    (folder / "packed" / bento.SIGNATURE).write_text(signing.sign(signed, settings, key=key))
    (folder / "packed" / bento.PUBLIC_KEY).write_text(public)
    shutil.copytree(signed / "evidence", folder / "packed" / "evidence")
    (home / keys.TRUSTED).parent.mkdir(parents=True, exist_ok=True)
    (home / keys.TRUSTED).write_text(public)
    return folder / "packed"


def build(folder: Path, home: Path, version: str, seed: int, **model: Any) -> Path:
    """The signed bento of one small model in the store of `home`; of no repository's."""
    made = workspace(folder / f"workspace-{version}", small_model(seed, **model))
    labels, packed = {"run": f"run-{version}"}, sealed(made, home, f"run-{version}")
    return bento.build(made, name=DATASET.name, version=version, labels=labels, home=home, sealed=packed)


def project(root: Path, versions: int, bentos: Path | None = None, **more: Any) -> Settings:
    """A repository with registered, signed versions whose bentos are built; nothing runs.

    Parameters
    ----------
    bentos : Path, optional
        The home of such a project that is copied whole, to save seconds. An empty folder: versions by name only,
        unsigned and without bentos.
    **more
        Settings by name; anything else goes to `small_model`.
    """
    chosen = {name: more.pop(name) for name in list(more) if name in Settings.model_fields}
    ports = {"edge_port": free_port(), "prefect_port": free_port(), "workers": 2}
    if bentos and (bentos.parent / ".git").is_dir():
        shutil.copytree(bentos.parent, root)
        return Settings(root=root, **ports | chosen)
    root.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("params.yaml", "dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, root / name)
    # Releases by steps have tests of their own, which say so in params.yaml.
    at_once(root / "params.yaml")
    for name in ("bentos", "greenlight"):
        shutil.copytree(ROOT / name, root / name, ignore=ignore)
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc" / "config")
    (root / ".gitignore").write_text(".greenlight/\n/data/\n__pycache__/\n")
    subprocess.run([*git(root), "init", "-q"], check=True)
    subprocess.run([*git(root), "add", "-A"], check=True)
    subprocess.run([*git(root), "commit", "-q", "-m", "Start"], check=True)
    made = Settings(root=root, **ports | chosen)
    opened = open_project(made)
    for number in range(1, versions + 1):
        if bentos:
            subprocess.run([*git(root), "commit", "-q", "--allow-empty", "-m", f"Run {number}"], check=True)
            opened.registry.register(opened.repository.head(), f"run-v{number}")
            continue
        folder = root.parent / "workspaces" / f"v{number}"
        version = register(opened, small_model(number, **more), f"run-v{number}", folder)
        sealing.build(opened, version, folder)
    return made


def at_once(params: Path) -> None:
    """Have releases go to all traffic at once."""
    text = params.read_text()
    assert text.count("  strategy: plan #") == 1
    params.write_text(text.replace("  strategy: plan #", "  strategy: full #"))


def until(asked: Callable[[], str], timeout_s: float = 20.0) -> str:
    """What `asked` answers, as soon as it is not nothing."""
    end = time.monotonic() + timeout_s
    while not (found := asked()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
