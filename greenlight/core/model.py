"""A trained model as a folder of files without pickle, and the one way to score with it.

Offline evaluation, preflight and server all score through `Model.score`. Nothing here reads a disk: a caller hands in
the bytes of the files and writes the bytes it gets. The files:

``model.ubj``
    The booster, cut to its best iteration; holds nothing that varies between two equal trainings.
``model.json``
    The manifest: see `Manifest`.
``lookups.json``
    The tables that the features need, as of the holdout; see `greenlight.core.lookup.Lookup.to_json`.
``golden.json``
    Rows of the holdout with the exact answers expected; see `Golden`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from greenlight.core.booster import Predict, contributions, predictor, xgboost
from greenlight.core.golden import Golden as Golden
from greenlight.core.lookup import Float32, Lookup, Vocabulary
from greenlight.errors import GreenlightError

FORMAT = 1
FILES = ("golden.json", "lookups.json", "model.json", "model.ubj")

Columns = Mapping[str, npt.NDArray[Any]]
RowFeatures = Callable[[Columns, Mapping[str, Lookup], Vocabulary], tuple[Float32, dict[str, int]]]


@dataclass(frozen=True)
class Feature:
    """One column of the matrix: its name, and whether it is a number (``q``) or a category's code (``c``)."""

    name: str
    kind: Literal["q", "c"]


@dataclass(frozen=True)
class Manifest:
    """What a model is, and what it takes to score with it.

    Attributes
    ----------
    dataset : str
        Folder under greenlight/datasets.
    as_of : str
        The holdout period; history in the lookups ends before it.
    train : tuple of str
        Periods trained on.
    stop : str
        The period that ended the training.
    features : tuple of Feature
        Columns of the matrix, in order.
    vocabulary : Vocabulary
        Categories known to the model.
    threshold : float
        A row is decided positive from this probability on, 0 to 1.
    trees : int
        Boosting rounds kept: the best iteration and all before it.
    stop_log_loss : float
        Log loss on the stop period after the best iteration.
    rows : mapping of str to int
        Labelled rows per part: ``train``, ``stop``, ``holdout``.
    device : str
        ``cpu`` or ``cuda``: what it was trained on.
    seed : int
        Seed of row and column sampling.
    booster : mapping
        Parameters given to XGBoost.
    code : str
        `code_hash` of the source that turns rows into scores.
    xgboost : str
        Version that trained.
    """

    dataset: str
    as_of: str
    train: tuple[str, ...]
    stop: str
    features: tuple[Feature, ...]
    vocabulary: Vocabulary
    threshold: float
    trees: int
    stop_log_loss: float
    rows: Mapping[str, int]
    device: str
    seed: int
    booster: Mapping[str, Any]
    code: str
    xgboost: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        raw = {k: v for k, v in self.__dict__.items() if k not in ("vocabulary", "features")}
        return raw | {
            "format": FORMAT,
            "features": [asdict(f) for f in self.features],
            "vocabulary": self.vocabulary.to_json(),
            "train": list(self.train),
            "rows": dict(self.rows),
            "booster": dict(self.booster),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Manifest:
        """The inverse of `to_json`."""
        known = {k: v for k, v in raw.items() if k != "format"}
        known["features"] = tuple(Feature(**f) for f in raw["features"])
        known["vocabulary"] = Vocabulary.from_json(raw["vocabulary"])
        known["train"] = tuple(raw["train"])
        return cls(**known)


@dataclass(frozen=True)
class Scores:
    """Answers for n rows.

    Attributes
    ----------
    probability : (n,) float32
        0 to 1.
    decision : (n,) bool
        Probability at or above the manifest's threshold.
    unseen : dict of str to int
        Per feature, how many rows held a category that training did not know; features without any are left out.
    """

    probability: Float32
    decision: npt.NDArray[np.bool_]
    unseen: dict[str, int]


@dataclass(frozen=True, eq=False)
class Model:
    """A booster with all it needs to score rows; safe to share between threads, since scoring changes nothing."""

    manifest: Manifest
    lookups: Mapping[str, Lookup]
    golden: tuple[Golden, ...]
    booster_bytes: bytes
    _booster: Any = field(repr=False)
    _predict: Predict = field(repr=False)

    @classmethod
    def build(
        cls,
        manifest: Manifest,
        lookups: Mapping[str, Lookup],
        booster: bytes,
        *,
        golden: Sequence[Golden] = (),
        threads: int = 0,
    ) -> Model:
        """A model from its parts.

        Parameters
        ----------
        booster : bytes
            UBJ, as XGBoost saves it.
        threads : int
            Threads that score; 0 means all cores. Servers take 1.

        Raises
        ------
        GreenlightError
            The booster is not readable, or its features are not the manifest's.
        """
        loaded = _load(booster, manifest, threads)
        return cls(manifest, lookups, tuple(golden), booster, loaded, predictor(loaded, len(manifest.features)))

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, threads: int = 0) -> Model:
        """A model from the content of its folder, by file name.

        Raises
        ------
        GreenlightError
            A file is missing, cannot be read, or is of another format.
        """
        missing = [name for name in FILES if name not in files]
        if missing:
            raise GreenlightError(f"a model folder lacks {', '.join(missing)}", todo="pull it again, or train again")
        manifest = read_manifest(files["model.json"])
        try:
            lookups = {k: Lookup.from_json(v) for k, v in json.loads(files["lookups.json"]).items()}
            golden = [Golden(**row) for row in json.loads(files["golden.json"])["rows"]]
        except (ValueError, KeyError, TypeError) as exc:
            raise GreenlightError(f"a model folder cannot be read: {exc!r}", todo="pull it again") from exc
        return cls.build(manifest, lookups, files["model.ubj"], golden=golden, threads=threads)

    def to_files(self) -> dict[str, bytes]:
        """The content of the model folder by file name; equal models give equal bytes."""
        return {
            "model.ubj": self.booster_bytes,
            "model.json": to_bytes(self.manifest.to_json(), indent=1),
            "lookups.json": lookups_to_bytes(self.lookups),
            "golden.json": to_bytes({"rows": [asdict(g) for g in self.golden]}, indent=1),
        }

    def score(self, columns: Columns, row_features: RowFeatures) -> Scores:
        """Answers for rows.

        Parameters
        ----------
        columns : mapping of str to (n,) array
            As the dataset's `request.columns` or `request.columns_of` gives them.
        row_features : callable
            The dataset's `features.row_features`.
        """
        matrix, unseen = row_features(columns, self.lookups, self.manifest.vocabulary)
        return self.score_matrix(matrix, unseen)

    def score_matrix(self, matrix: Float32, unseen: Mapping[str, int] | None = None) -> Scores:
        """Answers for rows that are features already: `matrix` is (n, k) float32."""
        probability = self._predict(matrix) if len(matrix) else np.empty(0, dtype=np.float32)
        # Compared as float32 on both sides, so that one row and many rows decide the same.
        decision = probability >= np.float32(self.manifest.threshold)
        return Scores(probability, decision, {k: n for k, n in (unseen or {}).items() if n})

    def explain(self, columns: Columns, row_features: RowFeatures) -> Float32:
        """SHAP contributions of rows, in log odds: (n, features + 1) float32, the base value last; see `score`."""
        matrix, _ = row_features(columns, self.lookups, self.manifest.vocabulary)
        return contributions(self._booster, matrix)


