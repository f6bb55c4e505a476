"""Check one file against the contract before it is handed in, beside the months that the source has before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from greenlight import datasets
from greenlight.adapters import contract_page, expectations
from greenlight.config import PERIOD
from greenlight.core.batches import BATCH_TABLES
from greenlight.core.contract import MONTHS, Contract, Table
from greenlight.core.contract_report import ContractReport
from greenlight.core.snapshot import SnapshotFile
from greenlight.core.tabular import recognise, typed
from greenlight.datasets.supply import INCOMING, Supply
from greenlight.errors import NotFound, UsageError, storage
from greenlight.wiring import Project

BROKEN = 3  # exit status
PARQUET = b"PAR1"
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # what a spreadsheet's "Unicode text" begins with
SEPARATORS = (";", "\t", "|")


@dataclass(frozen=True)
class FileAnswer:
    """Whether a file keeps the contract.

    Attributes
    ----------
    file, table, period : str
    beside : tuple of str
        Earlier periods that it was compared with, oldest first.
    report : ContractReport
    not_checked : str
        What could not be looked at, and why; empty when everything was.
    page : str
        Where the page was written; empty when none was asked for.
    """

    file: str
    table: str
    period: str
    beside: tuple[str, ...]
    report: ContractReport
    not_checked: str
    page: str

    @property
    def exit_code(self) -> int:
        """0, or 3 when the contract is broken."""
        return 0 if self.report.passed else BROKEN

    @property
    def about(self) -> str:
        """What was looked at, in a line."""
        what = f"{self.file}: {self.table}" + (f" of {self.period}" if self.period else "")
        return f"{what}, beside {self.beside[0]} to {self.beside[-1]}" if self.beside else what

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        own = {"file": self.file, "table": self.table, "period": self.period, "beside": list(self.beside)}
        return {**own, "not_checked": self.not_checked, "page": self.page, **self.report.to_json()}


def validate(
    project: Project, path: Path, *, table: str = "", period: str = "", page: Path | None = None
) -> FileAnswer:
    """Check a Parquet or CSV file.

    Parameters
    ----------
    project : Project
    path : Path
        The file; only read.
    table, period : str
        Empty to be recognised: by the columns; by the file's name, or by the rows.
    page : Path, optional
        Where to write the page with pictures.

    Raises
    ------
    UsageError
        There is no such file, it is neither Parquet nor CSV or cannot be read, no table or period fits.
    """
    dataset = datasets.load(project.params.dataset)
    contract: Contract = dataset.contract.CONTRACT
    frame, csv = _read(path)
    found = _table(contract, table) if table else recognise(contract.tables, frame.columns)
    if found is None:
        names = ", ".join(t.name for t in contract.tables)
        raise UsageError(
            f"its columns fit no table of {contract.name}: {', '.join(frame.columns[:8])}",
            where=str(path),
            todo=f"say which one it is with --table: {names}",
        )
    frame = typed(found, frame) if csv else frame
    month = "" if found.register else _period(path, found, frame, period)
    source = Supply(dataset.source, project.settings.root / INCOMING)
    beside = _beside(source, month, project.params.data.window_months)
    asked, not_checked = _asked(contract, found, month, _lacking(contract, source, found, month))
    checked = expectations.check(
        asked,
        _files(contract, source, (path, found.name, month, frame), beside),
        (*beside, month) if month else beside,
        only=(found.name, month),
    )
    report = replace(checked.report, periods=(month,) if month else ())
    if page is not None:
        _write(page, contract_page.render(checked, title=path.name))
    return FileAnswer(str(path), found.name, month, beside, report, not_checked, str(page or ""))


def _read(path: Path) -> tuple[pl.DataFrame, bool]:
    """The file's rows, and whether it is a CSV: then every column is text."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder", todo="name one Parquet or CSV file in it") from None
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", todo="check the path") from None
    except OSError as exc:
        raise storage(exc) from exc
    if not head:
        raise UsageError("the file is empty: 0 bytes", where=str(path), todo="ask for it to be delivered again")
    csv = head != PARQUET
    wanted = "a Parquet file, or a CSV in UTF-8 with a header and commas"
    if head.startswith(UTF16):
        raise UsageError("is text in UTF-16", where=str(path), todo=wanted)
    try:
        if not csv:
            return pl.read_parquet(path, memory_map=False, glob=False), False
        frame = pl.read_csv(path, infer_schema=False, null_values=["", "NA", "null", "NULL"], glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeDecodeError) as exc:
        said = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:160]
        raise UsageError(
            f"cannot be read as {'CSV' if csv else 'Parquet'}: {said}",
            where=str(path),
            todo=wanted if csv else "ask for it to be delivered again",
        ) from exc
    for separator in SEPARATORS:
        if frame.width == 1 and separator in frame.columns[0]:
            raise UsageError(
                f"its header is separated by {separator!r} and not by commas", where=str(path), todo=wanted
            )
    return frame, True


