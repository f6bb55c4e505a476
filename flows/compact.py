"""Make the kept predictions compact."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows import ends, tasks


@flow(name="compact", flow_run_name="compact", persist_result=False)
@ends.named
def compact() -> State:
    """Turn finished files of the prediction log into Parquet, merge the small ones of each day, and keep the limit.

    Runs each night. Nothing waits for it: readers see the same rows before and after, and the servers keep the limit
    (`GREENLIGHT_PREDICTION_LOG_MB`) without it. May be killed at any moment. The same from the command line:
    `greenlight predictions compact`.

    What a red state means: `Failed`: the disk is full or cannot be written; what was there is untouched.
    """
    return ends.compacted(tasks.compact())


if __name__ == "__main__":
    compact()
