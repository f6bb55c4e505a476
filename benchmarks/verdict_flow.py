"""The retrain flow's own tasks from workspace to verdict, timed one by one. Prints one JSON object.

The steps behind the verdict (record, register, build, release) have no counterpart in a bare script and are left out.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from prefect import flow

from flows import tasks


@flow(name="verdict", persist_result=False)
def verdict(as_of: str) -> dict[str, Any]:
    """From workspace to verdict; returns seconds by step, and which stages were executed."""
    laps: dict[str, float] = {}
    plan = tasks.plan(as_of, "cpu")
    began = time.perf_counter()
    run = _timed(laps, "workspace", tasks.workspace, plan)
    _timed(laps, "snapshot", tasks.stage, run, "snapshot")
    _timed(laps, "validate", tasks.validate, run)
    for name in ("featurize", "train", "evaluate"):
        _timed(laps, name, tasks.stage, run, name)
    found = _timed(laps, "gate", tasks.gate, run)
    laps["total"] = time.perf_counter() - began
    return {
        "seconds": laps,
        "dvc": {done.stage: done.seconds for done in run.stages},
        "executed": [done.stage for done in run.stages if done.executed],
        "decision": found.decision,
        "workspace": str(run.workspace.root),
    }


def _timed(laps: dict[str, float], name: str, step: Callable[..., Any], *args: Any) -> Any:
    started = time.perf_counter()
    result = step(*args)
    laps[name] = time.perf_counter() - started
    return result


if __name__ == "__main__":
    print(json.dumps(verdict(sys.argv[1])))
