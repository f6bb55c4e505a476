"""Great Expectations as the engine of a contract: declaration in, report and pages out.

Nothing outside this file, ``expectation_suite.py`` and ``data_docs.py`` knows the engine, so another one can take its
place. Its import costs seconds and its checks tenths of a second, hence the imports inside the functions. Everything
runs in memory, on pandas frames that hold only the columns looked at; usage tracking and progress bars are off.

Each expectation is asked once for all rows; only those that fail are asked again for each period, which says where.
"""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from greenlight.adapters import expectation_suite
from greenlight.core.contract import COLUMNS, FILES, Contract, Expectation, show
from greenlight.core.contract_report import MAX_EXAMPLES, ContractReport, Failure, Outcome, Scalar
from greenlight.core.snapshot import SnapshotFile, column_facts, file_facts, gather
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
    """

    report: ContractReport
    results: Mapping[str, ExpectationSuiteValidationResult]


def check(contract: Contract, files: Sequence[SnapshotFile], periods: Sequence[str]) -> Checked:
    """Check a snapshot against its contract.

    Files that are missing, unreadable, empty or of another shape are reported, and what needs them is skipped.

    Parameters
    ----------
    contract : Contract
        What must hold.
    files : Sequence[SnapshotFile]
        Every file that the run needs, read or not.
    periods : Sequence[str]
        Periods of the run, oldest first.

    Raises
    ------
    AdapterError
        The engine could not evaluate an expectation, which is a mistake in the contract, not in the data.
    """
    engine = _Engine(contract, {(file.table, file.period): file.path for file in files})
    engine.check(FILES, file_facts(files))
    engine.check(COLUMNS, column_facts(contract, files))
    tables = contract.derive(gather(contract, files, {failure.file for failure in engine.failures}), periods)
    for name, frame in tables.items():
        engine.check(name, frame)
    measures = tables.get("months", pl.DataFrame())
    return Checked(engine.report(periods, measures), engine.results)


@dataclass
class _Engine:
    """One check of one snapshot: collects outcomes and failures table by table."""

    contract: Contract
    paths: Mapping[tuple[str, str], str]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    results: dict[str, ExpectationSuiteValidationResult] = field(default_factory=dict)
    _rows: Any = None  # the engine's batch definition; one for all tables, since each new one is saved anew

    def check(self, table: str, frame: pl.DataFrame) -> None:
        """Ask every expectation of `table`; those that fail once more for each period."""
        declared = self.contract.of(table)
        if not declared:
            return
        result = self.results[table] = self._validate(table, frame, declared, "BASIC")
        broken = []
        for expectation, found in _pair(declared, result):
            counts = found.result or {}
            self.outcomes[expectation.name] = _outcome(
                expectation,
                "held" if found.success else "broken",
                rows=frame.height,
                unexpected=int(counts.get("unexpected_count", 0 if found.success else 1)),
            )
            if not found.success:
                broken.append(expectation)
        if broken:
            self.failures += sorted(self._locate(table, frame, broken), key=lambda f: (self._rank(f), f.period))

    def report(self, periods: Sequence[str], measures: pl.DataFrame) -> ContractReport:
        """Everything collected, in the order of declaration."""
        every = self.contract.every
        return ContractReport(
            contract=self.contract.name,
            periods=tuple(periods),
            outcomes=tuple(self.outcomes.get(e.name) or _outcome(e, "skipped") for e in every),
            failures=tuple(f for f in self.failures if f.severity == "stop"),
            warnings=tuple(f for f in self.failures if f.severity == "warn"),
            measures=tuple({key: _scalar(value) for key, value in row.items()} for row in measures.to_dicts()),
        )

    def _rank(self, failure: Failure) -> int:
        return [expectation.name for expectation in self.contract.every].index(failure.expectation)

    def _locate(self, table: str, frame: pl.DataFrame, broken: Sequence[Expectation]) -> Iterator[Failure]:
        """The failures of `broken`, one for each period (for each file, where rows are files) that shows it."""
        by = next((column for column in ("file", PERIOD) if column in frame.columns), "")
        located: set[str] = set()
        for part in frame.partition_by(by, maintain_order=True) if by else []:
            result = self._validate(table, part, broken, "SUMMARY")
            for expectation, found in _pair(broken, result):
                if not found.success:
                    located.add(expectation.name)
                    yield self._failure(expectation, found, part, str(part.item(0, PERIOD)))
        # what no period shows by itself (rows that are alike across two files), and tables without periods
        left = [expectation for expectation in broken if expectation.name not in located]
        if left:
            for expectation, found in _pair(left, self._validate(table, frame, left, "SUMMARY")):
                yield self._failure(expectation, found, frame, "")

    def _failure(
        self, expectation: Expectation, found: ExpectationValidationResult, part: pl.DataFrame, period: str
    ) -> Failure:
        counts = found.result or {}
        unexpected = int(counts.get("unexpected_count", 1))
        total = int(counts.get("element_count", 1))
        examples = part[list(counts.get("partial_unexpected_index_list") or [])[:MAX_EXAMPLES]]
        path = self.paths.get((expectation.about or expectation.table, period), "")
        if "file" in part.columns:
            path = str(part.item(0, "file"))
        # what is wrong with a file, or in a table of one row, `observed` says already
        said = total == 1 or "file" in part.columns
        rows = [] if said else examples.select(self._shown(expectation)).to_dicts()
        return Failure(
            expectation=expectation.name,
            table=expectation.table,
            columns=expectation.columns,
            period=period,
            file=path,
            observed=_observed(expectation, counts, part, unexpected),
            limit=expectation.limit,
            unexpected=unexpected,
            rows=total,
            share=round(unexpected / total, 6) if total else 0.0,
            examples=tuple({key: _scalar(value) for key, value in row.items()} for row in rows),
            reason=expectation.reason,
            severity=expectation.severity,
        )

    def _shown(self, expectation: Expectation) -> list[str]:
        """Columns of an example row: what names it, then what was looked at."""
        keys = next((table.key for table in self.contract.tables if table.name == expectation.table), (PERIOD,))
        return list(dict.fromkeys((*keys, *expectation.columns)))

    def _validate(
        self, table: str, frame: pl.DataFrame, expectations: Sequence[Expectation], detail: str
    ) -> ExpectationSuiteValidationResult:
        """Run the engine; `detail` is its result format."""
        if self._rows is None:
            context = _import_engine().get_context(mode="ephemeral")
            context.enable_analytics(enable=False)
            context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
            logging.getLogger("great_expectations").setLevel(logging.ERROR)
            asset = context.data_sources.add_pandas("snapshot").add_dataframe_asset("table")
            self._rows = asset.add_batch_definition_whole_dataframe("rows")
        batch = self._rows.get_batch({"dataframe": expectation_suite.to_pandas(frame, expectations)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result: ExpectationSuiteValidationResult = batch.validate(
                expectation_suite.build(table, expectations),
                result_format={"result_format": detail, "partial_unexpected_count": MAX_EXAMPLES},
            )
        return result


def _import_engine() -> Any:
    """Import the engine with the garbage collector at rest: a fifth of the import is looking for garbage in vain."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        import great_expectations as gx
        import great_expectations.expectations
        import great_expectations.render.renderer
        import great_expectations.render.view
    finally:
        gc.freeze()  # modules stay; later collections need not walk them again
        if collecting:
            gc.enable()
    return gx


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


