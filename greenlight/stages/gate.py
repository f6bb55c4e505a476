"""Stage ``gate``: judge what ``evaluate`` measured and write the verdict for machines, for people and with pictures.

A "no" is written like a "yes": the stage ends well either way, the flow reads the decision.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from greenlight import datasets
from greenlight.config import Params
from greenlight.core.gates import judge
from greenlight.core.model_card import card
from greenlight.errors import StageFailed

EVALUATION = "evaluation.json"


def run(params: Params, root: Path) -> str:
    """Write the verdict as JSON and Markdown, the HTML report and the model card.

    Parameters
    ----------
    params : Params
        Limits, champion and paths.
    root : Path
        The workspace.

    Returns
    -------
    str
        The verdict's summary.

    Raises
    ------
    StageFailed
        The evaluation's files are missing or no JSON.
    """
    from greenlight.adapters import model_card as card_page
    from greenlight.adapters.report import render

    paths = params.paths
    metrics = _read(root / paths.metrics)
    evaluation = _read(root / paths.evaluation / EVALUATION)
    verdict = judge(metrics, evaluation, params.gates, champion=params.champion.version, judged=params.judged)
    _write(root / paths.verdict, verdict.text())
    _write(root / paths.verdict_markdown, verdict.markdown(metrics))
    _write(root / paths.report, render(verdict, metrics, evaluation))
    about = getattr(datasets.load(params.dataset).judging, "CARD", {})
    made = card(verdict, metrics, evaluation, about)
    _write(root / paths.model_card, made.markdown())
    _write(root / paths.model_card_page, card_page.render(made))
    return verdict.summary()


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise StageFailed(f"no evaluation to judge: {exc}", where=str(path), todo="run the stage evaluate") from exc
    if not isinstance(found, dict):
        raise StageFailed("no evaluation to judge: not a JSON object", where=str(path), todo="run the stage evaluate")
    return found


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
