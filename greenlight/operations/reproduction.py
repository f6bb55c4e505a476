"""The answer to "does this run come back?", for a person, a program and the UI."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from greenlight.core.changes import Change, shown
from greenlight.core.environments import reasons
from greenlight.core.equivalence import SCORE_TOLERANCE


@dataclass(frozen=True)
class Output:
    """One output of the run: its hash as recorded and as it came out now."""

    stage: str
    path: str
    recorded: str
    reproduced: str
    same: bool


@dataclass(frozen=True)
class ReproduceReport:
    """How a reproduction came out.

    Attributes
    ----------
    run, commit, outcome : str
        Which run, and how it ended when it was recorded.
    verdict : str
        ``identical``, ``equivalent`` or ``different``.
    explanation : str
        One or two sentences.
    outputs : tuple of Output
        In the order of the stages.
    seconds : float
    stage, file : str
        The first stage and the first file of it that differ; empty when the run is identical.
    scores, metrics : float or None
        Largest absolute difference in the holdout's scores and in the metrics; None where they were not compared.
    tolerance : float
        Up to which both may differ for ``equivalent``.
    inputs : tuple of Change
        What differs in what that stage depends on; empty where it was given exactly what was recorded.
    environment : tuple of Change
        What differs between the environment of the record and this one.
    """

    run: str
    commit: str
    outcome: str
    verdict: str
    explanation: str
    outputs: tuple[Output, ...]
    seconds: float
    stage: str = ""
    file: str = ""
    scores: float | None = None
    metrics: float | None = None
    tolerance: float = SCORE_TOLERANCE
    inputs: tuple[Change, ...] = ()
    environment: tuple[Change, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 for identical and equivalent, 1 for different."""
        return 1 if self.verdict == "different" else 0

    @property
    def why(self) -> str:
        """Why bits may differ, as far as the environment explains it; empty for an identical run."""
        if self.verdict == "identical":
            return ""
        if known := reasons(self.environment):
            return f"bits may differ because of {', '.join(known)}"
        return (
            "nothing recorded of the environment differs, so the stage is no function of what it depends on "
            "(a clock, a random number without the seed, something outside)"
        )

    @property
    def first(self) -> str:
        """The first difference in a few words; empty when there is none."""
        return f"{self.stage}: {self.file}" if self.stage else ""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"why": self.why, "differences": self.differences()}

    def differences(self) -> list[str]:
        """What differs in the stage's inputs and in the environment, a line each."""
        if self.verdict == "identical":
            return []
        lines = [f"input of {self.stage}: {change.sentence()}" for change in self.inputs]
        if not self.inputs:
            lines = [f"inputs of {self.stage}: as recorded"]
        return [*lines, *(f"environment: {change.sentence()}" for change in self.environment), self.why]

    def markdown(self) -> str:
        """For the artifact in the UI."""
        text = f"## {self.run}: {self.verdict}\n\n{self.explanation} ({self.seconds:.0f} s).\n\n"
        rows = ["| stage | output | recorded | now | |", "| --- | --- | --- | --- | --- |"]
        for o in self.outputs:
            mark = "same" if o.same else "**different**"
            rows.append(f"| {o.stage} | `{o.path}` | `{o.recorded[:12]}` | `{o.reproduced[:12]}` | {mark} |")
        text += "\n".join(rows) + "\n"
        if self.verdict == "identical":
            return text
        text += f"\nFirst difference: stage {self.stage}, `{self.file}`. {self.why[:1].upper()}{self.why[1:]}.\n"
        for title, found in ((f"Inputs of {self.stage}", self.inputs), ("Environment", self.environment)):
            text += f"\n### {title}\n\n" + _changes(found)
        return text


def _changes(found: tuple[Change, ...]) -> str:
    if not found:
        return "As recorded.\n"
    rows = ["| what | recorded | now |", "| --- | --- | --- |"]
    rows += [f"| `{change.what}` | {shown(change.before)} | {shown(change.after)} |" for change in found]
    return "\n".join(rows) + "\n"
