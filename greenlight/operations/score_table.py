"""Score a table ahead of time: with the version that serves, or with any other."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from greenlight.adapters import table_scorer
from greenlight.adapters.desired import DesiredState
from greenlight.errors import NotFound, UsageError
from greenlight.operations.serving import Log, Serving, silent
from greenlight.wiring import Project

KINDS = (".parquet", ".csv")


@dataclass(frozen=True)
class TableReport:
    """What was scored.

    Attributes
    ----------
    out : str
        The file written: ``prediction_id``, ``probability``, ``decision`` and ``model_version`` per row, in order.
    version : str
        Version that scored.
    name : str
        The prediction of row i is called ``<name>-<i>``.
    rows : int
    seconds : float
        From the first row read to the file in its place.
    unseen : dict of str to int
        Values per feature that training had not seen; they counted as missing.
    """

    out: str
    version: str
    name: str
    rows: int
    seconds: float
    unseen: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def score_table(
    project: Project, table: Path, *, version: str = "", out: Path | None = None, log: Log = silent
) -> TableReport:
    """Score every row of `table` and write the answers to `out`.

    Parameters
    ----------
    table : Path
        Parquet, or CSV with a head; the columns of a request's row.
    version : str
        Left out: the version that serves.
    out : Path, optional
        Likewise; left out: ``<table>-scores`` in the working directory, of the table's kind.

    Raises
    ------
    UsageError
        The table is not there, not of these kinds, or its rows are not as the service takes them.
    NotFound
        There is no such version, or none serves and none is named.
    BentoError, StorageFailed
        As in `greenlight.adapters.table_scorer.score`.
    """
    target = out or Path(f"{table.stem}-scores{table.suffix.lower()}")
    _require_files(table, target)
    name = version or DesiredState(project.settings.home).load().live
    if not name:
        raise NotFound("no version serves", todo="name one with --version; greenlight runs lists them")
    bento = Serving(project, log).bento(project.registry.get(name))
    if not table_scorer.can(bento):
        raise UsageError(
            f"the code that {name} was built with cannot score tables",
            where=str(bento),
            todo="name a newer version with --version, or ask POST /predict in parts",
        )
    return TableReport(out=str(target), **table_scorer.score(project.settings, bento, table, target))


def _require_files(table: Path, out: Path) -> None:
    if not table.is_file():
        raise UsageError("there is no such file", where=str(table), todo="name a Parquet or CSV file")
    for path in (table, out):
        if path.suffix.lower() not in KINDS:
            raise UsageError(f"neither {' nor '.join(KINDS)}", where=str(path), todo="name a Parquet or CSV file")
    if out.exists() and out.samefile(table):
        raise UsageError("the answers would replace the table", where=str(out), todo="name another file with --out")
    if not out.absolute().parent.is_dir():
        raise UsageError("there is no such folder", where=str(out.absolute().parent), todo="make it, or name another")
