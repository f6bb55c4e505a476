"""Training of one booster, deterministic on a CPU whatever the number of threads.

Knows matrices and parameters, not where they come from. The stop period ends the training; the booster is cut to its
best iteration, so that what is saved is what is scored.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from greenlight.core.booster import xgboost
from greenlight.core.lookup import Float32
from greenlight.core.model import Feature
from greenlight.errors import ConfigError, GreenlightError

# Of ten seeds on the holdouts of May, June and July 2013 the standard deviation of the ROC AUC was 0.0058, 0.0059 and
# 0.0036 with all trees, and 0.0089, 0.0078 and 0.0045 with so few: more, never less.
TWIN_SHARE = 16
TWIN_ROUNDS = 5
_UNUSED = re.compile(r"Parameters: \{(.*?)\} are not used", re.DOTALL)
Labels = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Part:
    """Rows of one part of the data: `matrix` (n, k) float32, NaN for missing; `label` (n,) int8, 1 = positive."""

    matrix: Float32
    label: Labels


@dataclass(frozen=True)
class Trained:
    """A trained booster.

    Attributes
    ----------
    booster : bytes
        UBJ, cut to the best iteration.
    trees : int
        Boosting rounds kept.
    stop_log_loss : float
        Log loss on the stop part after the last round kept.
    version : str
        Version of XGBoost.
    twins : mapping of int to bytes
        By seed, the first rounds of a booster that differs from this one by its seed alone; UBJ.
    """

    booster: bytes
    trees: int
    stop_log_loss: float
    version: str
    twins: Mapping[int, bytes] = field(default_factory=dict)


def train(
    data: Part,
    stop: Part,
    features: Sequence[Feature],
    booster: Mapping[str, Any],
    *,
    seed: int,
    max_rounds: int,
    early_stopping_rounds: int,
    device: str = "cpu",
    threads: int = 0,
    twins: int = 0,
) -> Trained:
    """Train on `data` until the log loss on `stop` has not fallen for `early_stopping_rounds` rounds.

    Parameters
    ----------
    booster : mapping
        Parameters passed to XGBoost as they are.
    seed : int
        Seed of row and column sampling.
    device : str
        ``cpu`` or ``cuda``.
    threads : int
        0 means all cores; the model does not depend on it.
    twins : int
        How many other seeds train their first rounds on the same rows: a sixteenth of the trees, at least 5. That is
        where a seed moves most, at a twentieth of the cost (`TWIN_SHARE`).

    Raises
    ------
    GreenlightError
        A part has no rows, or the training rows hold one class only.
    ConfigError
        XGBoost refuses the parameters.
    """
    _check(data, stop)
    xgb = xgboost()
    params = {
        **booster,
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "validate_parameters": True,
        "device": device,
        "seed": seed,
        "nthread": threads,
    }
    shared = {
        "feature_names": [f.name for f in features],
        "feature_types": [f.kind for f in features],
        "enable_categorical": True,
        "max_bin": int(booster.get("max_bin", 256)),
        "nthread": threads,
    }
    history: dict[str, dict[str, list[float]]] = {}
    with _refusals():
        rows = xgb.QuantileDMatrix(data.matrix, data.label, **shared)
        watch = xgb.QuantileDMatrix(stop.matrix, stop.label, ref=rows, **shared)
        found = xgb.train(
            params,
            rows,
            max_rounds,
            evals=[(watch, "stop")],
            early_stopping_rounds=early_stopping_rounds,
            evals_result=history,
            verbose_eval=False,
        )
        trees = found.best_iteration + 1
        rounds = min(trees, max(TWIN_ROUNDS, trees // TWIN_SHARE))
        others = [(seed + number) % 2**31 for number in range(1, twins + 1)]
        beside = {other: xgb.train({**params, "seed": other}, rows, rounds, verbose_eval=False) for other in others}
    return Trained(
        booster=bytes(found[:trees].save_raw("ubj")),
        trees=trees,
        stop_log_loss=history["stop"]["logloss"][trees - 1],
        version=xgb.__version__,
        twins={other: bytes(booster.save_raw("ubj")) for other, booster in beside.items()},
    )


def first_rounds(booster: bytes, rounds: int) -> bytes:
    """A booster's first rounds, or all of it where it has no more; UBJ.

    Raises
    ------
    GreenlightError
        The bytes are no booster.
    """
    xgb = xgboost()
    try:
        whole = xgb.Booster(model_file=bytearray(booster))
    except xgb.core.XGBoostError as exc:
        raise GreenlightError(f"the booster cannot be read: {_reason(str(exc))}", todo="run train") from exc
    return bytes(whole[: min(rounds, whole.num_boosted_rounds())].save_raw("ubj"))


def rounds_of(booster: bytes) -> int:
    """How many rounds a readable booster has."""
    return int(xgboost().Booster(model_file=bytearray(booster)).num_boosted_rounds())


def check_parameters(booster: Mapping[str, Any]) -> None:
    """Find parameters that XGBoost does not know or refuses, on four rows and before any real work.

    Raises
    ------
    ConfigError
        XGBoost refuses a value, or a name is unknown: it would train on without it.
    """
    rows = np.array([[0.0], [1.0], [2.0], [3.0]], dtype=np.float32)
    part = Part(rows, np.array([0, 1, 0, 1], dtype=np.int8))
    train(part, part, (Feature("x", "q"),), booster, seed=0, max_rounds=1, early_stopping_rounds=1, threads=1)


@contextmanager
def _refusals() -> Iterator[None]:
    """What XGBoost refuses, and what it only warns of and then leaves out, as one kind of error."""
    xgb = xgboost()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            yield
        except xgb.core.XGBoostError as exc:
            reason = _reason(str(exc))
            raise ConfigError(
                f"XGBoost refused: {reason}", where="params.yaml: train", todo="correct train.booster"
            ) from exc
    for warning in said:
        unused = _UNUSED.search(str(warning.message))
        if unused:
            names = ", ".join(re.findall(r'"([^"]+)"', unused[1]))
            raise ConfigError(
                f"XGBoost does not know {names}", where="params.yaml: train.booster", todo="correct the keys"
            )
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def build_info() -> dict[str, Any]:
    """What the installed XGBoost was built with: ``version``, ``cuda`` (such as 12.9; empty for a CPU-only build)."""
    xgb = xgboost()
    info = xgb.build_info()
    cuda = ".".join(str(n) for n in info.get("CUDA_VERSION", ())) if info.get("USE_CUDA") else ""
    return {"version": xgb.__version__, "cuda": cuda}


def golden_sample(n: int, size: int, seed: int) -> npt.NDArray[np.int64]:
    """Sorted positions of `size` of `n` rows, none twice, the same for the same seed; all rows if there are fewer."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n, size=min(n, size), replace=False))


def _check(data: Part, stop: Part) -> None:
    for name, part in (("training", data), ("stop", stop)):
        if not len(part.label):
            raise GreenlightError(f"the {name} periods have 0 labelled rows, at least 1 is needed", where="train")
    positives = int(np.count_nonzero(data.label))
    if positives in (0, len(data.label)):
        raise GreenlightError(
            f"all {len(data.label):,} training rows have the label {data.label[0]}; two classes are needed",
            where="train",
        )


def _reason(text: str) -> str:
    """The sentence in XGBoost's message: its first lines are a time stamp and a place in its source."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    useful = [line for line in lines if not line.startswith(("Stack trace", "[bt]"))]
    return (useful[0].split("] ", 1)[-1] if useful else text)[:300]
