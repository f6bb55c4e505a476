"""How a release looks: what it did, or where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from greenlight.cli.layout import facts_table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def release_view(report: Mapping[str, Any]) -> RenderableType:
    """What a release or a rollback did."""
    if report.get("already_live"):
        return f"{report['version']} serves already; nothing was done."
    given = "".join(
        "\n{gate} overridden by {by} until {expires}: {reason}".format(**row) for row in report.get("overridden", ())
    )
    by_hand = Text(given, "yellow")
    if report.get("outcome", "promoted") != "promoted":
        outcome, style = str(report["outcome"]), "yellow" if report["outcome"] == "waiting" else "bold red"
        told = "waits" if outcome == "waiting" else outcome.replace("_", " ")
        why = f": {report['reason']}" if report["reason"] else ""
        ways = "".join(f"\n  {way.replace('`', '')}" for way in report.get("ways_on", ()))
        return Text.assemble((f"{report['asked']} {told}", style), f"{why}\n{report['version']} serves{ways}", by_hand)
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in report["seconds"].items())
    before = f", before it {report['previous']}" if report["previous"] else ""
    test = (report.get("evidence") or {}).get("notes", {}).get("ab", "")
    told = f"\n{test}" if test else ""
    return Text.assemble((f"{report['version']} serves", "green"), f"{before} ({seconds}){told}", by_hand)


def under_way_view(release: Mapping[str, Any]) -> Table | None:
    """A release by steps: where it is, what it was asked, what it waits for; nothing without one."""
    if not release:
        return None
    known = release["evidence"]
    asked = f"{known['step_requests']} in this step, {known['requests']} in all" if known else "nothing yet"
    state = "paused; greenlight release --resume" if release["paused"] else ""
    if release["waits_for"]:
        state = f"waits for {release['waits_for']}; greenlight release drives it on"
    notes = known.get("notes", {}) if known else {}
    share = f"{release['weight'] / 100:g} % of the requests" if release["weight"] else "no users"
    if release["mirror"]:
        share = f"copies of {release['mirror'] / 100:g} % of the requests"
    return facts_table(
        {
            "release": Text.assemble((str(release["where"]), "bold"), f", beside {release['stable']}"),
            "has": share,
            "asked": asked,
            "state": Text(state, "yellow") if state else "",
            "evidence": "\n".join(known.get("findings", ())) if known else "",
            "labels": notes.get("labels", ""),
            "hypothesis": release["hypothesis"],
            "A/B": str(notes.get("ab", "")).removeprefix("A/B: "),
            "next": f"{release['next']} waits for its turn" if release["next"] else "",
        }
    )
