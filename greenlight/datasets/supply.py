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

from greenlight.errors import NotFound, UsageError

if TYPE_CHECKING:
    import polars as pl

INCOMING = "data/incoming"
"""Folder of the periods handed in, relative to the repository; need not exist."""

_SHOWN = 5  # names in a message
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
        main = f"{self.source.TABLES[0]}/"
        handed = {path.stem for name, path in self.handed().items() if name.startswith(main)}
        return sorted(handed | set(self.source.periods()))

    def handed(self) -> dict[str, Path]:
        """Every file handed in that is understood, by its name below the folder; links are followed.

        This one reading decides what is fingerprinted, what a run's workspace gets and what is fetched.
        """
        return {name: path for name, path in self._listed() if self._is_understood(name) and path.is_file()}

    def require_understood(self) -> None:
        """Refuse what lies in the folder and would not be used.

        Files whose names begin with a dot, and README files, are left alone.

        Raises
        ------
        UsageError
            Names each of them.
        """
        odd = [
            f"{name} (a link to what is not there)" if not path.exists() else name
            for name, path in self._listed()
            if not (self._is_understood(name) and path.is_file())
        ]
        if odd:
            more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
            tables = ", ".join(f"{table}/2013-08.parquet" for table in self.source.TABLES)
            wanted = ", ".join([tables, *(f"{register}.parquet" for register in self.source.REGISTERS)])
            raise UsageError(
                f"not understood, so it would not be used: {', '.join(odd[:_SHOWN])}{more}",
                where=str(self.incoming),
                todo=f"name files like {wanted}, or move them out of the folder",
            )

    def fingerprint(self, periods: Sequence[str]) -> str:
        """A hash of everything that a snapshot of `periods` would be made from; 64 hexadecimal digits."""
        names = [self._name(t, p) for t in self.source.TABLES for p in sorted(periods)]
        names += [self._name(r) for r in self.source.REGISTERS]
        understood = self.handed()
        handed = [name for name in names if name in understood]
        own: str = self.source.fingerprint(periods)
        if not handed:
            return own
        digest = hashlib.sha256(own.encode())
        for name in handed:
            digest.update(f"\n{name} {hashlib.sha256(understood[name].read_bytes()).hexdigest()}".encode())
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
        handed = self.handed()
        names = {table: self._name(table, period) for table in tables}
        return {table: handed[name] for table, name in names.items() if name in handed}

    def _listed(self) -> list[tuple[str, Path]]:
        """What lies in the folder, sorted by name; a folder that cannot hold files of a table counts as one thing."""
        found: list[tuple[str, Path]] = []
        for path in sorted(self.incoming.iterdir()) if self.incoming.is_dir() else ():
            if path.name in self.source.TABLES and path.is_dir():
                found += [(f"{path.name}/{file.name}", file) for file in sorted(path.iterdir())]
            else:
                found.append((path.name, path))
        return [(name, path) for name, path in found if not path.name.startswith((".", "README"))]

    def _is_understood(self, name: str) -> bool:
        table, _, file = name.rpartition("/")
        stem = file.removesuffix(".parquet")
        if stem == file:
            return False
        return bool(_PERIOD.fullmatch(stem)) if table else stem in self.source.REGISTERS

    @staticmethod
    def _name(table: str, period: str = "") -> str:
        return f"{table}/{period}.parquet" if period else f"{table}.parquet"
