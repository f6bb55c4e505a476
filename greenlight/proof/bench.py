"""The stages of a retrain in a plain folder: the same functions on the same files, without DVC, Git or Prefect."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
from pathlib import Path

from greenlight.config import Params
from greenlight.core.contract_report import ContractReport
from greenlight.core.model import Model
from greenlight.core.replay import Trained
from greenlight.core.verdict import Verdict
from greenlight.datasets.supply import INCOMING
from greenlight.stages.score import read_model


def stage(name: str, params: Params, root: Path) -> str:
    """Run one stage of dvc.yaml in `root`; returns what it says.

    Raises
    ------
    GreenlightError
        As the stage does.
    """
    found: str = importlib.import_module(f"greenlight.stages.{name}").run(params, root)
    return found


def stages(names: tuple[str, ...], params: Params, root: Path) -> None:
    """Run stages in order."""
    for name in names:
        stage(name, params, root)


def lay(root: Path, incoming: Path) -> Path:
    """An empty workspace that sees what was handed in."""
    root.mkdir(parents=True)
    if incoming.is_dir():
        (root / INCOMING).parent.mkdir(parents=True, exist_ok=True)
        (root / INCOMING).symlink_to(incoming)
    return root


def lay_champion(params: Params, root: Path, model: Path | None, version: str) -> None:
    """Put a model folder where ``evaluate`` reads the champion's; None where nothing serves."""
    target = root / params.paths.champion
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    if model:
        (target / "model").symlink_to(model)
    facts = {"version": version if model else "", "run": ""}
    (target / "champion.json").write_text(json.dumps(facts), encoding="utf-8")


def borrow(params: Params, root: Path, other: Path, *names: str) -> None:
    """Let `root` read what another workspace has made, by the names of `params.paths`."""
    for name in names:
        here, there = (folder / getattr(params.paths, name) for folder in (root, other))
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(there)


def contract(params: Params, root: Path) -> ContractReport:
    """What the stage ``validate`` found."""
    return ContractReport.from_json(json.loads((root / params.paths.validation).read_bytes()))


def overrule(params: Params, root: Path) -> None:
    """Write the contract's "no" down as a "yes", for what happens if nobody listens to it."""
    path = root / params.paths.validation
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"passed": True}), encoding="utf-8")


def verdict(params: Params, root: Path) -> Verdict:
    """What the stage ``gate`` found."""
    return Verdict.from_json((root / params.paths.verdict).read_text(encoding="utf-8"))


def trained(params: Params, root: Path) -> Trained:
    """Which model the stage ``train`` made."""
    folder = root / params.paths.model
    about = json.loads((folder / "model.json").read_bytes())
    digest = hashlib.sha256((folder / "model.ubj").read_bytes()).hexdigest()
    return Trained(digest, about["as_of"], tuple(about["train"]), about["stop"], about["trees"])


def model(params: Params, root: Path) -> Model:
    """The model that the stage ``train`` made."""
    return read_model(root / params.paths.model)


def as_of(params: Params, month: str, window: int, version: str = "") -> Params:
    """`params` as a run of that month resolves them; `version` is the champion's."""
    raw = params.model_dump()
    raw["data"] |= {"as_of": month, "window_months": window}
    raw["champion"] = {"version": version, "run": ""}
    return Params.check(raw, where="params.yaml")
