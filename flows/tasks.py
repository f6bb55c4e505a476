"""The tasks: each calls one operation, logs one line, and leaves what a person wants to read as an artifact."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from greenlight.adapters.registry import Version
from greenlight.config import Settings
from greenlight.core.contract_report import ContractReport, report_markdown, report_text
from greenlight.core.verdict import Verdict
from greenlight.errors import GreenlightError
from greenlight.operations import leftovers, predictions, retrain, sweep, turns
from greenlight.operations import release as releases
from greenlight.operations import rollback as rollbacks
from greenlight.operations import step_in as stepping
from greenlight.operations.plan import Plan
from greenlight.operations.plan import plan as make_plan
from greenlight.operations.release import ReleaseReport
from greenlight.operations.reproduction import ReproduceReport
from greenlight.operations.retrain import Run
from greenlight.operations.serving import Serving
from greenlight.operations.sweep import Sweep
from greenlight.operations.turns import Alone
from greenlight.proof import replay as replays
from greenlight.wiring import open_project


def _can_wait(_: Any, __: Any, state: Any) -> bool:
    """Retry what waiting can mend (a lock, a network), never a verdict or a mistake."""
    try:
        state.result()
    except GreenlightError as exc:
        return exc.retryable
    except Exception:  # noqa: BLE001 - any other exception is a bug, and a bug is not retried
        return False
    return False


PLAIN: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
RETRIED: dict[str, Any] = {
    **PLAIN,
    "retries": 3,
    "retry_delay_seconds": [2, 10, 30],
    "retry_condition_fn": _can_wait,
}


@task(name="plan", task_run_name="plan", **PLAIN)
def plan(as_of: str, device: str, overrides: dict[str, Any] | None = None) -> Plan:
    """Resolve month, champion, parameters and device; find every mistake before any work."""
    project, log = open_project(), get_run_logger()
    leftovers.sweep(project, log.info)
    found = make_plan(project, as_of=as_of, device=device, overrides=overrides)
    for warning in found.warnings:
        log.warning("%s", warning)
    log.info("%s", found.nothing_new or found.describe())
    return found


@task(name="workspace", task_run_name="workspace", **RETRIED)
def workspace(plan: Plan) -> Run:
    """Clone the repository at its commit and lay out what the stages read."""
    run, log = retrain.begin(open_project(), plan), get_run_logger()
    log.info("%s", run.where())
    for warning in run.workspace.warnings:
        log.warning("%s", warning)
    return run


@task(name="stage", task_run_name="{name}", **RETRIED)
def stage(run: Run, name: str) -> None:
    """Bring one DVC stage up to date."""
    get_run_logger().info("%s", run.stage(name))


@task(name="validate", task_run_name="validate", **RETRIED)
def validate(run: Run) -> ContractReport:
    """Check the snapshot against the contract."""
    log = get_run_logger()
    log.info("%s", run.stage("validate"))
    report = run.contract()
    create_markdown_artifact(report_markdown(report) + run.links("data_docs"), key="contract")
    if not report.passed or report.warnings:
        log.warning("%s", report_text(report))
    return report


@task(name="gate", task_run_name="gate", **RETRIED)
def gate(run: Run) -> Verdict:
    """Judge the candidate."""
    get_run_logger().info("%s", run.stage("gate"))
    verdict = run.verdict()
    create_markdown_artifact(verdict.markdown() + run.links("report"), key="verdict")
    return verdict


def alone(plan: Plan) -> AbstractContextManager[Alone]:
    """The turn of this retrain among those that ask for the same. No task: it is held by the flow."""
    return turns.alone(open_project(), plan, get_run_logger().info)


def promotion(run: Run, verdict: Verdict) -> AbstractContextManager[None]:
    """The turn to be promoted, for a candidate that passed its gates. No task: it is held by the flow."""
    return turns.promotion(run, get_run_logger().info) if verdict.promoted else nullcontext()


@task(name="challenge", task_run_name="challenge", **RETRIED)
def challenge(run: Run, verdict: Verdict) -> Verdict:
    """Compare with the champion of this moment, if another one serves by now than the plan knew."""
    if not verdict.promoted:
        return verdict
    log = get_run_logger()
    found = turns.challenge(run, verdict, log.info)
    if found is not verdict:
        for warning in run.workspace.warnings:
            log.warning("%s", warning)
        create_markdown_artifact(found.markdown() + run.links("report"), key="verdict")
    return found


@task(name="withdrawn", task_run_name="withdrawn", **PLAIN)
def withdrawn(run: Run, verdict: Verdict) -> str:
    """Whether the candidate is a version that somebody rolled back from; returns why it is not released again."""
    why = run.withdrawn() if verdict.promoted else ""
    if why:
        get_run_logger().warning("%s", why)
    return why


@task(name="record", task_run_name="record", **RETRIED)
def record(run: Run, outcome: str, why: ContractReport | Verdict | str) -> str:
    """Push the data, then save the run as an experiment."""
    commit = run.record(outcome, why, started_by())
    get_run_logger().info("recorded %s as %s (commit %s)", run.name, outcome, commit[:10])
    return commit


@task(name="register", task_run_name="register", **PLAIN)
def register(run: Run, commit: str) -> Version:
    """Give the run its version."""
    version = run.register(commit)
    get_run_logger().info("registered %s", version.name)
    return version


@task(name="build", task_run_name="build", **PLAIN)
def build(run: Run, version: Version) -> None:
    """Build the version's bento."""
    get_run_logger().info("%s", run.build(version))


