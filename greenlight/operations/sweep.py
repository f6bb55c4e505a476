"""Reproduce every run there is, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from greenlight.errors import GreenlightError
from greenlight.operations.origin import fetch_runs
from greenlight.operations.reproduce import reproduce
from greenlight.operations.reproduction import ReproduceReport
from greenlight.operations.runs import RunRecord, list_runs
from greenlight.wiring import Project

EVERY = "all"
WORST = ("different", "error", "equivalent", "identical")


@dataclass(frozen=True)
class Row:
    """How one run came out.

    Attributes
    ----------
    run, outcome : str
    verdict : str
        ``identical``, ``equivalent``, ``different``, or ``error`` where it could not be executed at all.
    seconds : float
    first : str
        The first difference, or the error; empty for an identical run.
    """

    run: str
    outcome: str
    verdict: str
    seconds: float
    first: str = ""


@dataclass(frozen=True)
class Sweep:
    """How all of them came out.

    Attributes
    ----------
    rows : tuple of Row
        Newest run first.
    unrecorded : tuple of str
        Runs that broke off before their record; there is nothing to bring back.
    seconds : float
    """

    rows: tuple[Row, ...]
    unrecorded: tuple[str, ...]
    seconds: float
    run: str = EVERY

    @property
    def verdict(self) -> str:
        """The worst of all; ``identical`` where there is no run."""
        found = {row.verdict for row in self.rows}
        return next((verdict for verdict in WORST if verdict in found), "identical")

    @property
    def exit_code(self) -> int:
        """1 when a run came out different or could not be executed."""
        return int(self.verdict in ("different", "error"))

    @property
    def explanation(self) -> str:
        """One sentence."""
        count = {verdict: sum(row.verdict == verdict for row in self.rows) for verdict in reversed(WORST)}
        text = f"{count['identical']} of {len(self.rows)} runs came back identical"
        text += "".join(f", {number} {name}" for name, number in count.items() if number and name != "identical")
        left = f"; {len(self.unrecorded)} that broke off before their record were left out" if self.unrecorded else ""
        return text + left

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"verdict": self.verdict, "explanation": self.explanation}

    def markdown(self) -> str:
        """For the artifact in the UI."""
        head = f"## {self.explanation} ({self.seconds:.0f} s)\n\n"
        rows = ["| run | outcome | verdict | seconds | first difference |", "| --- | --- | --- | ---: | --- |"]
        for row in self.rows:
            verdict = row.verdict if row.verdict == "identical" else f"**{row.verdict}**"
            first = row.first.replace("\n", " ").replace("|", "\\|")
            rows.append(f"| {row.run} | {row.outcome} | {verdict} | {row.seconds:.0f} | {first} |")
        return head + "\n".join(rows) + "\n"


def sweep(project: Project, *, log: Callable[[str], None] = lambda _: None) -> Sweep:
    """Reproduce every recorded run, newest first, those of the Git remote ``origin`` that are not here too.

    One that cannot be executed is a row of the answer, and the next one follows.

    Raises
    ------
    GitError
        The list of runs cannot be read.
    """
    started = time.perf_counter()
    fetch_runs(project)
    known = list_runs(project)
    recorded = [record for record in known if record.commit]
    rows = []
    for number, record in enumerate(recorded, 1):
        rows.append(row := _row(project, record, log))
        log(f"{number} of {len(recorded)}: {row.run} ({row.outcome}): {row.verdict}, {row.seconds:.0f} s {row.first}")
    unrecorded = tuple(record.name for record in known if not record.commit)
    return Sweep(tuple(rows), unrecorded, round(time.perf_counter() - started, 1))


def reproduce_named(
    project: Project, run: str, *, log: Callable[[str], None] = lambda _: None
) -> ReproduceReport | Sweep:
    """Reproduce the run called `run`, or with ``all`` every run."""
    return sweep(project, log=log) if run == EVERY else reproduce(project, run, log=log)


def _row(project: Project, record: RunRecord, log: Callable[[str], None]) -> Row:
    started = time.perf_counter()
    try:
        report = reproduce(project, record.name, log=lambda line: log(f"{record.name}: {line}"))
    except Exception as exc:  # noqa: BLE001 - what is wrong with one run, a bug included, must not hide the others
        said = str(exc) if isinstance(exc, GreenlightError) else f"{type(exc).__name__}: {exc}"
        return Row(record.name, record.outcome, "error", round(time.perf_counter() - started, 1), said)
    return Row(record.name, record.outcome, report.verdict, report.seconds, report.first)
