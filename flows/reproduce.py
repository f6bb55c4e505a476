"""Execute a recorded run again and compare."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows import ends, tasks


@flow(name="reproduce", flow_run_name="reproduce {run}", persist_result=False)
@ends.named
def reproduce(run: str) -> State:
    """Re-execute `run` in a clean clone at its commit and compare every output's hash.

    The snapshot comes from the DVC remote, never from the source. Ends as `Identical` or `Equivalent` (green) or
    `Different` (red: the artifact "reproduction" names the first output that differs, and what differs in what it was
    made from). With `all`, every run is executed; the worst verdict is the end's name.

    Args:
        run: A run's name or a version, as `greenlight runs` lists them, or `all`.
    """
    return ends.reproduced(tasks.reproduce(run))
