"""``python -m greenlight.stages <name>``: parameters in, files out, exit status 0 also when the answer is a "no"."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from greenlight.config import RUN_PROCESS, STAGE_REPORT_FILE, Params
from greenlight.errors import GreenlightError, UsageError, disk_fault

STAGES = ("snapshot", "validate", "featurize", "train", "evaluate", "gate")
OWN = {"__main__", "__mp_main__", "greenlight"}


def main(argv: list[str]) -> int:
    """Run one stage in the working directory."""
    if RUN_PROCESS in os.environ:
        _end_with(int(os.environ[RUN_PROCESS]))
    name = argv[0] if argv else ""
    try:
        if name not in STAGES or len(argv) != 1:
            raise UsageError(f"no stage {' '.join(argv) or '(none given)'}", todo=f"one of {', '.join(STAGES)}")
        root = Path.cwd()
        params = Params.load(root / "params.yaml")
        summary = importlib.import_module(f"greenlight.stages.{name}").run(params, root)
    except GreenlightError as exc:
        _tell(error=type(exc).__name__, what=exc.what, where=exc.where, todo=exc.todo)
        return exc.exit_code
    except BaseException as exc:
        full = disk_fault(exc)
        if not full:
            _tell(crash=f"{type(exc).__name__}: {exc}")
            raise
        _tell(error=type(full).__name__, what=full.what, where=full.where, todo=full.todo)
        return full.exit_code
    _tell(summary=summary, process=_process())
    return 0


def _end_with(run: int) -> None:
    """End this process with the run that started it, whose process ID is `run`: it would go on training for hours.

    The kernel can end a child with its parent by itself (``PR_SET_PDEATHSIG``), but the parent is the shell that DVC
    starts: bash gives its place to the command, dash stays between the two.
    """
    try:
        handle = os.pidfd_open(run)
    except ProcessLookupError:
        sys.exit(1)
    except (OSError, AttributeError):  # not Linux, or one without it
        return
    watch = select.poll()
    watch.register(handle, select.POLLIN)  # readable once it has ended

    def wait() -> None:
        watch.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="end with the run", daemon=True).start()


def _process() -> dict[str, Any]:
    """What this process used that can change bits: the packages it imported, the cores and threads it had.

    Names only; which version of which distribution a name is, the record looks up once for all stages.
    """
    modules = sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - OWN)
    threads: dict[str, int] = {"cores": len(os.sched_getaffinity(0))}
    if "polars" in sys.modules:
        threads["polars"] = sys.modules["polars"].thread_pool_size()
    if "numpy" in sys.modules:
        from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

        for pool in threadpool_info():  # XGBoost's threads are those of OpenMP
            threads[pool["internal_api"]] = max(threads.get(pool["internal_api"], 0), pool["num_threads"])
    return {"modules": modules, "threads": threads}


def _tell(**said: Any) -> None:
    """Leave the end of the story where the flow looks for it; by hand, say it."""
    path = os.environ.get(STAGE_REPORT_FILE)
    with contextlib.suppress(OSError):  # the disk with the temporary files may be the full one
        if path:
            Path(path).write_text(json.dumps(said), encoding="utf-8")
            return
    sys.stderr.write("".join(f"{key}: {value}\n" for key, value in said.items() if value))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
