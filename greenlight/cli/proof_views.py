"""How a replay, a self-test and a score card look in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from greenlight.cli.layout import outcome_text, plain_table

if TYPE_CHECKING:
    from rich.console import RenderableType


DECISIONS = {
    "releases": "released",
    "rejected": "rejected",
    "inconclusive": "inconclusive",
    "data_rejected": "data rejected",
}


def replay_views(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The policies, what served, what the decisions did, and the answer."""
    yield from (Text(note, "yellow") for note in found["notes"])
    table = plain_table("policy", "ROC AUC", "log loss", "regret", "decisions")
    for n in (0, 4):
        table.columns[n].no_wrap, table.columns[n].overflow = False, "fold"
    for n in (1, 2, 3):
        table.columns[n].justify = "right"
    for row in found["policies"]:
        figures = (row["mean"]["roc_auc"], row["mean"]["log_loss"], row["regret"]["roc_auc"])
        counts = [f"{row[key]} {words}" for key, words in DECISIONS.items() if row[key]]
        table.add_row(row["name"], *(f"{value:.4f}" for value in figures), ", ".join(counts) or "-")
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
    """ROC AUC and log loss of what served: a line for every policy of a month, which any number of policies fits."""
    table = plain_table("month", "rows", "base rate", "policy", "served", "ROC AUC", "log loss")
    table.columns[3].no_wrap, table.columns[3].overflow = False, "fold"
    for n in (1, 2, 5, 6):
        table.columns[n].justify = "right"
    for n, month in enumerate(found["months"]):
        when = (month["month"], f"{month['rows']:,}", f"{month['base_rate']:.3f}")
        for policy in found["policies"]:
            row = policy["months"][n]
            last = policy is found["policies"][-1]
            figures = (row["version"], f"{row['roc_auc']:.4f}", f"{row['log_loss']:.4f}")
            table.add_row(*when, policy["name"], *figures, end_section=last)
            when = ("", "", "")
    return table


def selftest_views(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A line for every fault, and the sum."""
    table = plain_table("fault", "", "decision", "caught by", "also said no")
    table.columns[3].no_wrap = table.columns[4].no_wrap = False
    for row in (found["control"], *found["faults"]):
        right = row["right"] if row["name"] != found["control"]["name"] else []
        others = [name for name in row["by"] if name not in right]
        mark = Text("ok", "green") if row["caught"] else Text("not caught", "bold red")
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        table.add_row(row["name"], mark, row["decision"], ", ".join(right) or "-", shown)
    yield table
    for row in (found["control"], *found["faults"]):
        if not row["caught"]:
            expected = f"; expected of {', '.join(row['expected'])}" if row["expected"] else ""
            yield Text(f"{row['name']}: {row['what']} {row['said']}{expected}", "red")
    yield ""
    yield f"{found['summary']} ({found['dataset']}, as of {found['period']})"


STYLES = {"automatic": "green", "in part": "yellow", "manual": "yellow", "none": "bold red"}


def scorecard_views(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A line for every test with what it rests on, the sections' sums and the score."""
    table = plain_table("", "test", "", "points", "what is done", "evidence")
    table.columns[3].justify = "right"
    for n, ratio in ((1, 3), (4, 4), (5, 5)):
        table.columns[n].no_wrap, table.columns[n].ratio, table.columns[n].overflow = False, ratio, "fold"
    for section, total in found["sections"].items():
        table.add_row("", Text(f"{section}: {total:g} of 7", "bold"))
        for row in found["tests"]:
            if row["section"] == section:
                evidence = "\n".join(row["evidence"]) or "\n".join(f"missing: {one}" for one in row["missing"]) or "-"
                how = Text(row["how"], STYLES[row["how"]])
                table.add_row(str(row["number"]), row["title"], how, f"{row['points']:g}", row["words"], evidence)
    yield table
    yield ""
    sums = ", ".join(f"{name} {total:g}" for name, total in found["sections"].items())
    yield f"ML Test Score {found['score']:g}, the smallest of: {sums}. It means: {found['meaning']}."
    if not found["ran_tests"]:
        yield "The tests named were found, not run; greenlight scorecard --run runs them."