def _observed(expectation: Expectation, counts: Mapping[str, Any], part: pl.DataFrame, unexpected: int) -> str:
    """What was seen, in words."""
    if expectation.rule == "rows":
        return f"{show(counts['observed_value'])} rows"
    if expectation.rule == "not_null":
        return f"{show(unexpected)} null{'s' if unexpected != 1 else ''}"
    if expectation.rule == "unique":
        return f"{show(unexpected)} rows are alike"
    if expectation.rule == "between":
        values = part.get_column(expectation.columns[0])
        low, high = show(values.min()), show(values.max())
        rows = " rows" if expectation.table == FILES else ""
        return f"{low if low == high else f'{low} to {high}'}{rows}"
    if expectation.table == COLUMNS:
        broken = part.filter(~pl.col("state").is_in(expectation.values))
        return "; ".join(f"{column} {state}" for column, state in broken.select("column", "state").rows())
    seen = list(dict.fromkeys(str(value) for value in counts.get("partial_unexpected_list", [])))
    return ", ".join(seen[:MAX_EXAMPLES])


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
    )


def _scalar(value: Any) -> Scalar:
    """A value that JSON holds exactly the same on every machine: floats to 9 significant digits, no NaN."""
    if isinstance(value, float):
        return None if value != value or abs(value) == float("inf") else float(f"{value:.9g}")
    return value if value is None or isinstance(value, str | int | bool) else str(value)
