"""Great Expectations as the engine of a contract: declaration in, report and pages out.

Nothing outside this file, ``expectation_engines.py``, ``expectation_suite.py`` and ``data_docs.py`` knows the engine,
so another one can take its place. Its import costs seconds and its checks tenths of a second, hence the imports inside
the functions. Usage tracking and progress bars are off.

The snapshot is read once, a period at a time, and no more than a period is held. The engine is asked each expectation
once, for all rows; where one does not hold, plain Polars says in which period and which rows (``core/conformity.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import polars as pl

from greenlight.adapters.expectation_engines import Choice, Engine, TableRows
from greenlight.core import conformity
from greenlight.core.batches import Batches
from greenlight.core.contract import COLUMNS, FILES, MONTHS, Contract, Expectation
from greenlight.core.contract_evidence import Counts, Evidence, evidence
from greenlight.core.contract_report import ContractReport, Failure, Outcome
from greenlight.core.failures import failure_of, scalar
from greenlight.core.snapshot import SnapshotFile, column_facts, file_facts, gather, sound
from greenlight.errors import AdapterError

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult

PERIOD = "period"
Known = Callable[[str, str], pl.DataFrame | None]


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


def check(
    contract: Contract,
    files: Iterable[SnapshotFile],
    periods: Sequence[str],
    *,
    known: Known | None = None,
    only: tuple[str, str] | None = None,
    engine: Choice = "auto",
) -> Checked:
    """Check a snapshot against its contract.

    Files that are missing, unreadable, empty or of another shape are reported, and what needs them is skipped.

    Parameters
    ----------
    contract : Contract
        What must hold.
    files : Iterable[SnapshotFile]
        Every file that the run needs, read or not. An iterator must give the registers first, then period by period;
        it is read as the check goes on, so that no more than a period is held.
    periods : Sequence[str]
        Periods of the run, oldest first.
    known : callable, optional
        Content of a table and period as the champion's run had it; None where it had none.
    only : tuple of str, optional
        Table and period that are judged; everything else is there to be compared with.
    engine : Choice
        For comparison; by itself the number of rows decides.

    Raises
    ------
    AdapterError
        The engine could not evaluate an expectation, which is a mistake in the contract, not in the data.
    """
    if isinstance(files, Sequence):
        files = sorted(files, key=lambda file: file.period)
    with Engine(engine) as opened:
        snapshot = _Snapshot(contract, opened, known, only)
        for period, batch in groupby(files, key=lambda file: file.period):
            snapshot.take(period, list(batch))
        return snapshot.judge(periods)


@dataclass
class _Snapshot:
    """One snapshot under examination."""

    contract: Contract
    engine: Engine
    known: Known | None
    only: tuple[str, str] | None = None
    facts: list[SnapshotFile] = field(default_factory=list)  # without their rows
    columns: list[pl.DataFrame] = field(default_factory=list)
    registers: dict[str, pl.DataFrame] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    rows: dict[str, TableRows] = field(default_factory=dict)
    months: list[pl.DataFrame] = field(default_factory=list)
    taken: int = 0  # periods

    def __post_init__(self) -> None:
        self.batches = Batches(self.contract)

    def take(self, period: str, files: Sequence[SnapshotFile]) -> None:
        """Look at the files of one period, or at the registers."""
        facts = column_facts(self.contract, files)
        self.columns.append(facts)
        bad = {file.path for file in files if not sound(file, facts)}
        self.broken |= {f.table for f in files if f.path in bad and self._is_judged(f.table, f.period)}
        self.facts += [file.without_rows() for file in files]
        raw = gather(self.contract, files, bad)
        if not period:
            self.registers = raw
        else:
            self.taken += self.only is None or period == self.only[1]  # of the others, what is sound will do
            self._derive(period, raw)

    def judge(self, periods: Sequence[str]) -> Checked:
        """Ask the engine, and find out where what does not hold is."""
        self._register_rows()
        months = self._months()
        small = self._small_tables(months)
        for name, frame in small.items():
            for part in _split(self._judged(frame)):
                self._add(name, part)
        judged = _Judgement(self.contract, self.engine, {(f.table, f.period): f.path for f in self.facts})
        for name in dict.fromkeys(expectation.table for expectation in self.contract.every):
            if name in self.rows and name not in self.broken:
                context = _split(small[name]) if name in small else None
                judged.check(self.rows[name], self.batches.counts, context)
        return judged.checked(periods, months)

    def _derive(self, period: str, raw: dict[str, pl.DataFrame]) -> None:
        derived = self.contract.derive({**self.registers, **raw}, [period])
        months = derived.pop(MONTHS, None)
        if months is not None:
            self.months.append(months)
        self.batches.add(period, raw, derived)
        for name, frame in raw.items():
            before = self.known(name, period) if self.known else None
            table = self.contract.table(name)
            if before is not None and table is not None and set(table.columns) <= set(before.columns):
                columns = sorted(table.columns)
                self.batches.correct(period, table, before.select(columns), frame.select(columns))
        for name, frame in derived.items():
            if name not in self.registers and self._is_judged(name, period):
                self._add(name, frame)

    def _register_rows(self) -> None:
        for name, frame in self.contract.derive(self.registers, []).items():
            if name in self.registers and self._is_judged(name, ""):
                self._add(name, frame)

    def _is_judged(self, table: str, period: str) -> bool:
        return self.only is None or self.only == (table, period)

    def _judged(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of a small table that are judged."""
        if self.only is None:
            return frame
        table, period = self.only
        kept = frame.filter(pl.col(PERIOD) == period)
        if "table" in kept.columns:
            kept = kept.filter(pl.col("table") == table)
        if "file" in kept.columns:
            kept = kept.filter(pl.col("file").is_in([f.path for f in self.facts if f.table == table]))
        return kept

    def _months(self) -> pl.DataFrame:
        """The figures of all periods; nothing where a table that they are made from is broken."""
        if len(self.months) < self.taken or not self.months:
            return pl.DataFrame()
        together = pl.concat(self.months, how="vertical_relaxed")
        return self.batches.measures(self.contract.compare(together))

    def _small_tables(self, months: pl.DataFrame) -> dict[str, pl.DataFrame]:
        sound_tables = [table.name for table in self.contract.tables if table.name not in self.broken]
        return {
            FILES: file_facts(self.facts),
            COLUMNS: pl.concat(self.columns) if self.columns else column_facts(self.contract, []),
            **({MONTHS: months} if months.height else {}),
            **self.batches.tables(sound_tables),
        }

    def _add(self, name: str, frame: pl.DataFrame) -> None:
        declared = self.contract.of(name)
        if declared and name not in self.broken:
            if name not in self.rows:
                self.rows[name] = self.engine.table(name, declared)
            self.rows[name].add(frame.select(_wanted(self.contract, name, declared, frame)))


@dataclass
class _Judgement:
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


def _split(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """A small table by what its failures are told apart by: the file, or the period."""
    by = next((column for column in ("file", PERIOD) if column in frame.columns), "")
    return frame.partition_by(by, maintain_order=True) if by and frame.height else [frame]


def _wanted(contract: Contract, name: str, declared: Sequence[Expectation], frame: pl.DataFrame) -> list[str]:
    """Columns that are looked at or shown; of a table that is no file's, all."""
    table = contract.table(name)
    if table is None:
        return frame.columns
    looked = [column for expectation in declared for column in expectation.columns]
    return [column for column in frame.columns if column in {*looked, *table.key, PERIOD}]


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
