"""How a replay, a self-test and a score card look in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from greenlight.cli.views import _table, outcome_text

if TYPE_CHECKING:
    from rich.console import RenderableType


def replay_views(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The policies, what served, what the decisions did, and the answer."""
    yield from (Text(note, "yellow") for note in found["notes"])
    table = _table("policy", "ROC AUC", "log loss", "regret", "releases", "rejected", "inconclusive", "data rejected")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in found["policies"]:
        figures = (row["mean"]["roc_auc"], row["mean"]["log_loss"], row["regret"]["roc_auc"])
        counts = (row["releases"], row["rejected"], row["inconclusive"], row["data_rejected"])
        table.add_row(row["name"], *(f"{value:.4f}" for value in figures), *map(str, counts))
    yield table
    yield ""
    yield _served(found)
    yield ""
    for row in found["decisions"]:
        if row["outcome"] != "NotRetrained":
            outcome = outcome_text(row["outcome"])
            yield Text.assemble(f"{row['month']}  {row['policy']}: ", outcome, f"; {row['words']}")
    yield ""
    yield from found["answer"]


def _served(found: Mapping[str, Any]) -> RenderableType:
    """ROC AUC and log loss of what served, a line for every month."""
    names = [policy["name"] for policy in found["policies"]]
    table = _table("month", "rows", "base rate", *names)
    for column in table.columns[1:]:
        column.justify = "right"
    for n, month in enumerate(found["months"]):
        cells = []
        for policy in found["policies"]:
            row = policy["months"][n]
            cells.append(f"{row['version']} {row['roc_auc']:.4f} / {row['log_loss']:.4f}")
        table.add_row(month["month"], f"{month['rows']:,}", f"{month['base_rate']:.3f}", *cells)
    return table
