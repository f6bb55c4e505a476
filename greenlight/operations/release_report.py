"""How a release went, as data and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

OUTCOMES = {
    "rolled_back": "rolled back",
    "aborted": "aborted",
    "superseded": "superseded",
    "given_up": "given up",
    "waiting": "waits",
}


@dataclass(frozen=True)
class ReleaseReport:
    """How a release went.

    Attributes
    ----------
    version : str
        What serves now.
    previous : str
        What served before; empty for the first release.
    already_live : bool
        Nothing had to be done.
    bento : str
        The bento's folder.
    preflight : dict
        The preflight's report; empty if already live.
    seconds : dict[str, float]
        ``bento``, ``preflight``, ``start``, ``switch`` (until the edge said so), ``drain``; ``steps`` of one by steps.
    outcome : str
        ``promoted``, or of a release by steps also ``rolled_back`` (the evidence said no), ``aborted`` (a person did),
        ``superseded``, ``given_up`` and ``waiting`` (it stands in its safe state and can be driven on).
    asked : str
        The version that was to be released.
    reason : str
        Why it ended so, or what it waits for.
    evidence : dict
        What was known in the end; empty for a release without steps.
    """

    version: str
    previous: str
    already_live: bool
    bento: str = ""
    preflight: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    outcome: str = "promoted"
    asked: str = ""
    reason: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)

    def summary(self) -> str:
        """One sentence."""
        if self.already_live:
            return f"{self.version} serves already; nothing to do"
        if self.outcome in OUTCOMES:
            why = f" ({self.reason})" if self.reason else ""
            return f"{self.asked} {OUTCOMES[self.outcome]}{why}; {self.version} serves"
        before = f", before {self.previous}" if self.previous else ""
        return f"{self.version} serves all traffic{before} ({sum(self.seconds.values()):.1f} s)"

    def notes(self) -> dict[str, str]:
        """What sources said of a shadow's answers, of labels and of an A/B test, by which; what is empty left out."""
        return {name: str(said) for name, said in self.evidence.get("notes", {}).items() if said}

    def markdown(self) -> str:
        """For the artifact in the UI."""
        lines = [f"## {self.summary()}", "", "| step | seconds |", "| --- | --- |"]
        lines += [f"| {step} | {seconds:.2f} |" for step, seconds in self.seconds.items()]
        checks = self.preflight.get("checks", [])
        if checks:
            lines += ["", "| preflight | value | limit | |", "| --- | --- | --- | --- |"]
            lines += [
                f"| {c['name']} | {c['value']} | {c['limit']} | {'ok' if c['passed'] else '**no**'} |" for c in checks
            ]
        if self.evidence:
            asked = f"{self.evidence['requests']} requests; slow is above {self.evidence['slow_ms']:g} ms"
            lines += ["", f"Asked of the candidate: {asked}.", ""]
            lines += [f"- {finding}" for finding in self.evidence["findings"]]
            lines += [f"- {name}: {said}" for name, said in self.notes().items()]
        return "\n".join(lines) + "\n"
