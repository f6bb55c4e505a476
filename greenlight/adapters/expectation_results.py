"""What the engine answered, in the contract's own words: outcomes, and where what does not hold is.

The engine says whether; plain Polars says in which period and which rows (``core/conformity.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from greenlight.adapters.expectation_engines import Engine, TableRows
from greenlight.core import conformity
from greenlight.core.contract import Contract, Expectation
from greenlight.core.contract_evidence import Counts, Evidence, evidence
from greenlight.core.contract_report import ContractReport, Failure, Outcome
from greenlight.core.failures import failure_of, scalar
from greenlight.errors import AdapterError

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult

PERIOD = "period"


@dataclass(frozen=True)
class Checked:
    """What checking a snapshot gives.

    Attributes
    ----------
    report : ContractReport
        The answer.
    results : Mapping[str, ExpectationSuiteValidationResult]
        The engine's own results per table, for ``data_docs``.
    evidence : Mapping[str, tuple[Evidence, ...]]
        What pictures of a broken expectation show, by its name.
    """

    report: ContractReport
    results: Mapping[str, ExpectationSuiteValidationResult]
    evidence: Mapping[str, tuple[Evidence, ...]]


@dataclass
class Judgement:
    """Collects outcomes and failures table by table."""

    contract: Contract
    engine: Engine
    paths: Mapping[tuple[str, str], str]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    results: dict[str, ExpectationSuiteValidationResult] = field(default_factory=dict)
    evidence: dict[str, tuple[Evidence, ...]] = field(default_factory=dict)

    def check(self, rows: TableRows, counts: Counts, context: list[pl.DataFrame] | None) -> None:
        """Ask every expectation of a table; those that do not hold are looked for in each part.

        `context` is what pictures show of it, where that is more than what is judged.
        """
        result = self.results[rows.name] = self.engine.validate(rows)
        broken = []
        for expectation, found in _pair(rows.expectations, result):
            counted = (found.result or {}).get("unexpected_count")  # none of an empty table, and of a row count
            bad = int(not found.success) if counted is None else int(counted)
            state = "held" if found.success else "broken"
            self.outcomes[expectation.name] = _outcome(expectation, state, rows=rows.height, unexpected=bad)
            if not found.success:
                broken.append(expectation)
        if not broken:
            return
        located = _evaluating(lambda: list(self._locate(rows, broken)), broken)
        self.failures += sorted(located, key=lambda f: (self._rank(f), f.period, f.file))
        parts = rows.parts if context is None else lambda: iter(context)
        for expectation in broken:
            own = [failure for failure in located if failure.expectation == expectation.name]
            self.evidence[expectation.name] = evidence(expectation, own, parts, counts)

    def checked(self, periods: Sequence[str], measures: pl.DataFrame) -> Checked:
        """Everything collected, in the order of declaration."""
        report = ContractReport(
            contract=self.contract.name,
            periods=tuple(periods),
            outcomes=tuple(self.outcomes.get(e.name) or _outcome(e, "skipped") for e in self.contract.every),
            failures=tuple(f for f in self.failures if f.severity == "stop"),
            warnings=tuple(f for f in self.failures if f.severity == "warn"),
            measures=tuple({key: scalar(value) for key, value in row.items()} for row in measures.to_dicts()),
        )
        return Checked(report, self.results, self.evidence)

    def _rank(self, failure: Failure) -> int:
        return [expectation.name for expectation in self.contract.every].index(failure.expectation)

    def _locate(self, rows: TableRows, broken: Sequence[Expectation]) -> Iterator[Failure]:
        """The failures of `broken`, one for each period (for each file, where rows are files) that shows it."""
        left = {expectation.name: expectation for expectation in broken}
        for part in rows.parts():
            for expectation, count in zip(broken, conformity.count(part, broken), strict=True):
                if not count.holds(expectation.share):
                    left.pop(expectation.name, None)
                    yield failure_of(self.contract, self.paths, expectation, part, count)
        # what no period shows by itself: rows that are alike across two files, or a share of all rows together
        for expectation in left.values():
            yield self._whole(rows, expectation)
        for expectation in broken:
            if expectation.rule == "unique":
                whole, _ = conformity.alike(rows.parts(), expectation)
                self.outcomes[expectation.name] = _outcome(
                    expectation, "broken", rows=rows.height, unexpected=whole.unexpected
                )

    def _whole(self, rows: TableRows, expectation: Expectation) -> Failure:
        if expectation.rule == "unique":
            count, masks = conformity.alike(rows.parts(), expectation)
            bad = [part.filter(mask).head(5) for part, mask in zip(rows.parts(), masks, strict=True)]
        else:
            counts = [conformity.count(part, [expectation])[0] for part in rows.parts()]
            count = sum(counts, start=conformity.Count(0, 0, 0))
            bad = [part.filter(conformity.unexpected(expectation)).head(5) for part in rows.parts()]
        examples = pl.concat(bad, how="vertical_relaxed").drop(PERIOD, strict=False)
        return failure_of(self.contract, self.paths, expectation, examples, count, known_bad=True)


def _evaluating(work: Callable[[], list[Failure]], broken: Sequence[Expectation]) -> list[Failure]:
    try:
        return work()
    except pl.exceptions.PolarsError as exc:
        names = ", ".join(repr(expectation.name) for expectation in broken)
        raise AdapterError(
            f"Polars could not evaluate one of {names}: {exc}", where="the dataset's contract.py", todo="correct it"
        ) from exc


def _pair(
    declared: Sequence[Expectation], result: ExpectationSuiteValidationResult
) -> Iterator[tuple[Expectation, ExpectationValidationResult]]:
    """Each declared expectation with its result, whatever order the engine chose."""
    found = {item.expectation_config.meta["name"]: item for item in result.results}  # type: ignore[union-attr,index]
    for expectation in declared:
        item = found[expectation.name]
        if item.exception_info and _raised(item.exception_info):
            raise AdapterError(
                f"Great Expectations could not evaluate {expectation.name!r}: {_raised(item.exception_info)}",
                where="the dataset's contract.py",
                todo="correct the expectation",
            )
        yield expectation, item


def _raised(info: Mapping[str, Any]) -> str:
    """The exception's message, or nothing; the engine keys it by metric when a metric failed."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return next((str(entry.get("exception_message")) for entry in entries if entry.get("raised_exception")), "")


def _outcome(expectation: Expectation, state: Any, *, rows: int = 0, unexpected: int = 0) -> Outcome:
    return Outcome(
        name=expectation.name,
        table=expectation.table,
        columns=expectation.columns,
        limit=expectation.limit,
        reason=expectation.reason,
        severity=expectation.severity,
        state=state,
        rows=rows,
        unexpected=unexpected,
        owner=expectation.owner,
    )
