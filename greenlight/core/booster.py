"""XGBoost, imported without scikit-learn, and its cheapest call for a dense matrix.

``import xgboost`` imports scikit-learn, and with it pandas, for its estimator classes, which nothing here uses: 0.9 s
against 0.2 s, in every stage and in every server process. XGBoost supports running without scikit-learn; for the moment
of the import it is told that there is none. Whoever needs scikit-learn itself imports it as usual, before or after.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Predict = Callable[[Float32], Float32]

_WIDE = np.float32(1e30)  # larger than any threshold in a tree
# Arguments of a value prediction over all trees, as `Booster.inplace_predict` writes them.
_ARGUMENTS = (
    b'{"type": 0, "training": false, "iteration_begin": 0, "iteration_end": 0, "missing": NaN, '
    b'"strict_shape": false, "cache_id": 0}'
)


def xgboost() -> ModuleType:
    """The module ``xgboost``, imported at the first call."""
    if "xgboost" not in sys.modules and "sklearn" not in sys.modules:
        sys.modules["sklearn"] = None  # type: ignore[assignment]
        try:
            import xgboost  # noqa: F401
        finally:
            del sys.modules["sklearn"]
    import xgboost as module

    return module  # type: ignore[no-any-return]


def predictor(booster: Any, features: int) -> Predict:
    """The cheapest way to get the predictions of `booster`, to the last bit those of ``inplace_predict``.

    For one row more than half of ``Booster.inplace_predict`` is Python that finds out what it was given. What is given
    here is always a dense float32 matrix, so the C function behind it (``XGBoosterPredictFromDense``, XGBoost's C API)
    is called directly. It is tried against ``inplace_predict`` first; where it is missing or differs by a bit,
    ``inplace_predict`` is what this returns.

    Parameters
    ----------
    booster : xgboost.Booster
        With its parameters set; it must not be trained further.
    features : int
        Columns of the matrices to come.

    Returns
    -------
    callable
        (n, features) float32 to (n,) float32; safe to share between threads.
    """

    def slow(matrix: Float32) -> Float32:
        found: Float32 = booster.inplace_predict(matrix, validate_features=False)
        return found

    try:
        fast = _dense(booster)
        same = all(_bits(fast(probe)) == _bits(slow(probe)) for probe in _probes(features))
    except (AttributeError, TypeError, ctypes.ArgumentError, xgboost().core.XGBoostError):
        return slow
    return fast if same else slow


def contributions(booster: Any, matrix: Float32) -> Float32:
    """How much each feature moved the log odds of each row: exact SHAP values (TreeSHAP, Lundberg et al. 2018).

    Parameters
    ----------
    matrix : (n, k) float32
        Features.

    Returns
    -------
    (n, k + 1) float32
        The last column is the base value; a row's sum is its log odds.
    """
    xgb = xgboost()
    data = xgb.DMatrix(matrix, feature_names=booster.feature_names, feature_types=booster.feature_types, nthread=1)
    found: Float32 = booster.predict(data, pred_contribs=True)
    return found


def _dense(booster: Any) -> Predict:
    core = xgboost().core
    call, check, handle = core._LIB.XGBoosterPredictFromDense, core._check_call, booster.handle
    unsigned, pointer, number = ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(ctypes.c_float)
    byref, no_margin = ctypes.byref, ctypes.c_void_p()

    def fast(matrix: Float32) -> Float32:
        matrix = np.ascontiguousarray(matrix, dtype=np.float32)
        rows, columns = matrix.shape
        # NumPy's array interface, as XGBoost reads it: address, shape and type.
        place = b'{"data": [%d, true], "shape": [%d, %d], "typestr": "<f4", "version": 3}' % (
            matrix.__array_interface__["data"][0],
            rows,
            columns,
        )
        shape, dimensions, found = pointer(), unsigned(), number()
        check(call(handle, place, _ARGUMENTS, no_margin, byref(shape), byref(dimensions), byref(found)))
        if dimensions.value != 1 or shape[0] != rows:
            raise TypeError("the booster answers more than one number a row")
        # The memory is XGBoost's, and this thread's next call writes over it.
        return np.frombuffer(ctypes.string_at(found, 4 * rows), dtype=np.float32).copy()

    return fast


def _probes(features: int) -> list[Float32]:
    """Matrices that take each tree both ways: zeros, nothing known, far outside, and a spread; one row and several."""
    spread = np.linspace(-1000, 3000, 7 * features, dtype=np.float32).reshape(7, features)
    rows = [np.zeros(features), np.full(features, np.nan), np.full(features, _WIDE), np.full(features, -_WIDE)]
    singles = [np.asarray(row, dtype=np.float32)[None, :] for row in rows]
    holed = spread.copy()
    holed[::2, ::3] = np.nan
    return [*singles, spread, holed, np.asfortranarray(spread)]


def _bits(values: Float32) -> bytes:
    return values.tobytes()
