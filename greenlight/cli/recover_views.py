"""How the answers of :mod:`greenlight.cli.recover` look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from greenlight.cli.layout import facts_table, plain_table

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 20
UNITS = ("bytes", "kB", "MB", "GB", "TB")


def backup_view(report: Mapping[str, Any]) -> RenderableType:
    """What a backup sent."""
    lines = [f"{report['objects']} objects and {len(report['refs'])} refs sent."]
    if report["labels"]:
        lines.append(f"{report['labels']} labels are in the DVC remote.")
    if report["branch_commits_behind"]:
        lines.append(
            f"Your branch has {report['branch_commits_behind']} commits that origin lacks: git push origin HEAD"
        )
    lines += [f"{name}: {', '.join(paths)} is nowhere intact." for name, paths in report["lost"].items()]
    return "\n".join(lines)


def restore_view(report: Mapping[str, Any]) -> RenderableType:
    """What came back, and what did not."""
    live = report["live"]
    head = Text("Nothing has served yet; the history is here.", "yellow")
    if live:
        head = Text.assemble((live, "bold green"), " serves", " already" if report["already_live"] else "")
        head.append(f" at {report['edge_url']}")
    gone = {name: paths for name, paths in report["missing"].items() if name in report["lost"]}
    lacks = [f"{name} ({', '.join(paths)})" for name, paths in gone.items()]
    facts = {
        "back": f"{report['runs']} runs, {report['versions']} versions, {len(report['history'])} releases",
        "served": " -> ".join(entry["version"] for entry in report["history"][-8:]),
        "verified": report["verified"],
        "seconds": ", ".join(f"{step} {value:.1f}" for step, value in report["seconds"].items()),
        "in all": f"{report['total_seconds']:.1f} s",
        "missing": Text(f"the DVC remote lacks data of {', '.join(lacks)}", "yellow") if lacks else "",
        "labels": f"{report['labels']} that were not here" if report["labels"] else "",
        "labels missing": Text(f"the DVC remote lacks those of {', '.join(report['labels_missing'])}", "yellow")
        if report["labels_missing"]
        else "",
    }
    return Group(head, facts_table(facts))


def gc_view(plan: Mapping[str, Any], *, done: bool) -> RenderableType:
    """What goes, what stays and why, and how much that frees."""
    verb = "gone" if done else "would go"
    table = plain_table("run", "", "why")
    stays = "from this machine; it still reproduces"
    for name in plan["dropped"][:SHOWN]:
        how = "broke off before its record" if name in plan["broken"] else "for good" if plan["forget"] else stays
        table.add_row(name, Text(verb, "red"), how)
    for name, why in list(plan["kept"].items())[:SHOWN]:
        table.add_row(name, Text("stays", "green"), why)
    more = max(0, len(plan["dropped"]) - SHOWN) + max(0, len(plan["kept"]) - SHOWN)
    if more:
        table.add_row(f"and {more} more", "", "--json has all")
    counts = {
        "run folders": len(plan["run_folders"]),
        "refs": len(plan["refs"]),
        "refs in origin": len(plan["origin_refs"]),
        "cached objects": plan["cache_objects"],
        "remote objects": plan["remote_objects"],
        "bentos": len(plan["bentos"]),
        "leftovers": len(plan["leftovers"]),
        "left by a gc that broke off": len(plan["unfinished"]),
    }
    what = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"
    freed = f"frees {_size(plan['frees_bytes'])} here"
    if plan["frees_remote_bytes"]:
        freed += f" and {_size(plan['frees_remote_bytes'])} in the remote"
    if done:
        freed = freed.replace("frees", "freed", 1)
    parts: list[Any] = [table] if table.row_count else []
    parts.append(Text(f"{verb.capitalize()}: {what}; {freed}.", "bold"))
    parts += [Text(note, "yellow") for note in plan["notes"]]
    if not done and what != "nothing":
        parts.append(Text("Nothing was dropped; --yes does it."))
    return Group(*parts)


def drill_view(report: Mapping[str, Any]) -> RenderableType:
    """Seconds of both moves."""
    table: Table = plain_table("move", "first answer", "last old answer", "done", "steps")
    for title, move in (("back", report["back"]), ("forward", report["forward"])):
        steps = ", ".join(f"{name} {value:.1f}" for name, value in move["steps"].items())
        cells = [f"{move[key]:.2f} s" for key in ("switched_s", "last_old_s", "done_s")]
        table.add_row(f"{title} to {move['version']}{', warm' if move['warm'] else ''}", *cells, steps)
    style = "bold red" if report["failed"] else "green"
    asked = Text(f"{report['requests']} requests asked meanwhile, {report['failed']} failed", style)
    end = Text(f"{report['live']} is live again; the ledger has two more entries. Kept in {report['record']}")
    return Group(table, asked, *(Text(failure, "red") for failure in report["failures"]), end)


def _size(count: float) -> str:
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return ""
