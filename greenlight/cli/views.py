"""How answers look: plain JSON values in, Rich renderables out, good at 80 columns and in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from greenlight.cli.layout import facts_table, figure, moment, outcome_text, plain_table
from greenlight.cli.release_views import under_way_view

if TYPE_CHECKING:
    from rich.console import RenderableType

    from greenlight.wiring import Project

NARROW = 110  # below this many columns a table leaves out what can be asked for otherwise
STATES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
SHORT = {
    "roc_auc": "ROC AUC",
    "average_precision": "avg. prec.",
    "log_loss": "log loss",
    "calibration_error": "calibration",
}


def runs_view(runs: Sequence[Mapping[str, Any]], width: int) -> RenderableType:
    """The list of runs."""
    if not runs:
        return "No runs yet. Start one: greenlight retrain"
    narrow = width < NARROW
    metrics = [name for name in SHORT if any(name in run["metrics"] for run in runs)]
    if narrow:
        metrics = metrics[:1]
    table = plain_table("run", "as of", "outcome", "version")
    for name in metrics:
        table.add_column(SHORT[name], justify="right", no_wrap=True)
    if not narrow:
        table.add_column("created", no_wrap=True)
    for run in runs:
        cells = [run["name"], run["as_of"], outcome_text(run["outcome"]), run["version"] or "-"]
        cells += [figure(run["metrics"].get(name)) for name in metrics]
        table.add_row(*cells, *([] if narrow else [moment(run["created"])]))
    return table


def run_views(run: Mapping[str, Any], project: Project) -> Iterator[RenderableType]:
    """Everything about one run."""
    yield facts_table(_run_facts(run))
    if run["reason"]:
        yield Text(f"\n{reason_text(run)}")
    if run["verdict"]:
        yield from ("", verdict_view(run["verdict"]))
    elif run["validation"]:
        yield from ("", "\n".join(contract_lines(run["validation"])))
    if run["evaluation"]:
        yield from ("", metrics_view(run["evaluation"]))
    if run["stages"]:
        yield from ("", stages_view(run["stages"]))
    reports = report_paths(project, run["name"])
    if reports:
        yield from ("", facts_table(reports))


def _run_facts(run: Mapping[str, Any]) -> dict[str, Any]:
    device, code, champion = run["device"], run["code"], run["champion"]
    return {
        "run": run["name"],
        "outcome": outcome_text(run["outcome"]),
        "version": run["version"],
        "as of": run["as_of"],
        "created": moment(run["created"]),
        "started by": run["trigger"],
        "champion": " ".join(filter(None, (champion.get("version", ""), champion.get("run", "")))),
        "device": " ".join(filter(None, (device.get("kind", ""), device.get("name", ""), device.get("driver", "")))),
        "commit": run["commit"][:12],
        "code": code.get("commit", "")[:12] + (" with uncommitted changes" if code.get("uncommitted_changes") else ""),
        "python": run["environment"].get("python", ""),
        "xgboost": run["environment"].get("libraries", {}).get("xgboost", ""),
        "bill of materials": f"git show {run['commit'][:12]}:{run['sbom']}" if run["sbom"] else "",
    }


def reason_text(run: Mapping[str, Any]) -> str:
    """Why a run ended so; that its gates said yes comes first where something else held it back."""
    held_back = run["outcome"] == "KeptChampion" and (run.get("verdict") or {}).get("decision") == "promote"
    return f"The gates said yes; held back because {run['reason']}" if held_back else str(run["reason"])


def verdict_view(verdict: Mapping[str, Any]) -> RenderableType:
    """The checks of a verdict with value and limit."""
    table = plain_table("", "check", "value", "limit", "why")
    table.columns[2].justify = table.columns[3].justify = "right"
    table.columns[4].no_wrap = False
    marks = {True: Text("yes", "green"), False: Text("no", "bold red"), None: Text("?", "yellow")}
    for check in verdict.get("checks", ()):
        value, limit = figure(check["value"]), figure(check["limit"])
        why = check["explanation"]
        if given := check.get("override"):
            why += f" Overridden by {given['by']} until {given['expires']}: {given['reason']}"
        table.add_row(marks[check["passed"]], check["name"], value, limit, why)
    return table


def contract_lines(validation: Mapping[str, Any]) -> list[str]:
    """What the contract said, with the failing expectations and example rows."""
    from greenlight.core.contract_report import ContractReport, report_text

    return report_text(ContractReport.from_json(validation)).splitlines()


def metrics_view(evaluation: Mapping[str, Any]) -> RenderableType:
    """Candidate and champion on the same holdout."""
    candidate, champion = evaluation.get("candidate") or {}, evaluation.get("champion") or {}
    table = plain_table("metric", "candidate", "champion")
    table.columns[1].justify = table.columns[2].justify = "right"
    for name, value in candidate.items():
        if isinstance(value, int | float):
            table.add_row(name, figure(value), figure(champion.get(name)))
    return table


def stages_view(stages: Iterable[Mapping[str, Any]]) -> RenderableType:
    """Seconds per stage."""
    table = plain_table("stage", "seconds", "what")
    table.columns[1].justify = "right"
    table.columns[2].no_wrap = False
    for stage in stages:
        what = stage["summary"] if stage["executed"] else "unchanged, from the cache"
        table.add_row(stage["stage"], f"{stage['seconds']:.1f}", what)
    return table


def verify_views(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What verifying a version found, every file that is not as it was signed, and what to do."""
    yield Text(report["summary"], "green" if report["passed"] else "bold red")
    table = plain_table("", "what", "found")
    table.columns[2].no_wrap = False
    table.columns[2].overflow = "fold"
    for finding in report["findings"]:
        found = Text("\n".join([finding["found"], *(f"- {file}" for file in finding["files"])]))
        table.add_row(Text("yes", "green") if finding["passed"] else Text("no", "bold red"), finding["name"], found)
    yield table
    if report["todo"]:
        yield Text(f"-> {report['todo']}", "bold")


