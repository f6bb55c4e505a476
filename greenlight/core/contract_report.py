"""What checking a contract found, as a value: written to a file, printed in a terminal, shown in a page.

The record keeps everything (each expectation, each failing period); the texts made of it are capped, because nobody
reads the eleventh failure and a page of bad rows helps less than five of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from greenlight.core.contract import COLUMNS, FILES, Severity, show

MAX_FAILURES = 10  # shown in a text
MAX_EXAMPLES = 5  # kept and shown per failure
MAX_CELL = 40  # characters of a value shown

State = Literal["held", "broken", "skipped"]
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Outcome:
    """One expectation and how it ended.

    Attributes
    ----------
    name, table, limit, reason : str
        As declared.
    columns : tuple[str, ...]
        As declared.
    severity : Severity
        As declared.
    state : State
        ``skipped`` when the files it needs are broken themselves.
    rows : int
        Rows looked at.
    unexpected : int
        Rows that do not conform.
    owner : str
        Who answers for it; empty in records from before there were owners.
    """

    name: str
    table: str
    columns: tuple[str, ...]
    limit: str
    reason: str
    severity: Severity
    state: State
    rows: int = 0
    unexpected: int = 0
    owner: str = ""


@dataclass(frozen=True)
class Failure:
    """One expectation that does not hold in one period.

    Attributes
    ----------
    expectation : str
        Name of the expectation.
    table : str
        Table looked at.
    columns : tuple[str, ...]
        Columns looked at.
    period : str
        ``YYYY-MM``; empty for a register, or when only all periods together show it.
    file : str
        The file to look into; empty for what is derived from several.
    observed, limit : str
        What was seen and what is allowed, in words.
    unexpected, rows : int
        Rows that do not conform, of how many.
    share : float
        Their quotient, 0 to 1.
    examples : tuple[Mapping[str, Scalar], ...]
        At most five of those rows: the columns that name a row and the ones looked at.
    reason : str
        Why it must hold.
    severity : Severity
        ``stop`` or ``warn``.
    owner : str
        Whom to ask; empty in records from before there were owners.
    """

    expectation: str
    table: str
    columns: tuple[str, ...]
    period: str
    file: str
    observed: str
    limit: str
    unexpected: int
    rows: int
    share: float
    examples: tuple[Mapping[str, Scalar], ...]
    reason: str
    severity: Severity
    owner: str = ""

    @property
    def subject(self) -> str:
        """What it is about, such as ``flights.distance in 2013-07``, or the file when that itself is at fault."""
        if self.table in (FILES, COLUMNS):
            return self.file
        text = f"{self.table}.{self.columns[0]}" if len(self.columns) == 1 else self.table
        return f"{text} in {self.period}" if self.period else text

    @property
    def sentence(self) -> str:
        """One line: what, the value against the limit, how many rows, which file."""
        text = f"{self.subject}: {self.observed}, expected {self.limit}"
        if self.subject == self.file:
            return text
        if self.rows > 1:
            text += f" ({show(self.unexpected)} of {show(self.rows)} rows, {_percent(self.share)})"
        return f"{text} [{self.file}]" if self.file else text


@dataclass(frozen=True)
class ContractReport:
    """Whether a snapshot keeps its contract, with the evidence.

    Attributes
    ----------
    contract : str
        Name of the contract.
    periods : tuple[str, ...]
        Periods looked at, in order.
    outcomes : tuple[Outcome, ...]
        Every expectation, in the order of declaration.
    failures : tuple[Failure, ...]
        What stops the run.
    warnings : tuple[Failure, ...]
        What is reported only.
    measures : tuple[Mapping[str, Scalar], ...]
        What was measured per period, one mapping per period; empty when files are broken.
    """

    contract: str
    periods: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    failures: tuple[Failure, ...]
    warnings: tuple[Failure, ...]
    measures: tuple[Mapping[str, Scalar], ...] = ()

    @property
    def passed(self) -> bool:
        """True when every expectation that stops the run was looked at and holds."""
        return all(o.state == "held" for o in self.outcomes if o.severity == "stop") and bool(self.outcomes)

    def count(self, state: State) -> int:
        """Number of expectations that ended as `state`."""
        return sum(outcome.state == state for outcome in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values; numbers first, since ``dvc exp show`` makes columns of them."""
        return {
            "passed": self.passed,
            "contract": self.contract,
            "expectations": len(self.outcomes),
            "held": self.count("held"),
            "broken": self.count("broken"),
            "skipped": self.count("skipped"),
            "failed": len(self.failures),
            "warned": len(self.warnings),
            "periods": list(self.periods),
            "failures": [_plain(failure) for failure in self.failures],
            "warnings": [_plain(failure) for failure in self.warnings],
            "outcomes": [_plain(outcome) for outcome in self.outcomes],
            "measures": [dict(row) for row in self.measures],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ContractReport:
        """The report that `record` was made of.

        Raises
        ------
        ValueError
            `record` is no report: a key is missing or unknown, or ``passed`` contradicts the outcomes.
        """
        try:
            report = cls(
                contract=record["contract"],
                periods=tuple(record["periods"]),
                outcomes=tuple(Outcome(**_tuples(row)) for row in record["outcomes"]),
                failures=tuple(Failure(**_tuples(row)) for row in record["failures"]),
                warnings=tuple(Failure(**_tuples(row)) for row in record["warnings"]),
                measures=tuple(record["measures"]),
            )
        except (KeyError, TypeError) as exc:
            raise ValueError(f"not a contract report: {exc}") from exc
        if report.passed is not record.get("passed"):
            raise ValueError(f"not a contract report: passed is {record.get('passed')!r}, its outcomes say otherwise")
        return report


def headline(report: ContractReport) -> str:
    """One sentence that says how it ended."""
    total = len(report.outcomes)
    if report.passed:
        warned = sum(o.state == "broken" for o in report.outcomes)
        tail = f", {warned} with a warning" if warned else ""
        return f"The data keeps the contract {report.contract}: {total - warned} of {total} expectations hold{tail}"
    broken = sum(o.state == "broken" and o.severity == "stop" for o in report.outcomes)
    skipped = report.count("skipped")
    tail = f"; {skipped} could not be checked, since the files they need are broken" if skipped else ""
    return f"The data breaks the contract {report.contract}: {broken} of {total} expectations do not hold{tail}"


def report_text(report: ContractReport) -> str:
    """The report for a terminal: the headline, at most 10 failures with at most 5 rows each, then the warnings."""
    lines = [headline(report)]
    for mark, found in (("x", report.failures), ("!", report.warnings)):
        for failure in found[:MAX_FAILURES]:
            lines += [f"  {mark} {failure.sentence}", f"      why: {failure.reason}{_ask(failure)}"]
            lines += [f"      {_row(row)}" for row in failure.examples]
            lines += _rest(failure, "      ")
        if len(found) > MAX_FAILURES:
            lines.append(f"  {mark} and {len(found) - MAX_FAILURES} more")
    return "\n".join(lines)


def report_markdown(report: ContractReport) -> str:
    """The report as Markdown, capped like the text."""
    lines = [f"## {'Contract kept' if report.passed else 'Data rejected'}", "", headline(report) + ".", ""]
    lines.append(f"Periods: {', '.join(report.periods)}")
    for title, found in (("Failures", report.failures), ("Warnings", report.warnings)):
        if not found:
            continue
        lines += ["", f"### {title}", ""]
        for failure in found[:MAX_FAILURES]:
            lines += _markdown_failure(failure)
        if len(found) > MAX_FAILURES:
            lines.append(f"... and {len(found) - MAX_FAILURES} more")
    return "\n".join(lines) + "\n"


def _markdown_failure(failure: Failure) -> list[str]:
    lines = [f"**{_escape(failure.sentence)}**", "", _escape(failure.reason + _ask(failure)), ""]
    if failure.examples:
        head = list(failure.examples[0])
        lines += ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        lines += ["| " + " | ".join(_escape(cell(row.get(key))) for key in head) + " |" for row in failure.examples]
        lines.append("")
    return lines + [line for text in _rest(failure, "") for line in (text, "")]


def cell(value: Scalar) -> str:
    """A value of an example row: as it is in the file, cut at 40 characters."""
    text = "null" if value is None else str(value)
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 3] + "..."


def _ask(failure: Failure) -> str:
    return f" (ask: {failure.owner})" if failure.owner else ""


def _row(row: Mapping[str, Scalar]) -> str:
    return "  ".join(f"{key}={cell(value)}" for key, value in row.items())


def _rest(failure: Failure, indent: str) -> list[str]:
    left = failure.unexpected - len(failure.examples)
    return [f"{indent}and {show(left)} more"] if failure.examples and left > 0 else []


def _percent(share: float) -> str:
    return f"{share:.1%}" if share == 0 or share >= 0.001 else "under 0.1%"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _plain(item: Outcome | Failure) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(item).items()}


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for key, value in row.items()
    }
