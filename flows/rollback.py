"""Put an earlier version back in front of traffic."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows import ends, tasks


@flow(name="rollback", flow_run_name="rollback {to}{to_run}", persist_result=False)
@ends.named
def rollback(to: str = "", to_run: str = "") -> State:
    """Serve an earlier version again: by default the one that served before the present one.

    It is a release like any other: bento (rebuilt from the run if it is gone), preflight, switch, ledger, drain. The
    same from the command line, without Prefect: `greenlight rollback`.

    What a red state means: `Failed`: nothing changed for users; the message says why (no such version, a preflight that
    said no) and what to do.

    Args:
        to: A version, such as v1; empty for the one that served before.
        to_run: A run's name instead of a version.
    """
    return ends.released(tasks.rollback(to, to_run))


if __name__ == "__main__":
    rollback()
