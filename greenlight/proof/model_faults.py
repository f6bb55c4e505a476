"""Faults between good data and a verdict: in labels, features, split, training or the model's file.

Each is put into the files that a stage leaves for the next one, and knows no dataset: columns are chosen by kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from greenlight import datasets
from greenlight.config import Params
from greenlight.core.booster import xgboost
from greenlight.core.faults import Fault, Point
from greenlight.core.lookup import Vocabulary
from greenlight.core.model import lookups_from_bytes
from greenlight.errors import GreenlightError

Rng = np.random.Generator
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Files:
    """The features and the model folder of a workspace, read and written by name."""

    params: Params
    root: Path

    @property
    def features(self) -> Path:
        """The features folder."""
        return self.root / self.params.paths.features

    @property
    def about(self) -> dict[str, Any]:
        """features.json."""
        found: dict[str, Any] = json.loads((self.features / "features.json").read_bytes())
        return found

    def column(self, kind: str, nth: int = 0) -> int:
        """Where the n-th feature of a kind stands, among those that the holdout has as a column too."""
        rows = pl.scan_parquet(self.features / "holdout.parquet", glob=False).collect_schema()
        found = [j for j, one in enumerate(self.about["features"]) if one["kind"] == kind and one["name"] in rows]
        if len(found) <= nth:
            raise GreenlightError(f"the dataset has no {nth + 1} features of kind {kind} to put a fault into")
        return found[nth]

    def array(self, name: str) -> Array:
        """A matrix or labels."""
        return np.load(self.features / f"{name}.npy", allow_pickle=False)  # type: ignore[no-any-return]

    def put(self, name: str, values: Array) -> None:
        """Write a matrix or labels."""
        np.save(self.features / f"{name}.npy", values, allow_pickle=False)

    def change(self, name: str, by: Callable[[Array], Array]) -> None:
        """Read, change and write a matrix or labels of both parts: training and stop."""
        for part in ("train", "stop"):
            self.put(f"{part}{name}", by(self.array(f"{part}{name}")))

    def holdout(self) -> pl.DataFrame:
        """The holdout's rows."""
        return pl.read_parquet(self.features / "holdout.parquet", memory_map=False, glob=False)

    def manifest(self, **values: Any) -> None:
        """Change keys of the candidate's model.json."""
        path = self.root / self.params.paths.model / "model.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | values), encoding="utf-8")


@dataclass(frozen=True)
class ModelFault(Fault):
    """A fault after the data.

    Attributes
    ----------
    point : str
        ``features``: before training; ``model``: after it.
    inject : callable
        Takes the files and a generator.
    own : mapping
        Parameters of the training that are part of the fault.
    """

    point: Point = "features"
    inject: Callable[[Files, Rng], None] = lambda files, rng: None
    own: tuple[tuple[str, Any], ...] = ()


def shuffled(files: Files, rng: Rng) -> None:
    """Labels lie against the wrong rows."""
    files.change("_label", lambda label: rng.permutation(label))


def flipped(files: Files, rng: Rng) -> None:
    """One label in five is the wrong way round."""
    files.change("_label", lambda label: np.where(rng.random(label.size) < 0.2, 1 - label, label).astype(label.dtype))


def leak(files: Files, rng: Rng) -> None:
    """A feature is the label with noise, in training and in the holdout."""
    j = files.column("q")
    for part in ("train", "stop"):
        matrix = files.array(part)
        matrix[:, j] = files.array(f"{part}_label") + rng.normal(0, 0.5, len(matrix))
        files.put(part, matrix)
    rows, name = files.holdout(), files.about["features"][j]["name"]
    told = rows["label"].to_numpy() + rng.normal(0, 0.5, rows.height)
    rows.with_columns(pl.Series(name, told).cast(rows.schema[name])).write_parquet(files.features / "holdout.parquet")


def swapped(files: Files, rng: Rng) -> None:
    """All numbers stand one column further than they are served."""
    columns = [j for j, one in enumerate(files.about["features"]) if one["kind"] == "q"]
    files.change("", lambda matrix: _moved(matrix, columns))


def _moved(matrix: Array, columns: list[int]) -> Array:
    matrix[:, columns] = matrix[:, columns[-1:] + columns[:-1]]
    return matrix


def codes(files: Files, rng: Rng) -> None:
    """Categories have other numbers in training than when served."""
    for j, one in enumerate(files.about["features"]):
        if one["kind"] == "c":
            size = 1 + int(max(np.nanmax(files.array(part)[:, j]) for part in ("train", "stop")))
            order = rng.permutation(size).astype(np.float32)
            files.change("", lambda matrix, j=j, order=order: _recoded(matrix, j, order))  # type: ignore[misc]


def _recoded(matrix: Array, j: int, order: Array) -> Array:
    known = ~np.isnan(matrix[:, j])
    matrix[known, j] = order[matrix[known, j].astype(int)]
    return matrix


