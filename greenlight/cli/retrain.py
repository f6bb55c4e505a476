"""``greenlight retrain``: check, bring the stack up, start the deployment, follow it, say how it ended."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from greenlight.adapters.prefect_runs import (
    FinalState,
    LogLine,
    Stage,
    Watcher,
    follow,
    run_page,
    start_run,
    unfinished,
)
from greenlight.cli.stack import bring_up
from greenlight.cli.terminal import INTERRUPTED, console, say, stopwatch
from greenlight.errors import GreenlightError
from greenlight.wiring import Project, open_project

if TYPE_CHECKING:
    from rich.console import RenderableType

DEPLOYMENT = "retrain/retrain"
RUN_NAME = re.compile(r"\b\d{4}-\d{2}-[0-9a-f]{6}\b")
WARNING = 30
WAITING = {
    "AwaitingConcurrencySlot": "another retrain is at work; this one waits for its turn",
    "Late": "no worker has taken it yet; greenlight status says what runs",
}
# What Prefect says about itself; a person who follows a run wants to read about the run.
CHATTER = re.compile(
    r"Beginning |Finished in state|View at |Running \d+ deployment|Executing deployment|Deployment step|"
    r"All deployment steps|Downloading flow code|Created (task|subflow)|Process for flow run"
)


@dataclass(frozen=True)
class Answer:
    """How the retrain went.

    Attributes
    ----------
    outcome : str
        Name of the final state, ``Started`` when it is not followed, ``Following stopped`` after Ctrl-C.
    reason : str
    page : str
        Address of the run's page in the Prefect UI.
    exit_code : int
    run : str
        Name of the run; empty when it came to none.
    record : dict
        What is recorded of the run.
    reports : dict of str to str
        Pages on this machine, by title.
    example : str
        A request to paste, while a version is live.
    """

    outcome: str
    reason: str
    page: str
    exit_code: int
    run: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    reports: dict[str, str] = field(default_factory=dict)
    example: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "run": self.run,
            "version": self.record.get("version", ""),
            "metrics": self.record.get("metrics", {}),
            "page": self.page,
            "reports": self.reports,
            "example": self.example,
        }

    def views(self) -> Iterator[RenderableType]:
        """For a terminal."""
        from rich.text import Text

        from greenlight.cli import views

        head = views.outcome_text(self.outcome)
        head.stylize("bold")
        yield Text.assemble(head, f": {self.reason}" if self.reason else "")
        verdict = self.record.get("verdict") or {}
        if self.outcome == "DataRejected" and self.record.get("validation"):
            yield from ("", "\n".join(views.contract_lines(self.record["validation"])))
        elif verdict:
            yield from ("", views.verdict_view(verdict))
        yield from ("", *(f"{title}: {path}" for title, path in (self.reports | {"page": self.page}).items()))
        if self.example:
            yield from ("", "Ask the version that is live:", "", self.example)


def run_retrain(*, as_of: str, device: str, detach: bool) -> Answer:
    """Retrain through the deployment, as the schedule and the UI do.

    Raises
    ------
    UsageError, ConfigError
        The parameters or the device are wrong; nothing was started.
    ServerError, OrchestratorError
        The stack does not come up, or Prefect was silent for too long.
    """
    project = open_project()
    parameters = _checked(project, as_of, device)
    say("bringing the stack up")
    bring_up(project.settings)
    ahead = len(unfinished(project.settings, DEPLOYMENT))
    flow_run = start_run(project.settings, DEPLOYMENT, parameters, tags=["cli"])
    page = run_page(project.settings, flow_run)
    say(f"started {DEPLOYMENT}: {page}")
    if ahead:
        say(f"  {ahead} retrain{'s' if ahead > 1 else ''} before this one; it waits for its turn", style="yellow")
    if detach:
        return Answer("Started", "follow it on its page, or with greenlight runs", page, 0)
    try:
        final = _follow(project, flow_run)
    except KeyboardInterrupt:
        reason = "the run itself goes on; greenlight runs shows how it ends, and its page can cancel it"
        return Answer("Following stopped", reason, page, INTERRUPTED)
    return _answer(project, final, page)


def _checked(project: Project, as_of: str, device: str) -> dict[str, str]:
    """The flow's parameters, after every mistake that can be found without work was looked for."""
    from greenlight.operations.plan import plan

    plan(project, as_of=as_of, device=device)  # what it finds, the run itself says
    return {"as_of": as_of or project.params.data.as_of, **({"device": device} if device else {})}


def _follow(project: Project, flow_run: str) -> FinalState:
    """Show what the run does until it has ended."""
    with console(stderr=True).status("waiting for the worker") as status:
        teller = Teller(status.update)
        return follow(project.settings, flow_run, Watcher(teller.on_log, teller.on_stage, teller.on_state))


class Teller:
    """Tells a person what a run does: one line for everything that it says, with the time since the start.

    Parameters
    ----------
    now : callable
        Takes what is being done at the moment.
    """

    def __init__(self, now: Callable[[str], None]) -> None:
        self.now = now
        self.elapsed = stopwatch()

    def on_log(self, line: LogLine) -> None:
        """A line of the run; what Prefect says about itself is left out."""
        if line.level < WARNING and (CHATTER.match(line.message) or line.logger.endswith(".worker")):
            return
        stage = "" if not line.stage or line.message.startswith(f"{line.stage}:") else f"{line.stage}: "
        style = "red" if line.level > WARNING else "yellow" if line.level == WARNING else ""
        say(f"{self.elapsed():>6}  {stage}{line.message}", style=style)

    def on_stage(self, stage: Stage) -> None:
        """A task has begun or ended."""
        if stage.state == "RUNNING":
            self.now(stage.name)

    def on_state(self, name: str) -> None:
        """The run as a whole is in another state."""
        if name in WAITING:
            say(f"{self.elapsed():>6}  {WAITING[name]}", style="yellow")
        self.now(name.lower())


def _answer(project: Project, final: FinalState, page: str) -> Answer:
    from greenlight.cli.views import report_paths

    named = RUN_NAME.search(final.message)
    run = named[0] if named else ""
    return Answer(
        outcome=final.name,
        reason=final.message,
        page=page,
        exit_code=0 if final.type == "COMPLETED" else 3 if final.name == "DataRejected" else 1,
        run=run,
        record=_record(project, run),
        reports=report_paths(project, run) if run else {},
        example=example(project),
    )


def _record(project: Project, run: str) -> dict[str, Any]:
    """What is recorded of the run; nothing if it broke off before its record."""
    from greenlight.operations.runs import get_run

    try:
        return get_run(project, run) if run else {}
    except GreenlightError:
        return {}


def example(project: Project) -> str:
    """A request to paste into a shell; empty while nothing serves."""
    from greenlight import datasets
    from greenlight.operations import stack

    status = stack.status(project.settings)
    if not status.live["version"]:
        return ""
    rows = json.dumps({"rows": [datasets.load(project.params.dataset).request.EXAMPLE]})
    url = shlex.quote(status.urls["predict"])
    return f"curl -s {url} -H 'content-type: application/json' -d {shlex.quote(rows)}"
