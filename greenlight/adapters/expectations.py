"""Great Expectations as the engine of a contract: declaration in, report and pages out.

Nothing outside the files ``expectation*.py`` and ``data_docs.py`` knows the engine, so another one can take its place.
Its import costs seconds and its checks tenths of a second, hence the imports inside the functions. Usage tracking and
progress bars are off.

The snapshot is read once, a period at a time, and no more than a period is held. The engine is asked each expectation
once, for all rows; ``expectation_results.py`` finds out where what does not hold is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import polars as pl

from greenlight.adapters.expectation_engines import Choice, Engine, TableRows
from greenlight.adapters.expectation_results import Checked, Judgement
from greenlight.core.batches import Batches
from greenlight.core.contract import COLUMNS, FILES, MONTHS, Contract, Expectation
from greenlight.core.snapshot import SnapshotFile, column_facts, file_facts, gather, sound

__all__ = ["Checked", "check"]

PERIOD = "period"
Known = Callable[[str, str], pl.DataFrame | None]


def check(
    contract: Contract,
    files: Iterable[SnapshotFile],
    periods: Sequence[str],
    *,
    known: Known | None = None,
    learnt: Iterable[SnapshotFile] = (),
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
    learnt : Iterable[SnapshotFile], optional
        What the champion learnt from in other periods than these: rows that stand there too are copies.
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
        for file in learnt:
            snapshot.learn(file)
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

    def learn(self, file: SnapshotFile) -> None:
        """Take what the champion learnt from, as far as it can still be read as the contract declares it."""
        table = self.contract.table(file.table)
        if table is not None and file.frame is not None and sound(file, column_facts(self.contract, [file])):
            self.batches.learn(file.period, table, gather(self.contract, [file], set())[file.table])

    def judge(self, periods: Sequence[str]) -> Checked:
        """Ask the engine, and find out where what does not hold is."""
        self._register_rows()
        months = self._months()
        small = self._small_tables(months)
        for name, frame in small.items():
            for part in _split(self._judged(frame)):
                self._add(name, part)
        judged = Judgement(self.contract, self.engine, {(f.table, f.period): f.path for f in self.facts})
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
