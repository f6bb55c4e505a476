"""How a reproduction, a sweep over all runs, and the difference between two runs look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from greenlight.cli.layout import STYLES, figure, outcome_text, plain_table
from greenlight.core.changes import shown

if TYPE_CHECKING:
    from rich.console import RenderableType

SHORTENED = 60  # characters of a value in a table; --json has all of it


def reproduce_views(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The verdict of a reproduction, every output, and what differs."""
    head = verdict_text(str(report["verdict"]))
    yield Text.assemble(head, f": {report['run']}, {report['explanation']} ({report['seconds']:.0f} s)")
    table = plain_table("stage", "output", "recorded", "now", "")
    for output in report["outputs"]:
        same = Text("same", "green") if output["same"] else Text("different", "bold red")
        table.add_row(output["stage"], output["path"], output["recorded"][:10], output["reproduced"][:10], same)
    yield table
    if report.get("stage"):
        yield from ("", f"first difference: stage {report['stage']}, file {report['file']}")
        yield from report["differences"]


def sweep_views(sweep: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A line for every run, and the sum."""
    table = plain_table("run", "outcome", "verdict", "seconds", "first difference")
    table.columns[3].justify = "right"
    table.columns[4].no_wrap = False
    for row in sweep["rows"]:
        seconds = f"{row['seconds']:.1f}"
        verdict = verdict_text(row["verdict"])
        table.add_row(row["run"], outcome_text(row["outcome"]), verdict, seconds, Text(row["first"] or "-"))
    yield table if sweep["rows"] else "No runs yet. Start one: greenlight retrain"
    yield from ("", f"{sweep['explanation']} ({sweep['seconds']:.0f} s)")


def verdict_text(verdict: str) -> Text:
    """A verdict in its colour."""
    return Text(verdict, STYLES.get(verdict.capitalize(), "bold red"))


def diff_views(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What changed between two runs, a section each; what did not change is said in a word."""
    yield f"{_title(found['before'])} -> {_title(found['after'])}"
    yield from _section("verdict", _changes(found["verdict"]))
    yield from _section("metrics", _metrics(found["metrics"]))
    yield from _section("parameters", _changes(found["params"]))
    yield from _section("code", _code(found["commits"], found["files"]))
    yield from _section("snapshot", (_file(file) for file in found["snapshot"]))
    yield from _section("environment", _changes(found["environment"]))


def _title(run: Mapping[str, str]) -> str:
    return f"{run['name']}{' = ' if run['version'] else ''}{run['version']} ({run['outcome']})"


def _section(title: str, lines: Iterable[str]) -> Iterator[RenderableType]:
    found = list(lines)
    yield ""
    yield Text(title if found else f"{title}: the same", "bold" if found else "dim")
    yield from (Text(f"  {line}") for line in found)


def _changes(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for change in found:
        yield f"{change['what']}: {_short(change['before'])} -> {_short(change['after'])}"


def _short(value: object) -> str:
    text = shown(value)
    return text if len(text) <= SHORTENED else f"{text[: SHORTENED - 3]}..."


def _metrics(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for row in found:
        if row["difference"] == 0:
            continue
        gap = "" if row["difference"] is None else f" ({row['difference']:+.4g})"
        yield f"{row['name']}: {figure(row['before'])} -> {figure(row['after'])}{gap}"


def _code(commits: Iterable[str], files: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield from (f"commit {commit}" for commit in commits)
    for file in files:
        lines = "binary" if file["added"] is None else f"+{file['added']} -{file['removed']}"
        yield f"{file['path']}  {lines}"


def _file(file: Mapping[str, Any]) -> str:
    rows = file["rows"]
    if rows is None:
        return f"{file['path']} {file['state']}, cannot be read as a table"
    counts = f"{rows['added']:,} rows added, {rows['removed']:,} removed"
    if rows["key"]:
        counts += f", {rows['changed']:,} changed"
    if rows["columns"]:
        counts += " (" + ", ".join(f"{name} {count:,}" for name, count in rows["columns"].items()) + ")"
    return f"{file['path']} {file['state']}: {counts}" + "".join(f"; {what}" for what in rows["schema"])
