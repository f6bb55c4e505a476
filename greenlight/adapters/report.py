"""The evaluation report: one HTML page that shows what the gates saw.

Self-contained: no script, no font, no picture and no style from elsewhere. The same inputs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Template
from markupsafe import Markup

from greenlight.adapters.pages import environment
from greenlight.adapters.pictures import draw
from greenlight.adapters.strips import forest, strip
from greenlight.core.check import Check, number
from greenlight.core.gates import GATES
from greenlight.core.verdict import Verdict

TEMPLATE = "report.html.j2"
# Metrics on the cards: key, words, whether more is better, what it means.
CARDS = (
    ("roc_auc", "ROC AUC", True, "chance that a positive row ranks above a negative one"),
    ("average_precision", "Average precision", True, "precision averaged over recall"),
    ("log_loss", "Log loss", False, "price of the probabilities, lower is better"),
    ("calibration_error", "Calibration error", False, "mean gap between forecast and what happened"),
)
# Words above a table of evidence.
EVIDENCE = {
    "worst": "what did not pass",
    "lowest": "the three lowest",
    "most": "the three that moved most",
    "strongest": "the five strongest features",
    "not_tested": "too small to test",
    "intervals": "each with its bounds",
    "watched": "beyond the limit, but not beyond chance",
    "changes": "what must not matter",
    "effects": "what must raise the probability",
    "between": "furthest apart",
}
PICTURES = (
    ("roc", "ROC", "Further up and left is better; the dashes are chance."),
    (
        "precision_recall",
        "Precision and recall",
        "Further up is better; the dashes are the share of positives.",
    ),
    (
        "calibration",
        "Calibration",
        "Ten bins of equal count. Above the dashes it happens more often than forecast, below less.",
    ),
    (
        "importance",
        "Feature importance",
        "The candidate: what its splits gained in training, the 15 strongest.",
    ),
)


def render(verdict: Verdict, metrics: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    """The page as text.

    Parameters
    ----------
    verdict : Verdict
        What the gates said.
    metrics, evaluation : mapping
        Contents of metrics.json and evaluation.json, complete as the evaluate stage writes them.
    """
    pictures = draw(evaluation, metrics)
    return _template().render(
        verdict=verdict,
        metrics=metrics,
        evaluation=evaluation,
        models=evaluation["models"],
        cards=_cards(metrics),
        seen=_seen(verdict, evaluation["models"]["champion"]),
        groups=_groups(verdict.checks),
        pictures=[(title, words, Markup(pictures[key])) for key, title, words in PICTURES if key in pictures],
        slices=_slices(verdict, evaluation["slices"]),
        features=sorted(evaluation["features"], key=lambda row: (-(row["gain_share"] or 0), row["name"])),
        unseen=metrics.get("unseen") or {},
    )


@cache
def _template() -> Template:
    page = environment()
    page.filters.update(figure=figure, signed=signed, count=lambda value: f"{value:,}")
    page.globals.update(number=number, titles=EVIDENCE, strip=strip, forest=forest)
    return page.get_template(TEMPLATE)


def figure(value: float | None, digits: int = 3) -> str:
    """A figure with a fixed number of decimals, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign, a dash where there is none."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def _seen(verdict: Verdict, champion: Mapping[str, Any] | None) -> str:
    """Which model has met the holdout before, in a sentence."""
    found = {check.name: check for check in verdict.checks}
    if "holdout_unseen" not in found or found["holdout_unseen"].passed is not True:
        return "It is not sure that the candidate had not seen it in training."
    if champion is None:
        return "The candidate had not seen it in training."
    told = found["champion_roc_auc"].evidence.get("seen_by_champion")
    return f"The champion was {told} it." if told else "Neither model had seen it in training."


def _cards(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    champion = metrics.get("champion") or {}
    cards = []
    for key, words, more_is_better, meaning in CARDS:
        value, theirs = metrics["candidate"].get(key), champion.get(key)
        difference = None if value is None or theirs is None else value - theirs
        better = None
        if difference is not None and abs(difference) >= 0.0005:  # less is shown as 0.000
            better = (difference > 0) == more_is_better
        cards.append(
            {"words": words, "meaning": meaning, "value": value, "champion": theirs}
            | {"difference": difference, "better": better}
        )
    return cards


def _groups(checks: Sequence[Check]) -> list[tuple[str, list[Check]]]:
    """The checks under the headings of their gates, in the gates' order."""
    heading = {gate.name: gate.group for gate in GATES}
    groups: dict[str, list[Check]] = {}
    for check in checks:
        groups.setdefault(heading.get(check.name, "Further checks"), []).append(check)
    return list(groups.items())


def _slices(verdict: Verdict, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The slices by column, largest first, with what the gates made of each."""
    evidence = [check.evidence for check in verdict.checks if check.name.startswith("slices_")]
    untested = {name for found in evidence for name in found.get("not_tested", [])}
    bad = {row["slice"] for found in evidence for row in found.get("worst", [])}
    columns: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (-row["rows"], row["value"])):
        name = f"{row['column']} {row['value']}"
        candidate, champion = row["roc_auc"].get("candidate"), row["roc_auc"].get("champion")
        difference = None if candidate is None or champion is None else candidate - champion
        columns.setdefault(row["column"], []).append(
            {**row, "candidate": candidate, "champion": champion, "difference": difference}
            | {"share": row["positives"] / row["rows"], "untested": name in untested, "bad": name in bad}
        )
    return sorted(columns.items())