def inverted(files: Files, rng: Rng) -> None:
    """In one of the declared slices the label means the opposite."""
    names = [one["name"] for one in files.about["features"]]
    j = names.index([name for name in files.params.gates.slices.columns if name in names][-1])
    values, counts = np.unique(files.array("train")[:, j], return_counts=True)
    code = values[np.argmin(np.where(counts > 0.1 * counts.sum(), counts, counts.sum()))]
    for part in ("train", "stop"):
        label, there = files.array(f"{part}_label"), files.array(part)[:, j] == code
        files.put(f"{part}_label", np.where(there, 1 - label, label).astype(label.dtype))


def undersampled(files: Files, rng: Rng) -> None:
    """Three of four negatives were left out of training, and nobody put the probabilities right again."""
    for part in ("train", "stop"):
        label = files.array(f"{part}_label")
        kept = (label == 1) | (rng.random(label.size) < 0.25)
        files.put(part, files.array(part)[kept])
        files.put(f"{part}_label", label[kept])


def mixed(files: Files, rng: Rng) -> None:
    """Rows were split by chance instead of by time: half of the holdout is in training, too, which no plan says."""
    dataset, about = datasets.load(files.params.dataset), files.about
    rows = files.holdout()
    rows = rows.filter(pl.Series(rng.random(rows.height) < 0.5))
    lookups = lookups_from_bytes((files.features / "lookups.json").read_bytes())
    columns, vocabulary = dataset.request.columns_of(rows), Vocabulary.from_json(about["vocabulary"])
    matrix, _ = dataset.features.row_features(columns, lookups, vocabulary)
    files.put("train", np.concatenate([files.array("train"), matrix]))
    files.put("train_label", np.concatenate([files.array("train_label"), rows["label"].to_numpy()]))
    # What `featurize` writes of the rows that it trains on, whatever the plan was.
    about["days"]["train"]["last"] = str(rows["day"].max())
    (files.features / "features.json").write_text(json.dumps(about), encoding="utf-8")


def small(files: Files, rng: Rng) -> None:
    """Of the holdout only one row in fifty arrived."""
    files.holdout().gather_every(50).write_parquet(files.features / "holdout.parquet")


def seen(files: Files, rng: Rng) -> None:
    """The record of a split that put the holdout into training."""
    path = files.root / files.params.paths.model / "model.json"
    files.manifest(train=[*json.loads(path.read_bytes())["train"], files.params.data.as_of])


def halved(files: Files, rng: Rng) -> None:
    """The model's file holds the first half of its trees."""
    path = files.root / files.params.paths.model / "model.ubj"
    booster = xgboost().Booster()
    booster.load_model(bytearray(path.read_bytes()))
    path.write_bytes(bytes(booster[: max(1, booster.num_boosted_rounds() // 2)].save_raw("ubj")))


def same(files: Files, rng: Rng) -> None:
    """The champion itself was handed in as the candidate."""
    source, target = (
        files.root / path / "model.ubj" for path in (f"{files.params.paths.champion}/model", files.params.paths.model)
    )
    about = json.loads((source.parent / "model.json").read_bytes())
    target.write_bytes(source.read_bytes())
    files.manifest(trees=about["trees"])


RANK = ("min_roc_auc", "min_average_precision", "champion_roc_auc")
PROBABILITIES = ("max_log_loss", "max_calibration_error", "calibration_gap", "champion_log_loss")
Row = tuple[str, Callable[[Files, Rng], None], tuple[str, ...], Point, tuple[tuple[str, Any], ...]]
LUCK = (("train.booster.subsample", 0.0005), ("train.booster.min_child_weight", 0))
CONSTANT = (("train.max_rounds", 1), ("train.booster.eta", 1e-9))
ROWS: tuple[Row, ...] = (
    ("label shuffle", shuffled, RANK, "features", ()),
    ("label flip of 20 %", flipped, PROBABILITIES, "features", ()),
    ("target leak", leak, ("single_feature", "too_good"), "features", ()),
    ("feature order swapped", swapped, RANK, "features", ()),
    ("category codes swapped", codes, RANK, "features", ()),
    ("inverted slice", inverted, ("slices_*",), "features", ()),
    ("miscalibration", undersampled, PROBABILITIES, "features", ()),
    ("constant predictions", lambda files, rng: None, RANK, "features", CONSTANT),
    ("the seed decides", lambda files, rng: None, (*RANK, "stability"), "features", LUCK),
    ("split by chance", mixed, ("time_travel",), "features", ()),
    ("holdout too small", small, ("holdout_rows",), "features", ()),
    ("training on the holdout", seen, ("holdout_unseen",), "model", ()),
    ("half of the trees", halved, ("stage evaluate",), "model", ()),
    ("the champion once more", same, ("something_new",), "model", ()),
)
BY_PARAMETERS: dict[tuple[tuple[str, Any], ...], str] = {
    CONSTANT: "Every row gets the same answer.",
    LUCK: "Each tree sees one row in two thousand, so that another seed is another model.",
}
FAULTS: tuple[ModelFault, ...] = tuple(
    ModelFault(name, (inject.__doc__ or BY_PARAMETERS[own]).strip(), expected, point, inject, own)
    for name, inject, expected, point, own in ROWS
)
"""Every fault with the gates that must catch it."""