def read_manifest(content: bytes) -> Manifest:
    """The manifest in the bytes of a model.json.

    Raises
    ------
    GreenlightError
        It is not JSON, of another format, or lacks a key.
    """
    try:
        raw = json.loads(content)
        if raw["format"] != FORMAT:
            raise GreenlightError(f"model.json has format {raw['format']}, this code reads {FORMAT}")
        return Manifest.from_json(raw)
    except (ValueError, KeyError, TypeError) as exc:
        raise GreenlightError(f"model.json cannot be read: {exc!r}", todo="pull the model folder again") from exc


def lookups_to_bytes(lookups: Mapping[str, Lookup]) -> bytes:
    """The content of lookups.json."""
    return to_bytes({name: table.to_json() for name, table in lookups.items()})


def lookups_from_bytes(content: bytes) -> dict[str, Lookup]:
    """The inverse of `lookups_to_bytes`."""
    return {name: Lookup.from_json(raw) for name, raw in json.loads(content).items()}


def code_hash(sources: Mapping[str, bytes]) -> str:
    """SHA-256 over named source files; equal names and bytes give an equal value."""
    digest = hashlib.sha256()
    for name, content in sorted(sources.items()):
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def to_bytes(value: Any, indent: int | None = None) -> bytes:
    """Canonical JSON: sorted keys, floats that read back to the same bits, no NaN, a newline at the end."""
    return (json.dumps(value, sort_keys=True, allow_nan=False, indent=indent, ensure_ascii=False) + "\n").encode()


def _load(content: bytes, manifest: Manifest, threads: int) -> Any:
    xgb = xgboost()
    booster = xgb.Booster()
    try:
        booster.load_model(bytearray(content))
    except xgb.core.XGBoostError as exc:
        reason = str(exc).splitlines()[0]
        raise GreenlightError(f"model.ubj cannot be read: {reason}", todo="pull the model folder again") from exc
    names = [f.name for f in manifest.features]
    if booster.feature_names != names:
        raise GreenlightError(f"model.ubj has the features {booster.feature_names}, model.json {names}")
    if booster.num_boosted_rounds() != manifest.trees:
        raise GreenlightError(
            f"model.ubj has {booster.num_boosted_rounds()} trees, model.json says {manifest.trees}",
            todo="pull the model folder again, or train again",
        )
    booster.set_param({"nthread": threads, "device": "cpu"})
    return booster
