"""How a release went, as data and in words."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from greenlight.errors import GreenlightError
from greenlight.operations.looks import overridden
from greenlight.wiring import Project

OUTCOMES = {
    "rolled_back": "rolled back",
    "aborted": "aborted",
    "superseded": "superseded",
    "given_up": "given up",
    "waiting": "waits",
}
UNCHANGED = "unchanged"
WAYS_ON = (
    "`greenlight traffic --rate 100 --duration 600` plays requests, where nobody asks yet",
    "`greenlight release` drives it on now; the stack does so by itself once there are requests",
    "`greenlight release --advance` takes the next step whatever it lacks, `--abort` ends the release",
    "`greenlight release {asked} --strategy full` gives it all traffic at once",
)
WAYS_ON_BEHIND = (
    "`greenlight release` drives {behind} on",
    "`greenlight release {asked} --supersede` ends the release of {behind} first",
)


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
        ``superseded``, ``given_up`` and ``waiting`` (it stands in its safe state and can be driven on); ``unchanged``
        where there was none to drive on.
    asked : str
        The version that was to be released.
    reason : str
        Why it ended so, or what it waits for.
    evidence : dict
        What was known in the end; empty for a release without steps.
    overridden : tuple of dict
        Gates whose answer about `asked` a person overrode: ``gate``, ``by``, ``reason``, ``expires``.
    behind : str
        The version whose release it waits for; empty otherwise.
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
    overridden: tuple[dict[str, str], ...] = ()
    behind: str = ""

    @property
    def ways_on(self) -> tuple[str, ...]:
        """What a person can do about a release that waits; empty for any other."""
        if self.outcome != "waiting":
            return ()
        ways = WAYS_ON_BEHIND if self.behind else WAYS_ON
        return tuple(way.format(asked=self.asked, behind=self.behind) for way in ways)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)

    def summary(self) -> str:
        """One sentence."""
        if self.already_live:
            return f"{self.version} serves already; nothing to do"
        if self.outcome == UNCHANGED:
            return f"{self.reason}; " + (f"{self.version} serves" if self.version else "nothing serves yet")
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
        lines = [f"## {self.summary()}", ""]
        lines += [
            "**{gate}** overridden by {by} until {expires}: {reason}\n".format(**given) for given in self.overridden
        ]
        if self.ways_on:
            lines += ["What goes on from here:", "", *(f"- {way}" for way in self.ways_on), ""]
        if self.seconds:
            lines += ["| step | seconds |", "| --- | --- |"]
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


def with_overrides(project: Project, report: ReleaseReport) -> ReleaseReport:
    """`report` with the gates whose answer about the version a person overrode, as its run recorded them."""
    with suppress(GreenlightError):  # what is only told must not make an error of a release that is done
        commit = project.registry.get(report.asked or report.version).commit
        return replace(report, overridden=tuple(overridden(project, commit)))
    return report
