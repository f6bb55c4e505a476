"""The answer to "may this candidate serve?": a list of checks with their evidence, and the decision they add up to.

A verdict is a value. It knows how to be JSON, Markdown and two sentences; it does not know where limits or numbers
come from (`greenlight.core.gates`) nor what happens next (the flow).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from greenlight.core.check import MARKS, Check, number
from greenlight.core.metrics import json_text

Decision = Literal["promote", "reject", "inconclusive"]
DECISIONS: tuple[Decision, ...] = ("promote", "reject", "inconclusive")
FORMAT = 1
HEADLINE = "champion_roc_auc"  # the check whose words stand in the summary of a promotion


@dataclass(frozen=True)
class Verdict:
    """The decision on one candidate.

    Attributes
    ----------
    decision : str
        ``promote``, ``reject`` or ``inconclusive``.
    checks : tuple of Check
        Every gate, in the order they are read.
    dataset, period : str
        What was judged, and on which holdout.
    rows : int or None
        Size of the holdout.
    champion : str
        Version that the candidate was compared with; empty when there is none.
    """

    decision: Decision
    checks: tuple[Check, ...]
    dataset: str = ""
    period: str = ""
    rows: int | None = None
    champion: str = ""

    @property
    def promoted(self) -> bool:
        """Whether the candidate may serve."""
        return self.decision == "promote"

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that said no and count."""
        return tuple(check for check in self.checks if check.counts_as is False)

    @property
    def undecided(self) -> tuple[Check, ...]:
        """The checks that could not be decided and count."""
        return tuple(check for check in self.checks if check.counts_as is None)

    @property
    def overridden(self) -> tuple[Check, ...]:
        """The checks whose answer does not count, by somebody's word."""
        return tuple(check for check in self.checks if check.override)

    def check(self, name: str) -> Check:
        """The check of that name.

        Raises
        ------
        KeyError
            No gate is called so.
        """
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it; `from_json` reads it back."""
        return {
            "format": FORMAT,
            "decision": self.decision,
            "dataset": self.dataset,
            "period": self.period,
            "rows": self.rows,
            "champion": self.champion,
            "summary": self.summary(),
            "checks": [check.to_json() for check in self.checks],
        }

    def text(self) -> str:
        """The file's text: the same for the same verdict."""
        return json_text(self.to_json())

    @classmethod
    def from_json(cls, document: str | Mapping[str, Any]) -> Verdict:
        """Read what `to_json` or `text` wrote.

        Raises
        ------
        ValueError
            It is no verdict, or one of a format this version does not know. A decision that its own checks do not
            add up to is refused too: a verdict edited by hand promotes nothing.
        """
        try:
            found = json.loads(document) if isinstance(document, str) else document
            if found["format"] != FORMAT:
                raise ValueError(f"verdict of format {found['format']!r}, this version reads {FORMAT}")
            checks = tuple(Check.from_json(item) for item in found["checks"])
            verdict = cls(
                decision=cast(Decision, found["decision"]),
                checks=checks,
                dataset=found["dataset"],
                period=found["period"],
                rows=found["rows"],
                champion=found["champion"],
            )
        except (KeyError, TypeError, AttributeError) as exc:
            raise ValueError(f"not a verdict: {type(exc).__name__} {exc}") from exc
        if verdict.decision != decide(checks):
            raise ValueError(f"the verdict says {verdict.decision!r}, its checks say {decide(checks)!r}")
        return verdict

    def summary(self) -> str:
        """Two sentences: the decision, and what speaks loudest for it."""
        where = f"the holdout {self.period or '(unknown)'}"
        if self.rows is not None:
            where += f", {self.rows:,} rows"
        total = len(self.checks)
        if self.decision == "promote":
            if self.overridden:
                given = "; ".join(
                    f"{c.name} {MARKS[c.passed]}, overridden by {c.overridden_by}" for c in self.overridden
                )
                return f"Promote: {total - len(self.overridden)} of {total} checks on {where} passed. By hand: {given}."
            return f"Promote: the candidate passed all {total} checks on {where}. {self._against()}"
        stays = f"champion {self.champion} stays" if self.champion else "nothing is released"
        told = self.failed if self.decision == "reject" else self.undecided
        verb = "failed" if self.decision == "reject" else "cannot be decided"
        count = f"{len(told)} of {total} checks on {where}"
        head = f"{self.decision.capitalize()}: {_names(told)} {verb} ({count}), so {stays}."
        return f"{head} {told[0].explanation}" if told else head

    def markdown(self, metrics: Mapping[str, Any] | None = None) -> str:
        """The verdict as a page of Markdown: summary, checks, what needs attention, metrics, slices.

        Parameters
        ----------
        metrics : mapping, optional
            The content of metrics.json; adds the table of metrics.
        """
        title = f"# {self.decision.capitalize()}: {self.dataset or 'candidate'} as of {self.period or 'unknown'}"
        parts = [title, self.summary(), _checks_table(self.checks)]
        parts += [_attention(check) for check in (*self.failed, *self.undecided, *self.overridden)]
        if metrics:
            parts.append(_metrics_table(metrics))
        return "\n\n".join(part for part in parts if part) + "\n"

    def _against(self) -> str:
        """Against whom it was judged."""
        if not self.champion:
            return "There is no champion to compare with, so the minimum alone counted."
        said = [check.explanation for check in self.checks if check.name == HEADLINE]
        return said[0] if said else f"It was compared with champion {self.champion} on the same rows."


def decide(checks: Sequence[Check]) -> Decision:
    """Any failed check rejects; else any undecided one is inconclusive; else promote. No checks promote nothing.

    A check that is overridden counts as passed.
    """
    if any(check.counts_as is False for check in checks):
        return "reject"
    if not checks or any(check.counts_as is not True for check in checks):
        return "inconclusive"
    return "promote"


def _names(checks: Sequence[Check]) -> str:
    """At most three names, and how many more."""
    shown = ", ".join(check.name for check in checks[:3])
    return f"{shown} and {len(checks) - 3} more" if len(checks) > 3 else shown


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _checks_table(checks: Sequence[Check]) -> str:
    lines = ["| | check | value | limit | |", "| --- | --- | ---: | ---: | --- |"]
    for check in checks:
        cells = (
            f"**{check.mark}**" if check.passed is False else check.mark,
            f"`{check.name}`",
            number(check.value),
            number(check.limit),
            check.explanation + (f" Overridden by {check.overridden_by}." if check.override else ""),
        )
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "## Checks\n\n" + "\n".join(lines)


def _attention(check: Check) -> str:
    """The rows of evidence behind a check that did not pass, where it has any; at most ten."""
    rows = check.evidence.get("worst")
    if not rows:
        return ""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    for row in rows[:10]:
        lines.append("| " + " | ".join(_cell(_shown(row.get(column))) for column in columns) + " |")
    more = f"\n\nand {len(rows) - 10} more" if len(rows) > 10 else ""
    return f"### {check.name}: {check.question}\n\n" + "\n".join(lines) + more


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return "–" if value is None else str(value)
    return number(value)


def _metrics_table(metrics: Mapping[str, Any]) -> str:
    candidate, champion = metrics.get("candidate") or {}, metrics.get("champion") or {}
    lines = ["| metric | candidate | champion |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {_shown(value)} | {_shown(champion.get(name))} |" for name, value in candidate.items()]
    return "## Metrics on the holdout\n\n" + "\n".join(lines)
