"""``kill -9`` at every boundary of a retrain: who survives it.

``python tests/crash_matrix.py [--victim flow|stage|server|tree] [--at BOUNDARY] [--list]``; exit status 1 if a cell did
not survive. A cell survives when the champion goes on answering (after ``greenlight up`` where everything was killed)
and the same retrain, started again, ends with the version, the output hashes and the tags of an undisturbed one, with
nothing half done and nothing left lying about.

Real processes and real signals: a Prefect server, an edge, a supervisor and model servers; the flow runs in a process
of its own (crash_driver.py) that kills at the boundary.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conftest
import retrain_kit as kit
import serving_kit
from crash_cells import AFTER_STAGES, BOUNDARIES, CELLS, SWITCHED, Group, select

from greenlight import datasets
from greenlight.adapters import bento, prefect
from greenlight.adapters.sockets import runtime_dir
from greenlight.cli.stack import bring_up
from greenlight.config import Settings
from greenlight.operations import leftovers, stack
from greenlight.operations.release import release
from greenlight.operations.serving import Serving
from greenlight.wiring import open_project

AS_OF = "2013-04"
WHOLE_STACK = ("server", "tree")  # their cells need a Prefect server of their own


@dataclass(frozen=True)
class Row:
    """One cell: who was killed, where, how it went, and whether it survived."""

    victim: str
    boundary: str
    how: str
    survived: bool


class Lost(AssertionError):
    """Why a cell did not survive."""


@dataclass(frozen=True)
class Memory:
    """What an undisturbed run leaves."""

    tags: tuple[str, ...]
    lock: bytes

    @classmethod
    def of(cls, settings: Settings) -> Memory:
        project = open_project(settings)
        version = project.registry.get("v2")
        lock = project.repository.read(version.commit, "dvc.lock")
        assert lock
        return cls(tuple(sorted(project.repository.run("tag", "--list").split())), lock)


class Matrix:
    """A repository with the champion v1, and copies of it to break.

    Parameters
    ----------
    folder : Path
        Takes everything; about 100 MB a cell while the cell runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = folder / "base"
        self.port = serving_kit.free_port()

    def prepare(self) -> None:
        """Make v1, then an undisturbed run beside it."""
        conftest.copy_checkout(self.base)
        kit.change(self.base, kit.SMALL)
        kit.git(self.base, "commit", "-q", "-a", "-m", "Small")
        settings = self.settings(self.base)
        first = kit.retrain(open_project(settings))
        first.run.register(first.commit)
        with edge(settings):
            release(settings, "v1")
        shutil.rmtree(self.base / ".greenlight" / "runs")
        until = time.monotonic() + 600
        while not prefect.is_healthy(settings):
            need(time.monotonic() < until, f"no Prefect server on port {self.port}")
            time.sleep(0.2)
        calm = self.copy("undisturbed", warm=False)
        with edge(calm):
            ended = self.retrain(calm)
            need(ended.get("name") == "Promoted", f"an undisturbed run ended as {ended}")
        self.expected = Memory.of(calm)
        shutil.copytree(calm.root / ".greenlight" / "cache", self.folder / "warm")
        shutil.rmtree(calm.root)

    def settings(self, root: Path, **more: int) -> Settings:
        ports = {"edge_port": serving_kit.free_port(), "prefect_port": self.port} | more
        return Settings(root=root, workers=1, **ports)  # type: ignore[arg-type]

    def copy(self, name: str, *, warm: bool, **more: int) -> Settings:
        """A copy of the base; `warm`: with the stages of the undisturbed run in DVC's cache."""
        root = self.folder / name
        shutil.copytree(self.base, root, symlinks=True)
        if warm:
            shutil.rmtree(root / ".greenlight" / "cache")
            shutil.copytree(self.folder / "warm", root / ".greenlight" / "cache")
        return self.settings(root, **more)

    def retrain(self, settings: Settings, victim: str = "", boundary: str = "") -> dict[str, Any]:
        """Run the flow; `code` is its process's status, `name` and `message` its end, if it came to one."""
        command = [sys.executable, str(Path(__file__).with_name("crash_driver.py")), victim, boundary]
        command += [str(settings.root / ".greenlight" / "killed"), json.dumps({"as_of": AS_OF})]
        env = os.environ | prefect.environment(settings) | {"PYTHONPATH": str(settings.root)}
        done = subprocess.run(
            command, cwd=settings.root, env=env, capture_output=True, text=True, timeout=1500, check=False
        )
        ends = [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("END ")]
        need(bool(ends) or bool(boundary), f"the rerun came to no end: {done.stderr[-2000:]}")
        return {"code": done.returncode, "name": "", "message": "", "said": done.stderr[-2000:]} | (ends or [{}])[0]

    def cells(self, victim: str, boundaries: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Break one run at a boundary, or several one after the other in the same place, and start it again.

        Yields each boundary with how its run went, once nothing was lost at it.

        Raises
        ------
        Lost
            Something was.
        """
        more = {"prefect_port": serving_kit.free_port()} if victim in WHOLE_STACK else {}
        name = f"{victim}-{boundaries[0].replace(' ', '-')}"
        settings = self.copy(name, warm=boundaries[0] in AFTER_STAGES, **more)
        with whole(settings) if victim in WHOLE_STACK else edge(settings):
            need(ask(settings) == "v1", "v1 did not answer before the retrain")
            for boundary in boundaries:
                yield boundary, self.broken(settings, victim, boundary)
            finished = open_project(settings).registry.champion()
            again = self.retrain(settings)
            # Once v2 is in the ledger, the same month again is the same model: there is nothing to promote.
            wanted = "KeptChampion" if finished and finished.name == "v2" else "Promoted"
            need(again["name"] == wanted, f"the rerun ended as {again}, not as {wanted}")
            need(ask(settings) == "v2", "v2 does not answer after the rerun")
            self.inspect(settings)
            yield "", again["name"]
        shutil.rmtree(settings.root)

    def broken(self, settings: Settings, victim: str, boundary: str) -> str:
        """One run with a kill; returns how it ended, once the champion was seen to answer."""
        note = settings.home / "killed"
        note.unlink(missing_ok=True)
        first = self.retrain(settings, victim, boundary)
        need(note.exists(), f"it never came to {boundary}: {first}")
        if victim in ("flow", "tree"):
            need(first["code"] == -9, f"the flow's process ended with {first['code']}: {first['said']}")
        if victim == "tree":
            need(not stack.status(settings).up, "the stack survived a kill of everything")
        if victim in WHOLE_STACK:
            bring_up(settings)
        between = ask(settings)
        allowed = {"v1", "v2"} if boundary in SWITCHED or first["name"] == "Promoted" else {"v1"}
        need(between in allowed, f"{between or 'nothing'} answered after the kill")
        return first["name"] or "killed"

    def inspect(self, settings: Settings) -> None:
        """Compare what is there now with what an undisturbed run leaves."""
        found, project = Memory.of(settings), open_project(settings)
        need(found.tags == self.expected.tags, f"tags {found.tags}, undisturbed {self.expected.tags}")
        need(found.lock == self.expected.lock, f"another dvc.lock: {found.lock.decode()}")
        state = Serving(project).desired.load()
        need((state.live, state.incoming, state.retiring) == ("v2", "", ()), f"the desired state is {state}")
        need(not project.repository.run("status", "--porcelain"), "the checkout is not clean")
        need(not list((settings.root / ".git").rglob("*.lock")), "Git's locks were left")
        home = settings.home
        left = [*(home / "tmp").glob("*"), *(home / "locks").rglob("*.lock")]
        left += [*bento.store(home).glob(f"{bento.SCRATCH}*"), *runtime_dir(home).glob("preflight-*.sock")]
        need(not left, f"left lying about: {[path.name for path in left]}")
        need(not leftovers.sweep(project), "the next start still found something to remove")


def need(holds: bool, what: str) -> None:
    """Say what was lost."""
    if not holds:
        raise Lost(what)


@contextmanager
def edge(settings: Settings) -> Iterator[None]:
    """Supervisor, edge and what serves, without Prefect."""
    serving = Serving(open_project(settings))
    try:
        serving.supervisor.start({})
        with serving.desired.changing("crash matrix"):
            serving.edge_up()
            serving.heal()
        yield
    finally:
        stack.down(settings)


@contextmanager
def whole(settings: Settings) -> Iterator[None]:
    """Everything that `greenlight up` starts."""
    try:
        bring_up(settings)
        yield
    finally:
        stack.down(settings)


@contextmanager
def prefect_server(matrix: Matrix) -> Iterator[None]:
    """One server for all cells that leave it alone; it starts while the base is made."""
    settings = matrix.settings(matrix.folder / "prefect")
    settings.root.mkdir()
    with (settings.root / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start"],
            cwd=settings.root,
            env=os.environ | prefect.environment(settings),
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def ask(settings: Settings) -> str:
    """Which version answers on the edge; empty if none does."""
    row = datasets.load("flight_delay").request.EXAMPLE
    body, kind = json.dumps({"rows": [row]}).encode(), {"content-type": "application/json"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{settings.edge_url}/predict", body, kind), timeout=20
        ) as a:
            return str(json.load(a)["predictions"][0]["model_version"])
    except (urllib.error.URLError, OSError):
        return ""


def run(groups: Sequence[Group], folder: Path, jobs: int = 1) -> list[Row]:
    """Try the cells, `jobs` groups at a time; a row for each cell."""
    matrix = Matrix(folder)
    with prefect_server(matrix):
        matrix.prepare()
        with ThreadPoolExecutor(jobs) as pool:
            return [row for rows in pool.map(lambda group: tried(matrix, *group), groups) for row in rows]


def tried(matrix: Matrix, victim: str, boundaries: Sequence[str]) -> list[Row]:
    """The rows of one group; if the end is not that of an undisturbed run, none of its cells survived."""
    begun, went, lost = time.monotonic(), {}, ""
    try:
        for boundary, how in matrix.cells(victim, boundaries):
            went[boundary] = how
    except Exception as exc:  # noqa: BLE001 - a cell that breaks did not survive, and the next one is tried
        lost = f"{type(exc).__name__}: {exc}"
    end = went.pop("", "")
    rows = []
    for boundary in boundaries:
        how = lost or f"{went[boundary]}, then {end}"
        rows.append(Row(victim, boundary, how, not lost))
        mark = "LOST" if lost else "survived"
        print(f"{victim:7} {boundary:16} {mark:9} {time.monotonic() - begun:5.0f} s  {how}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victim", choices=CELLS, action="append", help="who is killed; may be repeated")
    parser.add_argument("--at", metavar="BOUNDARY", action="append", help="where; may be repeated")
    parser.add_argument("--chain", action="store_true", help="several kills in one repository, one after the other")
    parser.add_argument("--jobs", type=int, default=1, help="how many repositories at a time")
    parser.add_argument("--list", action="store_true", help="show the cells and do nothing")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.at or ()) - set(BOUNDARIES))
    if unknown:
        parser.error(f"no boundary {unknown[0]}; there are {', '.join(BOUNDARIES)}")
    groups = select(chosen.victim or list(CELLS), chosen.at, chain=chosen.chain)
    if chosen.list:
        print("\n".join(f"{victim:7} {boundary}" for victim, boundaries in groups for boundary in boundaries))
        return 0
    with tempfile.TemporaryDirectory(prefix="gl-crash-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "home").mkdir()
        os.environ.update(conftest.isolation(folder / "home"))
        rows = run(groups, folder, chosen.jobs)
    print(f"\nsurvived {sum(row.survived for row in rows)} of {len(rows)} tried")
    return 0 if all(row.survived for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
