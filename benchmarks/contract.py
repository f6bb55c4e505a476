"""What the engine of the contract costs beside the same checks as plain queries: `make bench-contract`.

The year 2013 is replicated with a seed to 0.3, 3 and 30 million flights (**synthetic**: carriers rotate and flights are
numbered anew, so that keys stay unique; months, hours, delays and distances are 2013's). Each measurement is a process
of its own over the same Parquet files, so that import, seconds and peak memory are its own:

``auto``, ``pandas``, ``duckdb``
    the whole of ``expectations.check``: reading, deriving, facts of the months, Great Expectations; as it ships (DuckDB
    for tables of a million rows, pandas for the small ones), or with one engine for all tables.
``untied``
    as it ships, without the relations that are learnt from the earlier months (``core/relations.py``).
``polars``
    the same reading and deriving, and every check as a plain Polars expression, month by month (uniqueness by a hash
    over all).
``sql``
    of the flights alone: every check as one plain SQL statement on DuckDB, and uniqueness as a second one, over files
    that have the derived columns already; beside it ``gx``, Great Expectations on the same files.

Ends with a table and ``benchmarks/results/contract.json``. Files go to a temporary folder, 3 GB at most.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "contract.json"
COPIES = {"0.3M": 1, "3M": 9, "30M": 89}
WAYS = ("auto", "untied", "pandas", "duckdb", "polars", "gx", "sql")
LARGE = ("auto", "untied", "polars", "gx", "sql")  # of 30 million rows pandas would need 20 GB
SEED = 20131
FREE = 25e9  # bytes that must be free before the largest


def main() -> None:
    """Measure every size in turn, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=list(COPIES), choices=list(COPIES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FOLDER"), help="measure one way, in this process")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one[0], Path(asked.one[1]))))
        return
    measured = {}
    for size in asked.sizes:
        with tempfile.TemporaryDirectory(prefix="bench-contract-") as folder:
            measured[size] = measure(size, Path(folder), 1 if size == "30M" else asked.rounds)
        print(table(measured), flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document(measured), indent=1) + "\n")


