"""Compare policies over history."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows import ends, tasks


@flow(name="replay", flow_run_name="replay {first} to {last}", persist_result=False)
@ends.named
def replay(first: str, last: str, policies: list[str] | None = None) -> State:
    """Run never retrain, always deploy, gated and further policies month by month, knowing only what was known then.

    What served in each month is judged on that month's rows, which none of its training saw. The artifact "replay"
    holds the answer, what every decision saved or cost, and where the page with the pictures lies. Trains in memory:
    no run is recorded and nothing is released. The same from the command line: `greenlight replay`.

    What a red state means: `Failed`: a month is not in the data, or a policy's parameters are wrong; the message says
    which.

    Args:
        first: The first month, such as 2013-07; at least three months must come before it.
        last: The last month, such as 2013-12.
        policies: Further policies, such as "data.window_months=3" or "always:train.seed=7".
    """
    return ends.replayed(tasks.replay(first, last, policies))


if __name__ == "__main__":
    replay("2013-07", "2013-12")
