"""What a run can be fed with: a dataset's source, and the periods handed in by file.

A team that gets a new month, or corrects an old one, puts ``data/incoming/<table>/<period>.parquet`` (or
``data/incoming/<register>.parquet``) into place; such a file wins over the source. It is taken byte by byte and not
looked into: judging it is the contract's business, which then can also say that it is cut short or lacks a column.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from greenlight.errors import NotFound

if TYPE_CHECKING:
    import polars as pl

INCOMING = "data/incoming"
"""Folder of the periods handed in, relative to the repository; need not exist."""

_PERIOD = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


@dataclass(frozen=True)
class Supply:
    """A source with the files handed in laid over it.

    Parameters
    ----------
    source : module
        A dataset's ``source.py``: ``TABLES``, ``REGISTERS``, ``periods``, ``fingerprint``, ``fetch``,
        ``fetch_registers``.
    incoming : Path
        Folder of the files handed in; need not exist.
    """

    source: ModuleType
    incoming: Path

    def periods(self) -> list[str]:
        """Every period there is, oldest first; one handed in counts when its first table is there."""
        main = self.incoming / self.source.TABLES[0]
        handed = {p.stem for p in main.glob("*.parquet") if _PERIOD.fullmatch(p.stem)}
        return sorted(handed | set(self.source.periods()))

    def fingerprint(self, periods: Sequence[str]) -> str:
        """A hash of everything that a snapshot of `periods` would be made from; 64 hexadecimal digits."""
        names = [self._name(t, p) for t in self.source.TABLES for p in sorted(periods)]
        names += [self._name(r) for r in self.source.REGISTERS]
        handed = [name for name in names if (self.incoming / name).is_file()]
        own: str = self.source.fingerprint(periods)
        if not handed:
            return own
        digest = hashlib.sha256(own.encode())
        for name in handed:
            digest.update(f"\n{name} {hashlib.sha256((self.incoming / name).read_bytes()).hexdigest()}".encode())
        return digest.hexdigest()

    def fetch(self, period: str) -> dict[str, pl.DataFrame | Path]:
        """Each table of one period: a frame from the source, or the file handed in.

        Raises
        ------
        NotFound
            A table of this period is neither at the source nor handed in.
        GreenlightError
            The source cannot be read.
        """
        handed = self._handed(self.source.TABLES, period)
        lacking = [table for table in self.source.TABLES if table not in handed]
        if not lacking:
            return handed
        try:
            fetched: Mapping[str, pl.DataFrame] = self.source.fetch(period)
        except NotFound as exc:
            files = " and ".join(str(self.incoming / self._name(t, period)) for t in lacking)
            raise NotFound(exc.what, where=exc.where, todo=f"{exc.todo}, or hand in {files}") from exc
        return {table: handed.get(table, fetched[table]) for table in self.source.TABLES}

    def fetch_registers(self) -> dict[str, pl.DataFrame | Path]:
        """Each table without a period: a frame from the source, or the file handed in.

        Raises
        ------
        GreenlightError
            The source cannot be read.
        """
        handed = self._handed(self.source.REGISTERS)
        if len(handed) == len(self.source.REGISTERS):
            return handed
        return {**self.source.fetch_registers(), **handed}

    def _handed(self, tables: Sequence[str], period: str = "") -> dict[str, pl.DataFrame | Path]:
        paths = {table: self.incoming / self._name(table, period) for table in tables}
        return {table: path for table, path in paths.items() if path.is_file()}

    @staticmethod
    def _name(table: str, period: str = "") -> str:
        return f"{table}/{period}.parquet" if period else f"{table}.parquet"
