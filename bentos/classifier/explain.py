"""Why a row got its score: SHAP contributions per feature, on request.

Exact TreeSHAP by XGBoost (``pred_contribs``), about five times the cost of the score. It runs in a thread of its own on
a booster of its own: XGBoost allows several threads for ``inplace_predict``, not beside another call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Scope

from bentos.classifier.problems import Problem
from bentos.classifier.scorer import Scorer
from greenlight.core.model import Model

MAX_ROWS = 100
HEADER = b"x-explain"
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


def wanted(scope: Scope) -> bool:
    """Whether the client asks for an explanation: ``?explain=true``, or the header ``x-explain: true``.

    Raises
    ------
    Problem
        422: neither true nor false.
    """
    query = scope["query_string"]
    said = [value.decode("latin-1") for name, value in scope["headers"] if name == HEADER]
    if query:
        said += parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100).get("explain", [])
    if not said:
        return False
    if said[-1].lower() not in _FLAGS:
        raise Problem(422, f"explain is {said[-1][:20]!r}, wanted true or false")
    return _FLAGS[said[-1].lower()]


class Explainer:
    """Explains rows of one model.

    Parameters
    ----------
    scorer : Scorer
        Holds the model and its dataset.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="explain")

    async def explain(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """Per row the base value and each feature's contribution to its log odds: together the score's log odds.

        Raises
        ------
        Problem
            422: more than `MAX_ROWS` rows.
        """
        if len(rows) > MAX_ROWS:
            raise Problem(422, f"at most {MAX_ROWS} rows can be explained in a request, got {len(rows)}")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._explain, rows)

    def _explain(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        dataset = self._scorer.dataset
        found = self._model.explain(dataset.request.columns(rows), dataset.features.row_features).tolist()
        names = [feature.name for feature in self._model.manifest.features]
        return [{"base": row[-1], "contributions": dict(zip(names, row[:-1], strict=True))} for row in found]

    @cached_property
    def _model(self) -> Model:
        own = self._scorer.model
        return Model.build(own.manifest, own.lookups, own.booster_bytes, threads=1)
