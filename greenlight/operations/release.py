"""Release a version: everything from its bento to the last request that the old one answers.

All at once (`full`) or by steps (`greenlight.operations.rollout` drives those). One release at a time: whoever comes
second waits for the one at work; a version that comes while another one stands at a step waits for its turn, or ends
that release, as asked.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from greenlight.adapters import locks
from greenlight.adapters.registry import Version
from greenlight.config import Settings
from greenlight.core import release as moves
from greenlight.core import rollout as steps
from greenlight.core.release import Desired
from greenlight.core.release_plan import Rollout, Wish, parse
from greenlight.errors import GreenlightError, UsageError
from greenlight.operations.known_versions import mend
from greenlight.operations.release_ready import checking_ahead, ready, timed
from greenlight.operations.release_report import ReleaseReport as ReleaseReport
from greenlight.operations.release_report import with_overrides
from greenlight.operations.rollout_end import end
from greenlight.operations.serving import Log, Serving, silent
from greenlight.wiring import Project, open_project


def release(
    settings: Settings,
    version: str,
    *,
    strategy: str = "",
    instead_of: str | None = None,
    supersede: bool = False,
    unattended: bool = False,
    log: Log = silent,
) -> ReleaseReport:
    """Bring `version` to the traffic; no request fails on the way, and it may be repeated after any crash.

    A release by steps that was left at a step, by a crash or because it waited, is driven on. With another strategy it
    goes on by that one: ``full`` gives the candidate all traffic at once, any other begins anew.

    Parameters
    ----------
    strategy : str
        ``full``, ``shadow``, ``canary``, ``ab``, several with commas, or ``plan``; empty: what params.yaml says. The
        first version of all goes to all traffic at once.
    instead_of : str, optional
        The version that it was compared with (empty: none); it takes the traffic from no other.
    supersede : bool
        End a release of another version that is under way, instead of waiting for it.
    unattended : bool
        Nobody waits for it: where nobody asks for predictions it ends as waiting after ``release.quiet_s``, and
        ``release.newer`` says what becomes of another one that stands at a step.

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
    for line in mend(project):
        log(line)
    serving = Serving(project, log)
    wish = Wish(project.registry.get(version).name, strategy, instead_of)
    kinds = parse(strategy or project.params.release.strategy, project.params.release.plan)
    under_way = serving.desired.load().rollout
    if under_way and under_way.version != wish.version and supersede:
        end(serving, "superseded", f"by {wish.version}")
    elif under_way and under_way.version == wish.version and strategy and kinds != _kinds(under_way):
        if kinds == ("full",) and under_way.warm:
            from greenlight.operations.release_by_steps import take_all

            return with_overrides(serving.project, take_all(serving, wish))
        end(serving, "superseded", f"by a release of {wish.version} by the strategy {strategy}")
    return _in_turn(serving, wish, unattended)


def _kinds(rollout: Rollout) -> tuple[str, ...]:
    """The strategy of a release under way, as `parse` says it."""
    return tuple(dict.fromkeys(step.kind for step in rollout.steps))


def turn_of(home: Path) -> Path:
    """The turn that whoever drives a release holds."""
    return home / "locks" / "release.lock"


def _in_turn(serving: Serving, wish: Wish, unattended: bool) -> ReleaseReport:
    """One release once nobody else drives one, and those that waited for its end."""
    # Here and not above: statistics and frames take a second to import, and a roll back needs neither.
    from greenlight.operations.release_by_steps import by_turn, next_in_line

    log = serving.log
    with locks.turn(turn_of(serving.settings.home), f"the release of {wish.version}", log):
        if unattended and serving.project.params.release.newer == "supersede":
            _supersede_standing(serving, wish)
        report = with_overrides(serving.project, by_turn(serving, wish, unattended=unattended))
        while (later := next_in_line(serving)) is not None:
            log(f"{later.version} waited for its turn")
            try:
                log(by_turn(serving, later, unattended=unattended).summary())
            except GreenlightError as exc:
                log(f"{later.version} was not released: {exc}")
    return report


def _supersede_standing(serving: Serving, wish: Wish) -> None:
    """End a release of another version that stands at a step; one that a person holds is theirs to end."""
    state = serving.desired.load()
    rollout = state.rollout
    if rollout and rollout.version != wish.version and not rollout.paused:
        require_comparison(state, wish.version, wish.instead_of)
        end(serving, "superseded", f"by {wish.version}")


def drive_on(settings: Settings, *, log: Log = silent) -> ReleaseReport:
    """Drive on the release that is under way, whatever its version; without one, that which waits for its turn.

    Returns
    -------
    ReleaseReport
        ``unchanged`` where there is neither.
    """
    from greenlight.operations.release_by_steps import next_in_line

    serving = Serving(open_project(settings), log)
    state = serving.desired.load()
    wish = Wish(state.rollout.version, state.rollout.strategy) if state.rollout else next_in_line(serving)
    if wish is None:
        return ReleaseReport(state.live, state.live, False, outcome="unchanged", reason="no release is under way")
    return _in_turn(serving, wish, False)


def release_in(project: Project, version: str, *, instead_of: str | None = None, log: Log = silent) -> ReleaseReport:
    """All traffic to `version` at once, in a project that is open already; waits for no drive."""
    serving = Serving(project, log)
    target = project.registry.get(version)
    with serving.desired.changing(f"release of {target.name}"), checking_ahead(serving, target) as sealing:
        serving.require_up()
        state = serving.tidy()
        if state.live == target.name:
            return already(serving, target)
        require_comparison(state, target.name, instead_of)
        return _release(serving, target, state, sealing)


def already(serving: Serving, target: Version) -> ReleaseReport:
    """Make everything agree with what serves, and say that it does."""
    serving.heal()
    serving.log(f"{target.name} serves already")
    return ReleaseReport(target.name, target.name, already_live=True, asked=target.name)


def require_comparison(state: Desired, version: str, instead_of: str | None) -> None:
    """Refuse a version that was compared with another one than serves."""
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
