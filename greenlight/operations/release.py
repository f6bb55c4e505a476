"""Release a version: everything from its bento to the last request that the old one answers.

All at once (`full`) or by steps (`greenlight.operations.rollout` drives those). One release at a time: whoever comes
second waits for the one at work; a version that comes while another one stands at a step waits for its turn.
"""

from __future__ import annotations

import subprocess
import time

from greenlight.adapters import locks
from greenlight.adapters.registry import Version
from greenlight.config import Settings
from greenlight.core import release as moves
from greenlight.core import rollout as steps
from greenlight.core.release import Desired
from greenlight.core.release_plan import Step, Wish, parse
from greenlight.errors import GreenlightError, UsageError
from greenlight.operations import rollout as rollouts
from greenlight.operations.evidence import EvidenceFile, Source, shown
from greenlight.operations.preflight import PreflightReport
from greenlight.operations.release_ready import checking_ahead, ready, timed
from greenlight.operations.release_report import ReleaseReport as ReleaseReport
from greenlight.operations.serving import Log, Serving, silent
from greenlight.operations.shadow_source import ShadowSource
from greenlight.wiring import Project, open_project


def release(
    settings: Settings,
    version: str,
    *,
    strategy: str = "",
    instead_of: str | None = None,
    supersede: bool = False,
    log: Log = silent,
) -> ReleaseReport:
    """Bring `version` to the traffic; no request fails on the way, and it may be repeated after any crash.

    A release by steps that was left at a step, by a crash or because it waited, is driven on.

    Parameters
    ----------
    strategy : str
        ``full``, ``shadow``, ``canary``, ``ab``, several with commas, or ``plan``; empty: what params.yaml says. The
        first version of all goes to all traffic at once.
    instead_of : str, optional
        The version that it was compared with (empty: none); it takes the traffic from no other.
    supersede : bool
        End a release of another version that is under way, instead of waiting for it.

    Returns
    -------
    ReleaseReport
        Also when the candidate was rolled back, or the release waits: both are answers.

    Raises
    ------
    UsageError
        Another version than `instead_of` serves: somebody rolled back or released meanwhile.
    NotFound
        There is no such version.
    PreflightFailed
        Its bento does not answer as its model does, or breaks a budget; whatever served keeps serving.
    ServerError, EdgeError, BentoError
        A part failed; before the switch, whatever served keeps serving.
    """
    project = open_project(settings)
    serving = Serving(project, log)
    wish = Wish(project.registry.get(version).name, strategy, instead_of)
    parse(strategy or project.params.release.strategy, project.params.release.plan)
    if supersede:
        under_way = serving.desired.load().rollout
        if under_way and under_way.version != wish.version:
            rollouts.end(serving, "superseded", f"by {wish.version}")
    with locks.turn(settings.home / "locks" / "release.lock", f"the release of {wish.version}", log):
        report = _by_turn(serving, wish)
        while (later := _next_in_line(serving)) is not None:
            log(f"{later.version} waited for its turn")
            try:
                log(_by_turn(serving, later).summary())
            except GreenlightError as exc:
                log(f"{later.version} was not released: {exc}")
    return report


def drive_on(settings: Settings, *, log: Log = silent) -> ReleaseReport:
    """Drive on the release that is under way, whatever its version.

    Raises
    ------
    NotFound
        None is.
    """
    rollout = Serving(open_project(settings)).desired.load().rollout
    if rollout is None:
        raise rollouts.none_under_way()
    return release(settings, rollout.version, strategy=rollout.strategy, log=log)


def release_in(project: Project, version: str, *, instead_of: str | None = None, log: Log = silent) -> ReleaseReport:
    """All traffic to `version` at once, in a project that is open already; waits for no drive."""
    serving = Serving(project, log)
    target = project.registry.get(version)
    with serving.desired.changing(f"release of {target.name}"), checking_ahead(serving, target) as sealing:
        serving.require_up()
        state = serving.tidy()
        if state.live == target.name:
            return _already(serving, target)
        _require_comparison(state, target.name, instead_of)
        return _release(serving, target, state, sealing)


