"""What processes that were killed left in the home; the next start removes it."""

from __future__ import annotations

import json
from contextlib import suppress

from greenlight.adapters import bento, locks, processes, scratch
from greenlight.adapters.desired import replace_file
from greenlight.adapters.sockets import runtime_dir
from greenlight.operations.runs import run_commits
from greenlight.operations.serving import Log, silent
from greenlight.operations.workspace import KILLED, NOTE, remove
from greenlight.wiring import Project


def sweep(project: Project, log: Log = silent) -> list[str]:
    """Remove scratch folders, turns, sockets and half-built bentos of processes that are gone, and the data of runs
    that were killed; returns the names.

    Safe at any time: nothing is touched whose process lives.
    """
    home = project.settings.home
    swept = [*scratch.sweep(home / "tmp"), *scratch.sweep(bento.store(home), bento.SCRATCH), *scratch.sweep_passing()]
    locks.sweep(home / "locks")
    for socket in runtime_dir(home).glob("preflight-*.sock"):
        if not processes.is_alive(int(socket.stem.rsplit("-", 1)[1])):
            socket.unlink(missing_ok=True)
    if swept:
        log(f"removed what killed processes had left: {', '.join(swept)}")
    buried = bury(project)
    if buried:
        log(f"killed before their record: {', '.join(buried)}; their data is removed, their reports stay")
    return swept + buried


def bury(project: Project) -> list[str]:
    """Take the data out of the folders of runs that were killed before their record; returns their names.

    As far as a stage finished, the cache holds what it made. The reports stay for ``greenlight show``.
    """
    recorded = run_commits(project.repository)
    buried = []
    for path in sorted((project.settings.home / "runs").glob(f"*/.git/{NOTE}")):
        with suppress(OSError, ValueError):
            note = json.loads(path.read_text(encoding="utf-8"))
            # The note of a run that came to its record is left as it was while the run was at work.
            if note.get("outcome") != "Running" or note["name"] in recorded:
                continue
            if processes.is_same(int(note.get("pid", 0)), str(note.get("began", ""))):
                continue
            replace_file(path, json.dumps(note | {"outcome": "Failed", "reason": KILLED}).encode())
            with suppress(OSError):
                remove(path.parents[1] / "data")
            buried.append(str(note["name"]))
    return buried
