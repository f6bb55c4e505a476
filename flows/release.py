"""Bring a version to traffic."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows import ends, tasks


@flow(name="release", flow_run_name="release {version}", persist_result=False)
@ends.named
def release(version: str, instead_of: str | None = None) -> State:
    """Let `version` take over the traffic, by the strategy in params.yaml (`release.strategy`).

    With `full`: find its bento (or rebuild it from its run), preflight it, start its servers beside the old ones,
    switch the edge by one atomic rename, write the release into the ledger (`<model>#prod#<K>`), let the old servers
    finish what they began, stop them. No request is lost, and no user sees the preflight.

    What a red state means: `Failed` before the switch changed nothing for users (the message names the check that said
    no); after the switch the new version serves, and running the release again finishes what is left.

    Args:
        version: Such as v3; `greenlight runs` lists them.
        instead_of: The version that it was compared with; if another one serves by now, nothing is changed. Left out:
            whatever serves.
    """
    return ends.released(tasks.release(version, instead_of))
