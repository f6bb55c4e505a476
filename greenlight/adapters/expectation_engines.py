"""Which engine Great Expectations checks a table with: pandas in memory for small ones, DuckDB on files for large ones.

Nobody outside chooses: rows are handed over period by period, and from ``LIMIT`` of them on they go to temporary
Parquet files, of which DuckDB reads what it needs. So memory is bounded by a period and by ``MEMORY``, whatever the
number of periods. Both give the same answers; a test asks both for every expectation.

The engine (1.24.1) has no DuckDB of its own. Its SQL route works with the dialect of duckdb-engine once two things are
put right, see ``_register_dialect`` and ``_Functions``.
"""

from __future__ import annotations

import gc
import logging
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from greenlight.adapters import expectation_suite
from greenlight.core.contract import Expectation

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult

Choice = Literal["auto", "pandas", "duckdb"]
LIMIT = 1_000_000  # rows of a table from which on DuckDB is the faster one; see docs/contract.md for the measurement
MEMORY = "2GB"  # what DuckDB may hold before it writes to the disk
THREADS = 2
SCHEME = "greenlightduck"
EXAMPLES = 5  # unexpected values that the pages of Great Expectations show


@dataclass
class TableRows:
    """The rows of one table, part by part, in memory or in files.

    Attributes
    ----------
    name : str
    expectations : tuple[Expectation, ...]
        What will be asked of it.
    limit : int
        Rows from which on they go to files; 0 for at once.
    folder : Path
        Where files may be written.
    """

    name: str
    expectations: tuple[Expectation, ...]
    limit: int
    folder: Path
    height: int = 0
    _frames: list[pl.DataFrame] = field(default_factory=list)
    _files: list[Path] = field(default_factory=list)

    @property
    def on_disk(self) -> bool:
        """Whether the rows are in files."""
        return bool(self._files)

    def add(self, frame: pl.DataFrame) -> None:
        """Take the next part, such as the rows of one period."""
        self.height += frame.height
        self._frames.append(frame)
        if self._files or self.height >= self.limit:
            for held in self._frames:
                self._write(held)
            self._frames.clear()

    def parts(self) -> Iterator[pl.DataFrame]:
        """The parts in the order in which they came."""
        for path in self._files:
            yield pl.read_parquet(path, memory_map=False, glob=False).drop(
                expectation_suite.key_columns(self.expectations)
            )
        yield from self._frames

    def frame(self) -> pl.DataFrame:
        """All rows at once; relaxed, since one file may hold Int64 and another Int32 without that being a fault."""
        return pl.concat(self._frames, how="vertical_relaxed")

    def view(self) -> str:
        """What DuckDB reads them with."""
        paths = ", ".join(literal(path) for path in self._files)
        return f"SELECT * FROM read_parquet([{paths}], union_by_name = true)"

    def _write(self, frame: pl.DataFrame) -> None:
        path = self.folder / f"{self.name}-{len(self._files):05d}.parquet"
        # Read once or twice and gone: packing them, or counting what DuckDB could skip, costs more than it saves.
        expectation_suite.with_keys(frame, self.expectations).write_parquet(
            path, compression="uncompressed", statistics=False
        )
        self._files.append(path)


def literal(path: Path) -> str:
    """A path as DuckDB's SQL names it: one file, whatever characters its folders have."""
    return "'" + re.sub(r"[*?\[]", r"[\g<0>]", str(path)).replace("'", "''") + "'"


