"""What a person may do to a release that is under way, by its name: from the command line and from Prefect's form."""

from __future__ import annotations

from typing import Literal, get_args

from greenlight.errors import UsageError
from greenlight.operations import rollout as rollouts
from greenlight.operations.serving import Serving

Action = Literal["pause", "resume", "advance", "abort"]
ACTIONS: tuple[str, ...] = get_args(Action)


def step_in(serving: Serving, action: str) -> str:
    """Pause, resume, advance or abort the release; returns where it stands then, in a line.

    Raises
    ------
    UsageError
        No release is under way, the candidate still gets ready, or is to be rolled back; no such action.
    """
    if action not in ACTIONS:
        raise UsageError(f"{action!r} is nothing to do to a release", todo=f"one of {', '.join(ACTIONS)}")
    if action == "abort":
        ended = rollouts.end(serving, "aborted", "a person said so")
        if ended is None:
            raise rollouts.none_under_way()
        return f"{ended.version} is out of the traffic, {ended.stable} serves"
    move = {"pause": rollouts.pause, "resume": rollouts.resume, "advance": rollouts.advance}[action]
    state = move(serving)
    if state.rollout is None:
        return f"{state.live} serves all traffic"
    held = "held until it is resumed" if state.rollout.paused else "goes on"
    return f"{state.rollout.where}: {held}; {state.live} is the stable version"