def _by_turn(serving: Serving, wish: Wish) -> ReleaseReport:
    """One release, by its strategy, while no other one is driven."""
    project, version = serving.project, wish.version
    asked = project.params.release
    plan = rollouts.steps_of(parse(wish.strategy or asked.strategy, asked.plan), project.params)
    under_way = serving.desired.load().rollout
    if under_way is None and (len(plan) == 1 or not serving.desired.load().live):
        return release_in(project, version, instead_of=wish.instead_of, log=serving.log)
    seconds: dict[str, float] = {}
    target, report = project.registry.get(version), None
    with serving.desired.changing(f"release of {version}"), checking_ahead(serving, target) as sealing:
        serving.require_up()
        state = serving.tidy()
        if state.live == version:
            return _already(serving, target)
        if state.rollout is None:
            _require_comparison(state, version, wish.instead_of)
            report = _get_warm(serving, target, state, plan, wish, sealing, seconds)
        elif state.rollout.version != version:
            return _queue(serving, state, wish)
        state = serving.heal()
    if state.rollout is None:  # it did not start again
        return _ended(serving, state, wish, seconds, report)
    with timed(seconds, "steps"):
        state = rollouts.Drive(serving, state.rollout, _sources(serving)).run()
    return _ended(serving, state, wish, seconds, report)


def _sources(serving: Serving) -> tuple[Source, ...]:
    """Who is asked besides the edge."""
    if not serving.settings.prediction_log_mb:
        serving.log("predictions are not kept (GREENLIGHT_PREDICTION_LOG_MB=0): a shadow's answers are not compared")
        return ()
    return (ShadowSource(serving.settings, serving.project.params),)


def _queue(serving: Serving, state: Desired, wish: Wish) -> ReleaseReport:
    rollout = state.rollout
    assert rollout is not None
    serving.desired.save(steps.enqueue(state, wish), f"{wish.version} waits for its turn")
    why = f"for the release of {rollout.where}" + (
        f", which waits for {rollout.waits_for}" if rollout.waits_for else ""
    )
    return ReleaseReport(state.live, state.live, False, outcome="waiting", asked=wish.version, reason=why)


def _next_in_line(serving: Serving) -> Wish | None:
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


def _already(serving: Serving, target: Version) -> ReleaseReport:
    serving.heal()
    serving.log(f"{target.name} serves already")
    return ReleaseReport(target.name, target.name, already_live=True, asked=target.name)


def _require_comparison(state: Desired, version: str, instead_of: str | None) -> None:
    if instead_of is not None and state.live not in ("", instead_of):
        raise UsageError(
            f"{state.live} serves by now, and {version} was compared with {instead_of or 'no champion'}",
            todo=f"greenlight retrain compares it with {state.live}",
        )


def _release(serving: Serving, target: Version, state: Desired, sealing: subprocess.Popen[str] | None) -> ReleaseReport:
    """All traffic at once."""
    seconds: dict[str, float] = {}
    keep = serving.project.params.release.keep_warm
    state, bento, report = ready(serving, target, state, sealing, seconds, moves.begin)
    if target.name in state.standby:
        after = moves.switch_back(state, target.name, keep_warm=keep)
    else:
        after = moves.switch(state, keep_warm=keep)
    previous = state.live
    # From here on a crash is finished forwards: whoever comes next reads that the new version is the live
    # one.
    state = serving.desired.save(after, f"traffic to {target.name}")
    with timed(seconds, "switch"):
        serving.edge.set_live(target.name, steps.traffic(state).addressable)
    serving.log(f"all traffic goes to {target.name}" + (f", before {previous}" if previous else ""))
    serving.project.registry.assign(target)
    with timed(seconds, "drain"):
        serving.retire(state)
    return ReleaseReport(target.name, previous, False, str(bento), report.to_json(), seconds, asked=target.name)


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
