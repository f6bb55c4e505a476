"""How a retrain went, for a person and for a program: outcome, why, what next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlight.config import PERIOD

if TYPE_CHECKING:
    from rich.console import RenderableType

    from greenlight.wiring import Project

WAITS = (
    "greenlight traffic --rate 100 --duration 600 plays requests, where nobody asks yet; the stack drives the release "
    "on once somebody does, and so does greenlight release. By hand: greenlight release --advance, --abort, or "
    "greenlight release {version} --strategy full for all traffic at once"
)
NEXT = {
    "Crashed": "running it again is safe; the champion serves on",
    "Cancelled": "running it again is safe; the champion serves on",
}


@dataclass(frozen=True)
class Answer:
    """How the retrain went.

    Attributes
    ----------
    outcome : str
        Name of the final state, ``Started`` when it is not followed, ``Following stopped`` after Ctrl-C.
    reason : str
    page : str
        Address of the run's page in the Prefect UI.
    exit_code : int
    run : str
        Name of the run; empty when it came to none.
    record : dict
        What is recorded of the run.
    reports : dict of str to str
        Pages on this machine, by title.
    example : str
        A request to paste, while a version is live.
    mend : tuple of str
        Files handed in that broke the contract, relative to the repository.
    """

    outcome: str
    reason: str
    page: str
    exit_code: int
    run: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    reports: dict[str, str] = field(default_factory=dict)
    example: str = ""
    mend: tuple[str, ...] = ()

    @property
    def todo(self) -> str:
        """What to do next; empty where the outcome says it all."""
        if self.outcome in ("KeptChampion", "Inconclusive") and PERIOD.match(self.record.get("as_of", "")):
            from greenlight.core.periods import shift

            return f"next month: greenlight retrain --as-of {shift(self.record['as_of'], 1)}"
        if self.mend:
            return f"mend what was handed in, then greenlight retrain: {', '.join(self.mend)}"
        if self.outcome == "Waiting":
            return WAITS.format(version=self.record.get("version") or "VERSION")
        return NEXT.get(self.outcome, "")

    @property
    def failures(self) -> list[dict[str, str]]:
        """Expectations that stopped the run: their names, and what does not hold in a sentence."""
        if self.outcome != "DataRejected" or not self.record.get("validation"):
            return []
        from greenlight.core.contract_report import ContractReport

        found = ContractReport.from_json(self.record["validation"]).failures
        return [{"name": failure.expectation, "sentence": failure.sentence} for failure in found]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "run": self.run,
            "version": self.record.get("version", ""),
            "metrics": self.record.get("metrics", {}),
            "failures": self.failures,
            "mend": list(self.mend),
            "next": self.todo,
            "page": self.page,
            "reports": self.reports,
            "example": self.example,
        }

    def views(self) -> Iterator[RenderableType]:
        """For a terminal."""
        from rich.text import Text

        from greenlight.cli import layout, views

        head = layout.outcome_text(self.outcome)
        head.stylize("bold")
        yield Text.assemble(head, f": {self.reason}" if self.reason else "")
        if self.todo:
            yield f"Next: {self.todo}"
        verdict = self.record.get("verdict") or {}
        if self.outcome == "DataRejected" and self.record.get("validation"):
            yield from ("", "\n".join(views.contract_lines(self.record["validation"])[1:]))  # the reason is its first
        elif verdict:
            yield from ("", views.verdict_view(verdict))
        yield from ("", *(f"{title}: {path}" for title, path in (self.reports | {"page": self.page}).items()))
        if self.example:
            yield from ("", "Ask the version that is live:", "", self.example)


def handed_in(project: Project, record: Mapping[str, Any]) -> tuple[str, ...]:
    """Which of the files that break the contract somebody put into ``data/incoming``, relative to the repository."""
    from greenlight.core.contract_report import ContractReport
    from greenlight.datasets.supply import INCOMING

    if not record.get("validation"):
        return ()
    folder, found = project.settings.root / INCOMING, set[Path]()
    for failure in ContractReport.from_json(record["validation"]).failures:
        # What was derived from several tables names no file: then any of that month may be at fault.
        name = failure.file.removeprefix(f"{project.params.paths.snapshot}/") or f"*/{failure.period}.parquet"
        found.update(folder.glob(name))
    return tuple(str(path.relative_to(project.settings.root)) for path in sorted(found))
