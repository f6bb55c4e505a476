"""A release by steps from its beginning to its end: get warm, drive, and whose turn is next."""

from __future__ import annotations

import subprocess
import time
from functools import partial

from greenlight.adapters.registry import Version
from greenlight.core import rollout as steps
from greenlight.core.release import Desired
from greenlight.core.release_plan import Step, Wish, parse
from greenlight.errors import UsageError
from greenlight.operations import rollout as rollouts
from greenlight.operations.evidence import EvidenceFile, Source, shown
from greenlight.operations.label_source import LabelSource, NoLabels, gets_its_share
from greenlight.operations.preflight import PreflightReport
from greenlight.operations.release import already, release_in, require_comparison
from greenlight.operations.release_ready import checking_ahead, ready, timed
from greenlight.operations.release_report import ReleaseReport
from greenlight.operations.serving import Serving
from greenlight.operations.shadow_source import ShadowSource


def by_turn(serving: Serving, wish: Wish, *, unattended: bool = False) -> ReleaseReport:
    """One release, by its strategy, while no other one is driven.

    Parameters
    ----------
    unattended : bool
        As in `rollout.Drive.run`.
    """
    project, version = serving.project, wish.version
    asked = project.params.release
    plan = rollouts.steps_of(parse(wish.strategy or asked.strategy, asked.plan), project.params)
    under_way = serving.desired.load().rollout
    if under_way and not under_way.warm:  # whoever got it ready is gone
        with serving.desired.changing(f"release of {version}"):
            under_way = serving.tidy().rollout
    if under_way is None and (len(plan) == 1 or not serving.desired.load().live):
        return release_in(project, version, instead_of=wish.instead_of, log=serving.log)
    seconds: dict[str, float] = {}
    target, report = project.registry.get(version), None
    with serving.desired.changing(f"release of {version}"), checking_ahead(serving, target) as sealing:
        serving.require_up()
        state = serving.tidy()
        if state.live == version:
            return already(serving, target)
        if state.rollout is None:
            require_comparison(state, version, wish.instead_of)
            report = _get_warm(serving, target, state, plan, wish, sealing, seconds)
        elif state.rollout.version != version:
            return _queue(serving, state, wish)
        state = serving.heal()
    if state.rollout is None:  # it did not start again
        return _ended(serving, state, wish, seconds, report)
    with timed(seconds, "steps"):
        state = rollouts.Drive(serving, state.rollout, _sources(serving)).run(unattended=unattended)
    return _ended(serving, state, wish, seconds, report)


def take_all(serving: Serving, wish: Wish) -> ReleaseReport:
    """All traffic to the candidate now, from whatever step, whoever drives it and whatever it lacks.

    Raises
    ------
    UsageError
        The evidence speaks against it, or its release ended meanwhile.
    """
    seconds: dict[str, float] = {}
    with serving.desired.changing(f"all traffic to {wish.version}"), timed(seconds, "switch"):
        serving.require_up()
        state = serving.heal()
        if state.rollout is None or state.rollout.version != wish.version:
            raise UsageError(f"the release of {wish.version} ended meanwhile", todo="greenlight status says how")
        rollout = rollouts.ready_to_move(serving, state)
        state = rollouts.promote(serving, state, rollout, "a person said so")
    return _ended(serving, state, wish, seconds, None)


def _sources(serving: Serving) -> tuple[Source, ...]:
    """Who is asked besides the edge."""
    params = serving.project.params
    if not serving.settings.prediction_log_mb:
        serving.log(
            "predictions are not kept (GREENLIGHT_PREDICTION_LOG_MB=0): a shadow's answers are not compared, and "
            "labels say nothing"
        )
        return (NoLabels(params),)
    labels = LabelSource(serving.settings, params, partial(gets_its_share, serving.edge))
    return (ShadowSource(serving.settings, params), labels)


def _queue(serving: Serving, state: Desired, wish: Wish) -> ReleaseReport:
    rollout = state.rollout
    assert rollout is not None
    serving.desired.save(steps.enqueue(state, wish), f"{wish.version} waits for its turn")
    why = f"for the release of {rollout.where}" + (
        f", which waits for {rollout.waits_for}" if rollout.waits_for else ""
    )
    return ReleaseReport(
        state.live, state.live, False, outcome="waiting", asked=wish.version, reason=why, behind=rollout.version
    )


def next_in_line(serving: Serving) -> Wish | None:
    """The release whose turn has come, taken out of the line."""
    if serving.desired.load().rollout is not None:
        return None
    with serving.desired.changing("the next release"):
        state = serving.desired.load()
        if state.next is None or state.rollout is not None:
            return None
        serving.desired.save(steps.dequeue(state), f"the turn of {state.next.version}")
        return state.next


def _ended(
    serving: Serving, state: Desired, wish: Wish, seconds: dict[str, float], report: PreflightReport | None
) -> ReleaseReport:
    """What became of the release of `wish`."""
    version, last = wish.version, state.last
    waits = state.rollout is not None and state.rollout.version == version
    outcome, reason, previous = "promoted", "", state.live
    if waits and state.rollout:
        outcome, reason = "waiting", f"for {state.rollout.waits_for}"
    elif last and last.version == version:
        outcome, reason, previous = last.outcome, last.reason, last.stable
    return ReleaseReport(
        state.live,
        previous,
        False,
        preflight=report.to_json() if report else {},
        seconds=seconds,
        outcome=outcome,
        asked=version,
        reason=reason,
        evidence=shown(EvidenceFile(serving.settings.home).read()),
    )


def _get_warm(
    serving: Serving,
    target: Version,
    state: Desired,
    plan: tuple[Step, ...],
    wish: Wish,
    sealing: subprocess.Popen[str] | None,
    seconds: dict[str, float],
) -> PreflightReport:
    """From nothing to a candidate that is loaded, verified and answers; it has its label then, and no traffic yet."""
    asked, now = serving.project.params.release, time.time()
    salt = asked.ab.salt or f"{target.name}-{state.generation}"

    def begin(state: Desired, version: str) -> Desired:
        strategy = wish.strategy or asked.strategy
        return steps.begin_rollout(state, version, plan, strategy=strategy, salt=salt, now=now)

    state, _, report = ready(serving, target, state, sealing, seconds, begin)
    if not state.incoming:  # it was on standby: its servers run, and the edge must learn of the release
        state = serving.desired.save(begin(state, target.name), f"{target.name} is warm")
        serving.tell_edge()
    state = serving.desired.save(steps.warmed(state, time.time()), f"{target.name} is the candidate: {_names(plan)}")
    serving.log(f"{target.name} is the candidate: {_names(plan)}")
    return report


def _names(plan: tuple[Step, ...]) -> str:
    return ", ".join(step.name for step in plan)
