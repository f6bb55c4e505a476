"""End a release by steps: all traffic back to the stable version. A roll back needs this and nothing that takes time to
import.
"""

from __future__ import annotations

import time
from contextlib import suppress

from greenlight.core import rollout as steps
from greenlight.core.release import Desired
from greenlight.core.release_plan import Ended
from greenlight.errors import EdgeError, GreenlightError, NotFound
from greenlight.operations.serving import Serving


def end_in(serving: Serving, state: Desired, outcome: str, reason: str) -> Desired:
    """All traffic to the stable version, and the candidate stops; while holding the right to change what serves."""
    rollout = state.rollout
    assert rollout is not None
    ended = steps.end(state, outcome, reason, time.time())
    state = serving.desired.save(ended, f"{rollout.version} {outcome.replace('_', ' ')}: {reason}")
    serving.edge.set_traffic(steps.traffic(state))
    serving.log(f"all traffic goes to {state.live}; {rollout.version} {outcome.replace('_', ' ')}: {reason}")
    try:
        serving.settle(rollout)
        return serving.retire(state)
    except GreenlightError as exc:  # the users are safe; its servers are stopped by whoever comes next
        serving.log(f"{rollout.version} could not be stopped yet: {exc.what}")
        return state


def end(serving: Serving, outcome: str, reason: str) -> Ended | None:
    """End the release that is under way, whoever drives it and in whatever state; None where there is none.

    Needs the edge alone: neither a flow, nor Prefect, nor the supervisor.

    Raises
    ------
    EdgeError
        Envoy does not answer; the desired state says what it must do once it does.
    """
    state = serving.desired.load()
    if state.rollout is None:
        return None
    if state.rollout.warm:
        # Before anything else, so that users are safe although a driver hangs with the right to change.
        with suppress(EdgeError):
            serving.edge.set_live(state.live, state.standby)
    with serving.desired.changing(f"end of the release of {state.rollout.version}"):
        state = serving.desired.load()
        if state.rollout is not None:
            state = end_in(serving, state, outcome, reason)
    return state.last


def none_under_way() -> NotFound:
    """What is said when somebody asks for the release that is under way, and none is."""
    return NotFound(
        "no release is under way", todo="greenlight release VERSION begins one; greenlight status says what serves"
    )
