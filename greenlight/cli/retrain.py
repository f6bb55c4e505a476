"""``greenlight retrain``: check, bring the stack up, start the deployment, follow it, say how it ended."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any, get_args

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
from greenlight.cli.answer import Answer, handed_in
from greenlight.cli.stack import bring_up
from greenlight.cli.terminal import INTERRUPTED, console, say, stopwatch
from greenlight.config import PERIOD, Device
from greenlight.errors import ConfigError, GreenlightError
from greenlight.wiring import Project, open_project

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
# The same at every level: the flow tells an error of ours in words, and one with a traceback is longer than a line.
ECHO = re.compile(r"Finished in state|Task run failed with (?!.* - Retry \d)[^\n]*\Z")


def run_retrain(*, as_of: str, device: str, detach: bool, own: Sequence[str] = ()) -> Answer:
    """Retrain through the deployment, as the schedule and the UI do.

    Raises
    ------
    UsageError, ConfigError
        The parameters or the device are wrong; nothing was started.
    ServerError, OrchestratorError
        The stack does not come up, or Prefect was silent for too long.
    """
    project = open_project()
    parameters = _checked(project, as_of, device, own)
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


def _checked(project: Project, as_of: str, device: str, own: Sequence[str]) -> dict[str, Any]:
    """The flow's parameters, after every mistake that can be found without work was looked for."""
    from greenlight.operations.known_versions import mend
    from greenlight.operations.overrides import parse
    from greenlight.operations.plan import plan

    _check_flags(as_of, device)
    overrides = parse(own)
    for line in mend(project):  # before the plan, which would put it back too and whose warnings nobody sees here
        say(line, style="yellow")
    plan(project, as_of=as_of, device=device, overrides=overrides)  # what it finds, the run itself says
    wanted = as_of or overrides.pop("data.as_of", "") or project.params.data.as_of
    given = {"device": device, "overrides": overrides}
    return {"as_of": wanted, **{name: value for name, value in given.items() if value}}


def _check_flags(as_of: str, device: str) -> None:
    """Refuse what is wrong with a flag alone, naming the flag: params.yaml has no part in it."""
    from greenlight.adapters import device as devices

    if as_of and as_of != "next" and not PERIOD.match(as_of):
        what = f"{as_of!r} is neither a month such as 2013-08 nor 'next'"
        raise ConfigError(what, where="--as-of", todo="greenlight retrain --as-of 2013-08, or leave the flag out")
    known = get_args(Device)
    if device and device not in known:
        what = f"{device!r} is no device; there are {', '.join(known)}"
        raise ConfigError(what, where="--device", todo="greenlight retrain --device auto, or leave the flag out")
    try:
        if device:
            devices.resolve(device)
    except ConfigError as exc:
        what = exc.what.replace("train.device", "--device")
        todo = "run on a machine with an NVIDIA GPU and its driver, or greenlight retrain --device auto"
        raise ConfigError(what, where="--device", todo=todo) from exc


def _follow(project: Project, flow_run: str) -> FinalState:
    """Show what the run does until it has ended."""
    with console(stderr=True).status("waiting for the worker") as status:
        teller = Teller(status.update)
        final = follow(project.settings, flow_run, Watcher(teller.on_log, teller.on_stage, teller.on_state))
        teller.tell_rest(final.message)
        return final


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
        self.said: dict[str, str] = {}  # the last words of each stage
        self.kept: list[LogLine] = []

    def on_log(self, line: LogLine) -> None:
        """A line of the run; what Prefect says about itself, and what was just said, are left out."""
        if ECHO.match(line.message):
            return
        if line.level < WARNING and (CHATTER.match(line.message) or line.logger.endswith(".worker")):
            return
        if line.level > WARNING and not line.stage and line.logger.endswith(".flow_runs"):
            self.kept.append(line)  # most likely why the run ends, and that is in the answer
            return
        self._tell(line)

    def tell_rest(self, reason: str) -> None:
        """The errors of the flow itself that the run's `reason` does not hold already."""
        for line in self.kept:
            if line.message not in reason:
                self._tell(line)
        self.kept.clear()

    def _tell(self, line: LogLine) -> None:
        message, before = line.message, self.said.get(line.stage, "")
        headline, _, rest = message.partition("\n")
        if line.stage and headline in before:
            message = rest.lstrip("\n")
        self.said[line.stage] = line.message
        if not message:
            return
        stage = "" if not line.stage or message.startswith(f"{line.stage}:") else f"{line.stage}: "
        style = "red" if line.level > WARNING else "yellow" if line.level == WARNING else ""
        say(f"{self.elapsed():>6}  {stage}{message}", style=style)

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
    from greenlight.cli import views

    named = RUN_NAME.search(final.message)
    run = named[0] if named else ""
    record = _record(project, run)
    reason = final.message
    if record and reason == f"{run}: {record['reason']}":
        reason = f"{run}: {views.reason_text(record)}"
    return Answer(
        outcome=final.name,
        reason=reason,
        page=page,
        exit_code=0 if final.type == "COMPLETED" else 3 if final.name == "DataRejected" else 1,
        run=run,
        record=record,
        reports=views.report_paths(project, run) if run else {},
        example=example(project),
        mend=handed_in(project, record) if final.name == "DataRejected" else (),
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
    key = " -H 'authorization: Bearer <key>'" if project.settings.client_keys else ""
    return f"curl -s {url}{key} -H 'content-type: application/json' -d {shlex.quote(rows)}"