def _table(contract: Contract, name: str) -> Table:
    found = contract.table(name)
    if found is None:
        names = ", ".join(table.name for table in contract.tables)
        raise UsageError(f"no table {name!r} in {contract.name}", todo=f"one of {names}")
    return found


def _period(path: Path, table: Table, frame: pl.DataFrame, said: str) -> str:
    """The month that was named, else that of the file's name, else the one that most rows have."""
    if said:
        if not PERIOD.match(said):
            raise UsageError(f"{said!r} is not a month such as 2013-08", where="--period")
        return said
    if PERIOD.match(path.stem[-7:]):
        return path.stem[-7:]
    months = set(table.month)
    if months and months <= set(frame.columns) and all(frame.schema[name].is_integer() for name in months):
        rows = frame.select(pl.struct(table.month).alias("m")).drop_nulls().get_column("m").value_counts()
        if rows.height:
            year, month = rows.sort("count", "m", descending=True).row(0)[0].values()
            found = f"{year:04d}-{month:02d}"
            if PERIOD.match(found):
                return found
    raise UsageError(
        "neither its name nor its rows say which month it is", where=str(path), todo="say it: --period 2013-08"
    )


def _beside(source: Supply, month: str, window: int) -> tuple[str, ...]:
    """As many earlier months as a run would see beside its newest."""
    known = [period for period in source.periods() if period < month]
    return tuple(known[-(window + 1) :])


def _lacking(contract: Contract, source: Supply, own: Table, month: str) -> list[str]:
    """Other tables of the month that the source does not have."""
    if own.register:
        return []
    return [t.name for t in contract.tables if not t.register and t != own and _fetch(source, month, t.name) is None]


def _asked(contract: Contract, own: Table, month: str, lacking: list[str]) -> tuple[Contract, str]:
    """The contract as far as it is about this file, and what is left out of it for want of other tables."""
    about = [
        e
        for e in contract.expectations
        if e.table == own.name or (month and (e.about == own.name or e.table in BATCH_TABLES))
    ]
    if not lacking:
        return replace(contract, expectations=tuple(about)), ""
    left = [e for e in about if e.table != MONTHS]
    why = f"{len(about) - len(left)} expectations of {MONTHS}, since the source has no {', '.join(lacking)} of {month}"
    return replace(contract, expectations=tuple(left)), why


def _files(
    contract: Contract, source: Supply, own: tuple[Path, str, str, pl.DataFrame], beside: tuple[str, ...]
) -> Iterator[SnapshotFile]:
    """The file, and beside it what the source has: the registers first, then month by month."""
    path, table, month, frame = own
    file = SnapshotFile(str(path), table, month, frame)
    registers = source.fetch_registers()
    for name in (t.name for t in contract.tables if t.register):
        yield file if name == table else SnapshotFile(name, name, "", _frame(registers[name]), "")
    for period in (*beside, *([month] if month else [])):
        for name in (t.name for t in contract.tables if not t.register):
            if (name, period) == (table, month):
                yield file
                continue
            rows = _fetch(source, period, name)
            if rows is not None:
                yield SnapshotFile(f"{name}/{period} of the source", name, period, rows)


def _fetch(source: Supply, period: str, table: str) -> pl.DataFrame | None:
    try:
        return _frame(source.fetch(period)[table])
    except NotFound:
        return None


def _frame(rows: pl.DataFrame | Path) -> pl.DataFrame | None:
    """A table as the source has it, or handed in; None when that cannot be read."""
    if not isinstance(rows, Path):
        return rows
    try:
        return pl.read_parquet(rows, memory_map=False, glob=False)
    except (pl.exceptions.PolarsError, OSError):
        return None


def _write(page: Path, text: str) -> None:
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise storage(exc) from exc
