"""A source as it was known at the end of a month: what is newer cannot be read, whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from greenlight import datasets
from greenlight.adapters import expectations
from greenlight.core.contract_report import ContractReport
from greenlight.core.periods import Periods
from greenlight.core.snapshot import SnapshotFile
from greenlight.datasets.supply import Supply
from greenlight.errors import GreenlightError


class History:
    """Months in memory, each read once, none before its end.

    Parameters
    ----------
    dataset : Dataset
    supply : Supply
        The source, and what was handed in.
    """

    def __init__(self, dataset: datasets.Dataset, supply: Supply) -> None:
        self.dataset = dataset
        self.supply = supply
        self.now = ""
        self._tables: dict[str, Mapping[str, pl.DataFrame]] = {}
        self._frames: dict[str, pl.DataFrame] = {}
        self._registers: Mapping[str, pl.DataFrame] = {}
        self._contracts: dict[tuple[str, ...], ContractReport] = {}

    def advance(self, month: str) -> None:
        """Let `month` be over: its rows and labels are known from now on."""
        self.now = max(self.now, month)

    def tables(self, period: str) -> Mapping[str, pl.DataFrame]:
        """The raw tables of one period.

        Raises
        ------
        ValueError
            The period is not over yet.
        GreenlightError
            It is not at the source, or cannot be read.
        """
        if period > self.now:
            raise ValueError(f"{period} is asked for at the end of {self.now or 'no month'}")
        if period not in self._tables:
            self._tables[period] = {name: _read(rows) for name, rows in self.supply.fetch(period).items()}
        return self._tables[period]

    def frame(self, period: str) -> pl.DataFrame:
        """The labelled rows of one period, in the shape of a request."""
        if period not in self._frames:
            self._frames[period] = self.dataset.history.assemble(self.tables(period), period)
        return self._frames[period]

    def registers(self) -> Mapping[str, pl.DataFrame]:
        """The tables without a period."""
        if not self._registers:
            self._registers = {name: _read(rows) for name, rows in self.supply.fetch_registers().items()}
        return self._registers

    def contract(self, periods: Periods) -> ContractReport:
        """What the contract says of a run's snapshot."""
        if periods.all not in self._contracts:
            contract = self.dataset.contract.CONTRACT
            files = [
                SnapshotFile(f"{table}/{period}.parquet", table, period, rows)
                for period in periods.all
                for table, rows in self.tables(period).items()
            ]
            files += [SnapshotFile(f"{name}.parquet", name, "", rows) for name, rows in self.registers().items()]
            self._contracts[periods.all] = expectations.check(contract, files, periods.all).report
        return self._contracts[periods.all]


def _read(rows: pl.DataFrame | Path) -> pl.DataFrame:
    if isinstance(rows, pl.DataFrame):
        return rows
    try:
        return pl.read_parquet(rows, memory_map=False)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as exc:
        reason = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise GreenlightError(
            f"a month that was handed in cannot be read: {reason}", where=str(rows), todo="hand it in again"
        ) from exc