class Engine:
    """Great Expectations, with the rows of one check. A context manager: what it wrote goes with it.

    Parameters
    ----------
    choice : Choice
        ``auto`` by the number of rows; the others for comparison.
    """

    def __init__(self, choice: Choice = "auto") -> None:
        self._limit = {"auto": LIMIT, "duckdb": 0, "pandas": sys.maxsize}[choice]
        self._temporary = tempfile.TemporaryDirectory(prefix="greenlight-contract-")
        self._context: Any = None
        self._frames: Any = None  # the pandas batch definition; one for all tables, since each new one is saved anew

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._temporary.cleanup()

    def table(self, name: str, expectations: Sequence[Expectation]) -> TableRows:
        """Rows to be filled in, of which `expectations` will be asked."""
        return TableRows(name, tuple(expectations), self._limit, Path(self._temporary.name))

    def validate(self, rows: TableRows) -> ExpectationSuiteValidationResult:
        """Ask every expectation of the table, for all its rows together."""
        batch = self._on_disk(rows) if rows.on_disk else self._in_memory(rows)
        suite = expectation_suite.build(rows.name, rows.expectations, hashed=rows.on_disk)

        def ask(examples: int) -> ExpectationSuiteValidationResult:
            result_format = {"result_format": "BASIC", "partial_unexpected_count": examples}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result: ExpectationSuiteValidationResult = batch.validate(suite, result_format=result_format)
            return result

        if not rows.on_disk:
            return ask(EXAMPLES)
        # The examples of each expectation cost DuckDB a pass of their own, so they are asked for where there are any.
        result = ask(0)
        return result if result.success else ask(EXAMPLES)

    def _in_memory(self, rows: TableRows) -> Any:
        if self._frames is None:
            asset = self._open().data_sources.add_pandas("frames").add_dataframe_asset("table")
            self._frames = asset.add_batch_definition_whole_dataframe("rows")
        return self._frames.get_batch({"dataframe": expectation_suite.to_pandas(rows.frame(), rows.expectations)})

    def _on_disk(self, rows: TableRows) -> Any:
        import duckdb

        context = self._open()
        _register_dialect()
        folder = Path(self._temporary.name)
        database = folder / f"{rows.name}.duckdb"
        with duckdb.connect(str(database)) as connection:
            connection.execute(f'CREATE VIEW "{rows.name}" AS {rows.view()}')
        limits = {"memory_limit": MEMORY, "threads": THREADS, "temp_directory": str(folder / "spill")}
        source = context.data_sources.add_sql(
            rows.name,
            connection_string=f"{SCHEME}:///{database}",
            create_temp_table=False,
            kwargs={"connect_args": {"config": limits}},
        )
        source.get_execution_engine().dialect_module = _Functions
        asset = source.add_table_asset(rows.name, table_name=rows.name)
        return asset.add_batch_definition_whole_table("rows").get_batch()

    def _open(self) -> Any:
        if self._context is None:
            self._context = _import_engine().get_context(mode="ephemeral")
            self._context.enable_analytics(enable=False)
            self._context.variables.progress_bars = {"globally": False}
            logging.getLogger("great_expectations").setLevel(logging.ERROR)
        return self._context


class _Functions:
    """Tells the engine how to ask for a regular expression: it knows dialects by attributes of their modules.

    Of the ways that it has, Dremio's is DuckDB's too: ``REGEXP_MATCHES(column, pattern)``, true where the pattern is
    found anywhere.
    """

    DremioDialect = None


def _register_dialect() -> None:
    """Make DuckDB's dialect known under ``SCHEME``, with results that are fetched at once.

    The engine reads a result after it has given the connection back, when duckdb-engine's is gone ("list index out of
    range" for most expectations; great_expectations#10738, #11579).
    """
    import duckdb_engine  # type: ignore[import-untyped]
    from sqlalchemy.dialects import registry
    from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy

    if SCHEME in registry.impls:
        return

    class Context(duckdb_engine.Dialect.execution_ctx_cls):  # type: ignore[misc,valid-type]
        def post_exec(self) -> None:
            super().post_exec()
            if self.cursor.description is not None:
                self.cursor_fetch_strategy = FullyBufferedCursorFetchStrategy(
                    self.cursor, initial_buffer=self.cursor.fetchall()
                )

    class Dialect(duckdb_engine.Dialect):  # type: ignore[misc]
        supports_statement_cache = False
        execution_ctx_cls = Context

    registry.impls[SCHEME] = lambda: Dialect


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