def measure(size: str, folder: Path, rounds: int) -> dict[str, Any]:
    """All ways of one size, in turn, so that a slow minute of the machine hits each of them."""
    disk = os.statvfs(folder)
    if size == "30M" and disk.f_bavail * disk.f_frsize < FREE:
        sys.exit(f"less than {FREE / 1e9:.0f} GB free; nothing was written")
    rows = replicate(folder, COPIES[size])
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for way in LARGE if size == "30M" else WAYS:
            command = [sys.executable, "-m", "benchmarks.contract", "--one", way, str(folder)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            runs.setdefault(way, []).append(json.loads(done.stdout.splitlines()[-1]))
            print(f"  {size} {way}: {runs[way][-1]}", flush=True)
    best = {way: min(found, key=lambda run: run["seconds"]) for way, found in runs.items()}
    return {
        "rows": rows,
        "rounds": rounds,
        "best": best,
        "engine_to_plain": round(best["auto"]["seconds"] / best["polars"]["seconds"], 2),
        "relations_share": round(best["auto"]["seconds"] / best["untied"]["seconds"] - 1, 2),
        "gx_to_sql": round(best["gx"]["seconds"] / best["sql"]["seconds"], 2),
        "peak_gb": best["auto"]["peak_gb"],
    }


def replicate(folder: Path, copies: int) -> int:
    """Write the year `copies` times; returns the number of flights."""
    from greenlight.datasets.flight_delay import source

    rows = 0
    registers = source.fetch_registers()
    registers["planes"].write_parquet(folder / "planes.parquet")
    for table in ("flights", "weather"):
        (folder / table).mkdir()
    for period in source.periods():
        fetched = source.fetch(period)
        flights = fetched["flights"] if copies == 1 else _again(fetched["flights"], copies)
        rows += flights.height
        flights.write_parquet(folder / "flights" / f"{period}.parquet", compression="zstd")
        fetched["weather"].write_parquet(folder / "weather" / f"{period}.parquet", compression="zstd")
    (folder / "derived").mkdir()
    for period, tables in _periods(folder):
        derived = _contract().derive({"planes": registers["planes"], **tables}, [period])["flights"]
        derived.select(_looked()).write_parquet(folder / "derived" / f"{period}.parquet", compression="lz4")
    return rows


def _again(flights: pl.DataFrame, copies: int) -> pl.DataFrame:
    """Each flight `copies` times, the carriers rotated, numbered anew per day, carrier and origin, in seeded order."""
    carriers = flights["carrier"].unique().sort()
    place = pl.col("carrier").cast(pl.Enum(carriers)).to_physical().cast(pl.Int64)
    many = pl.concat([flights.with_columns(copy=pl.lit(n, pl.Int64)) for n in range(copies)])
    rotated = many.with_columns(((place + pl.col("copy")) % len(carriers)).alias("place")).with_columns(
        pl.col("place").replace_strict(list(range(len(carriers))), carriers, return_dtype=pl.String).alias("carrier")
    )
    shuffled = rotated.sample(fraction=1, shuffle=True, seed=SEED)
    numbered = shuffled.with_columns(pl.int_range(1, pl.len() + 1).over("day", "carrier", "origin").alias("flight"))
    return numbered.select(flights.columns)


def one(way: str, folder: Path) -> dict[str, float]:
    """One way over the files of a folder: seconds without imports, seconds of imports, peak memory, verdict."""
    begun = time.perf_counter()
    if way in ("auto", "untied", "pandas", "duckdb", "gx"):
        from greenlight.adapters import expectation_engines

        expectation_engines._import_engine()
    else:
        _contract()
    imported = time.perf_counter()
    held = {"polars": _plain, "gx": _gx, "sql": _sql}.get(way, _check)(way, folder)
    seconds = time.perf_counter() - imported
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {
        "seconds": round(seconds, 2),
        "import_s": round(imported - begun, 2),
        "peak_gb": round(peak, 2),
        "held": held,
    }


def _contract() -> Any:
    from greenlight.datasets.flight_delay.contract import CONTRACT

    return CONTRACT


def _looked() -> list[str]:
    return list(dict.fromkeys(column for e in _contract().of("flights") for column in e.columns))


def _periods(folder: Path) -> Iterator[tuple[str, dict[str, pl.DataFrame]]]:
    for path in sorted((folder / "flights").glob("*.parquet")):
        tables = {name: pl.read_parquet(folder / name / path.name) for name in ("flights", "weather")}
        yield path.stem, {name: frame.with_columns(period=pl.lit(path.stem)) for name, frame in tables.items()}


def _check(way: str, folder: Path) -> int:
    from greenlight.adapters import expectations
    from greenlight.core.relations import RELATIONS
    from greenlight.core.snapshot import SnapshotFile

    def files() -> Iterator[SnapshotFile]:
        yield SnapshotFile("planes.parquet", "planes", "", pl.read_parquet(folder / "planes.parquet"))
        for period in periods:
            for name in ("flights", "weather"):
                frame = pl.read_parquet(folder / name / f"{period}.parquet")
                yield SnapshotFile(f"{name}/{period}.parquet", name, period, frame)

    periods = sorted(path.stem for path in (folder / "flights").glob("*.parquet"))
    contract = _contract()
    if way == "untied":
        left = tuple(e for e in contract.expectations if e.table != RELATIONS)
        contract, way = replace(contract, expectations=left, ties=()), "auto"
    return expectations.check(contract, files(), periods, engine=way).report.count("held")  # type: ignore[arg-type]


def _plain(_: str, folder: Path) -> int:
    from benchmarks.contract_in_polars import streamed

    planes = pl.read_parquet(folder / "planes.parquet")
    return streamed(_contract(), {"planes": planes}, _periods(folder))


def _gx(_: str, folder: Path) -> int:
    """Great Expectations alone, on files that are there already (and copied to its own, with their keys)."""
    from greenlight.adapters.expectation_engines import Engine

    with Engine("duckdb") as engine:
        rows = engine.table("flights", _contract().of("flights"))
        for path in sorted((folder / "derived").glob("*.parquet")):
            rows.add(pl.read_parquet(path))
        begun = time.perf_counter()
        result = engine.validate(rows)
        print(f"validate alone {time.perf_counter() - begun:.2f} s", file=sys.stderr)
        return sum(bool(item.success) for item in result.results)


def _sql(_: str, folder: Path) -> int:
    import duckdb

    expectations = _contract().of("flights")
    limits = {"memory_limit": "2GB", "threads": 2, "temp_directory": str(folder / "spill")}
    with duckdb.connect(config=limits) as connection:
        connection.execute(f"CREATE VIEW flights AS SELECT * FROM read_parquet('{folder}/derived/*.parquet')")
        values = [e for e in expectations if e.rule != "unique"]
        (row,) = connection.execute(f"SELECT {', '.join(_bad(e) for e in values)} FROM flights").fetchall()
        held = sum(count == 0 for count in row)
        for e in (e for e in expectations if e.rule == "unique"):
            groups = f"SELECT count(*) AS n FROM flights GROUP BY {', '.join(e.columns)} HAVING n > 1"
            held += connection.execute(f"SELECT count(*) FROM ({groups})").fetchall()[0][0] == 0
    return held


def _bad(e: Any) -> str:
    column = f'"{e.columns[0]}"'
    if e.rule == "not_null":
        return f"count(*) FILTER (WHERE {column} IS NULL)"
    if e.rule == "one_of":
        return f"count(*) FILTER (WHERE {column} NOT IN ({', '.join(repr(value) for value in e.values)}))"
    if e.rule == "matches":
        return f"count(*) FILTER (WHERE NOT regexp_matches({column}, '{e.pattern}'))"
    return f"count(*) FILTER (WHERE NOT {column} BETWEEN {e.minimum} AND {e.maximum})"


def table(measured: dict[str, Any]) -> str:
    """What was measured, for a terminal."""
    lines = ["size   way      seconds  import  peak GB"]
    for size, found in measured.items():
        for way, best in found["best"].items():
            lines.append(f"{size:6} {way:8} {best['seconds']:7} {best['import_s']:7} {best['peak_gb']:8}")
        ratios = f"engine to plain {found['engine_to_plain']}, gx to sql {found['gx_to_sql']}"
        lines.append(f"{size:6} {ratios}, relations {found['relations_share']:+.0%}")
    return "\n".join(lines)


def document(measured: dict[str, Any]) -> dict[str, Any]:
    """The JSON of the results."""
    return {
        "what": "the contract by Great Expectations and as plain queries; best of the rounds; synthetic replication",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "processor": platform.processor(), "python": platform.python_version()},
        "sizes": measured,
    }


if __name__ == "__main__":
    main()
