"""Check the snapshot against the dataset's contract. A "no" is written down; the next stage refuses to run on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from greenlight import datasets
from greenlight.adapters import contract_page, data_docs, expectations
from greenlight.config import Params
from greenlight.core.contract import Contract
from greenlight.core.contract_report import headline
from greenlight.core.periods import plan
from greenlight.core.snapshot import SnapshotFile

PAGE = "report.html"  # beside the Data Docs: the one page with pictures
SNAPSHOT = "snapshot"  # of the champion's run, in the champion's folder
MAX_PROBLEM = 160  # characters of a reader's message that are kept


def run(params: Params, root: Path) -> str:
    """Write the contract's report and its pages.

    Parameters
    ----------
    params : Params
        Reads ``dataset``, ``data`` and ``paths``; ``data.as_of`` is a month.
    root : Path
        The workspace; the champion's snapshot in its folder says what has been corrected since.

    Returns
    -------
    str
        The headline of the report.

    Raises
    ------
    ConfigError
        No such dataset, or ``data.as_of`` is no month.
    """
    contract: Contract = datasets.load(params.dataset).contract.CONTRACT
    periods = plan(params.data.as_of, params.data.window_months).all
    known = Known(root / params.paths.champion / SNAPSHOT)
    checked = expectations.check(
        contract,
        _files(contract, periods, root, params.paths.snapshot),
        periods,
        known=known,
        learnt=known.others(contract, periods),
    )
    _write_report(root / params.paths.validation, checked.report.to_json())
    _write_pages(root / params.paths.data_docs, {**data_docs.render(checked), PAGE: contract_page.render(checked)})
    return headline(checked.report)


def _files(contract: Contract, periods: tuple[str, ...], root: Path, folder: str) -> Iterator[SnapshotFile]:
    """The registers, then period by period: the check holds no more than one period."""
    for table in contract.tables:
        if table.register:
            yield read(root, f"{folder}/{table.name}.parquet", table.name, "")
    for period in periods:
        for table in contract.tables:
            if not table.register:
                yield read(root, f"{folder}/{table.name}/{period}.parquet", table.name, period)


@dataclass(frozen=True)
class Known:
    """What the champion's run had of a table and period: its snapshot, where the workspace has it."""

    folder: Path

    def __call__(self, table: str, period: str) -> pl.DataFrame | None:
        """The rows; None where it had none, or where they cannot be read any more."""
        return read(self.folder, f"{table}/{period}.parquet", table, period).frame

    def others(self, contract: Contract, periods: tuple[str, ...]) -> Iterator[SnapshotFile]:
        """Its tables in every other period, one file at a time: the champion has seen those rows, too."""
        for table in contract.tables:
            if not table.register:
                for path in sorted((self.folder / table.name).glob("*.parquet")):
                    if path.stem not in periods:
                        yield read(self.folder, f"{table.name}/{path.name}", table.name, path.stem)


def read(root: Path, path: str, table: str, period: str) -> SnapshotFile:
    """Read one Parquet file; one that cannot be read becomes a file with a problem instead of an error."""
    if not (root / path).is_file():
        return SnapshotFile(path, table, period, None, "missing")
    try:
        # memory_map off: a file that is cut short must fail here, not as a bus error later
        return SnapshotFile(path, table, period, pl.read_parquet(root / path, memory_map=False, glob=False))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as exc:
        return SnapshotFile(path, table, period, None, f"unreadable: {_first_line(exc, root)}")


def _first_line(exc: BaseException, root: Path) -> str:
    """The reader's message without this machine's folders, since the report must be the same everywhere."""
    text = (str(exc).strip().splitlines() or [type(exc).__name__])[0].replace(f"{root}/", "")
    return text if len(text) <= MAX_PROBLEM else text[: MAX_PROBLEM - 3] + "..."


def _write_report(path: Path, record: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _write_pages(folder: Path, pages: dict[str, str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, html in pages.items():
        (folder / name).write_text(html, encoding="utf-8")
