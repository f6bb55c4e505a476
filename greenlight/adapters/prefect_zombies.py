"""Flow runs that nobody ends: their process and the worker above it were killed, and they stay `Running`.

A flow run sends a heartbeat every 30 s (Prefect's least). An automation of the server waits for the next one after
each, or for an end; if neither comes, it ends the run as `Crashed`, which frees the only slot of its deployment. It
acts while the stack stays up; what died with the stack, :func:`greenlight.adapters.prefect_runs.bury_dead_runs` ends
at the next ``greenlight up``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from greenlight.adapters.prefect import request_patiently

if TYPE_CHECKING:
    from greenlight.config import Settings

NAME = "End flow runs whose process is gone"
# Ten heartbeats. On a machine that trains on all cores, runs that lived missed four of them, and Prefect cancels what
# it takes for dead.
SILENT_S = 300.0
HEARTBEAT = "prefect.flow-run.heartbeat"
# Events bear the names of states, not their types: every name that one of our flows can end with stands here.
ENDS = (
    *("Completed", "Failed", "Cancelled", "Crashed"),
    *("Promoted", "KeptChampion", "Inconclusive", "NothingNew", "Joined", "DataRejected"),
    *("Released", "Waiting", "RolledBack", "Aborted", "Superseded", "GivenUp", "Unchanged"),
    *("Identical", "Equivalent", "Different"),
)


def watch(settings: Settings, silent_s: float = SILENT_S) -> bool:
    """Have the server end runs whose heartbeats stop; safe to repeat. Returns whether anything had to change.

    An automation that somebody switched off in the UI stays off.

    Parameters
    ----------
    silent_s : float
        How long after a heartbeat a run counts as dead; 10 at least (Prefect's limit).

    Raises
    ------
    OrchestratorError
        The server does not answer, or refuses the automation.
    """
    body = _automation(silent_s)
    found = request_patiently(settings, "POST", "/automations/filter", {"automations": {"name": {"any_": [NAME]}}})
    if not found:
        request_patiently(settings, "POST", "/automations/", body)
        return True
    there = found[0]
    if _holds(there["trigger"], body["trigger"]):
        return False
    request_patiently(settings, "PUT", f"/automations/{there['id']}", body | {"enabled": there["enabled"]})
    return True


def _automation(silent_s: float) -> dict[str, Any]:
    return {
        "name": NAME,
        "description": "Made by greenlight up. A run without a heartbeat has no process any more.",
        "enabled": True,
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "for_each": ["prefect.resource.id"],
            "after": [HEARTBEAT],
            "expect": sorted([HEARTBEAT, *(f"prefect.flow-run.{name}" for name in ENDS)]),
            "threshold": 1,
            "within": silent_s,
        },
        "actions": [
            {
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "message": f"no sign of life for {silent_s:.0f} s: its process was killed; run it again",
            }
        ],
    }


def _holds(there: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether the server's trigger is the wanted one; the server gives sets back in any order."""
    return bool(sorted(there["expect"]) == wanted["expect"] and float(there["within"]) == wanted["within"])
