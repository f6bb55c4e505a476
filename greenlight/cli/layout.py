"""What all views are laid out of: tables, facts, figures, moments and the colours of outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

STYLES = {
    "Promoted": "green",
    "Identical": "green",
    "Equivalent": "green",
    "KeptChampion": "yellow",
    "Inconclusive": "yellow",
    "Joined": "cyan",
    "NothingNew": "cyan",
    "Waiting": "yellow",
    "RolledBack": "red",
    "Running": "cyan",
    "DataRejected": "red",
    "Failed": "red",
    "Crashed": "red",
    "Cancelled": "red",
}


def outcome_text(outcome: str) -> Text:
    """An outcome in its colour."""
    return Text(outcome, STYLES.get(outcome, ""))


def moment(stamp: str) -> str:
    """An ISO 8601 moment in local time, to the minute; anything else as it is."""
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return stamp


def figure(value: Any) -> str:
    """A number for a table: whole from 10 on, else four decimals; a dash for None, anything else as it is."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 10 else f"{value:.4f}"


def plain_table(*columns: str) -> Table:
    """An empty table with these headings, of the one look that all have; columns do not wrap."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table


def facts_table(facts: Mapping[str, Any]) -> Table:
    """Names and values, without those that are empty."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(name, value if isinstance(value, Text) else Text(str(value)))
    return table