@task(name="release", task_run_name="release", **PLAIN)
def release(
    version: str,
    instead_of: str | None = None,
    strategy: str = "",
    supersede: bool = False,
    unattended: bool = False,
) -> ReleaseReport:
    """Preflight, start, then all at once or step by step; without a version whatever is under way."""
    log, settings = get_run_logger(), open_project().settings
    if not version:
        report = releases.drive_on(settings, log=log.info)
    else:
        report = releases.release(
            settings,
            version,
            strategy=strategy,
            instead_of=instead_of,
            supersede=supersede,
            unattended=unattended,
            log=log.info,
        )
    create_markdown_artifact(report.markdown(), key="release")
    return report


@task(name="step in", task_run_name="{action}", **PLAIN)
def step_in(action: str) -> str:
    """What a person wants of the release under way."""
    log = get_run_logger()
    return stepping.step_in(Serving(open_project(lenient=True), log.info), action)


@task(name="rollback", task_run_name="rollback", **PLAIN)
def rollback(to: str, to_run: str) -> ReleaseReport:
    """Release an earlier version."""
    log = get_run_logger()
    report = rollbacks.rollback(Settings.load(), to=to, to_run=to_run, log=log.info)
    create_markdown_artifact(report.markdown(), key="release")
    return report


@task(name="reproduce", task_run_name="reproduce", **PLAIN)
def reproduce(run: str) -> ReproduceReport | Sweep:
    """Execute a run, or all of them, again and compare."""
    report = sweep.reproduce_named(open_project(), run, log=get_run_logger().info)
    create_markdown_artifact(report.markdown(), key="reproduction")
    return report


@task(name="replay", task_run_name="replay", **PLAIN)
def replay(first: str, last: str, policies: list[str] | None) -> dict[str, Any]:
    """Run the policies over the months and leave the page."""
    project, log = open_project(), get_run_logger()
    found = replays.replay(project, first, last, policies or (), log=log.info)
    page = replays.write(project, found)
    create_markdown_artifact(replays.markdown(found) + f"\nPage: {page}\n", key="replay")
    return found


@task(name="compact", task_run_name="compact", **PLAIN)
def compact() -> dict[str, Any]:
    """Make the kept predictions compact."""
    return predictions.compact(Settings.load())


def started_by() -> dict[str, str]:
    """Which flow run this is and what started it, for the run's record."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return {"flow_run_id": "", "trigger": "python"}
    flow_run = context.flow_run
    trigger = "schedule" if flow_run.auto_scheduled else "command line" if "cli" in flow_run.tags else "ui or api"
    return {"flow_run_id": str(flow_run.id), "trigger": trigger}