def status_view(status: Mapping[str, Any]) -> RenderableType:
    """What serves, where, and what runs."""
    live = status["live"]
    serving = Text("nothing yet; greenlight retrain", "yellow")
    if live["version"]:
        since = f" since {moment(live['since'])}" if live.get("since") else ""
        warm = f"; on standby: {', '.join(live['standby'])}" if live.get("standby") else ""
        serving = Text.assemble((live["version"], "bold green"), f" (run {live.get('run') or 'unknown'}{since}){warm}")
        for given in live.get("overridden", ()):
            serving.append("\n{gate} overridden by {by} until {expires}: {reason}".format(**given), "yellow")
    down = [process for process in status["processes"] if process["state"] != "active" or not process["pid"]]
    state = Text("up", "green") if status.get("up") else Text("down; greenlight up starts it", "yellow")
    if down and status.get("processes"):
        names = ", ".join(f"{process['name']} ({process['state']})" for process in down)
        state = Text(f"not all of it runs: {names}; greenlight up mends it", "bold red")
    if status.get("note"):
        state = Text(status["note"], "bold red")
    running = [f"{p['name']} (pid {p['pid']})" for p in status["processes"] if p["pid"]]
    under_way = under_way_view(status.get("release") or {})
    facts = facts_table(
        {
            "live": serving,
            "stack": state,
            **status["urls"],
            "processes": ", ".join(running),
            "served": " -> ".join(entry["version"] for entry in status["history"][-8:]),
        }
    )
    return Group(facts, under_way) if under_way else facts


def doctor_view(report: Mapping[str, Any]) -> RenderableType:
    """Each check with what to do about it."""
    table = plain_table("", "what", "found")
    table.columns[2].no_wrap = False
    for check in report["checks"]:
        found = Text(check["found"])
        if check["todo"]:
            found.append(f"\n-> {check['todo']}", "bold")
        table.add_row(Text(check["state"], STATES[check["state"]]), check["name"], found)
    return table


def report_paths(project: Project, run: str) -> dict[str, str]:
    """The pages of a run that lie on this machine, by title."""
    folder = project.settings.home / "runs" / run
    paths = project.params.paths
    docs = folder / paths.data_docs
    pages = {"evaluation": folder / paths.report, "contract": docs / "report.html", "data docs": docs / "index.html"}
    return {title: str(path) for title, path in pages.items() if path.is_file()}
