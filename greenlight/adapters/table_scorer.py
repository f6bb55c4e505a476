"""A bento's own code scores a table, in a process of its own: the code of its version, not of this checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from greenlight.adapters import model_servers
from greenlight.adapters.bento import SOURCES
from greenlight.config import Settings
from greenlight.errors import BentoError, UsageError, disk_fault, storage

MODULE = Path("bentos/classifier/score_table.py")
LISTED = 10  # wrong values told


def can(bento: Path) -> bool:
    """Whether the code packed in `bento` can score tables; what was built before there was such a thing cannot."""
    return (bento / SOURCES / MODULE).is_file()


def score(settings: Settings, bento: Path, table: Path, out: Path) -> dict[str, Any]:
    """Score the rows of `table` with `bento`, and write one answer a row to `out`, whole or not at all.

    Parameters
    ----------
    table, out : Path
        Parquet, or CSV where the name ends in ``.csv``.

    Returns
    -------
    dict
        ``version``, ``name`` (the prediction of row i is ``<name>-<i>``), ``rows``, ``unseen`` (values per feature that
        training had not seen), ``seconds``.

    Raises
    ------
    UsageError
        The table cannot be read, its columns are not the row's, or values are wrong: each is named.
    BentoError
        The bento's signature does not hold, or its process broke.
    StorageFailed
        `out` cannot be written.
    """
    with model_servers.checking_seal(settings, bento) as checking:
        said = checking.communicate()[0].strip()
    if checking.returncode:
        raise BentoError(said, where=str(bento), todo=f"greenlight verify {bento.name} explains")
    done = subprocess.run(
        [sys.executable, "-m", "bentos.classifier.score_table", str(table.absolute()), str(out.absolute())],
        cwd=bento / SOURCES,
        env={**os.environ, **_environment(settings)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        lines = "\n".join((done.stderr or f"it ended with status {done.returncode}").strip().splitlines()[-8:])
        raise disk_fault(OSError(done.stderr)) or BentoError(
            f"the table was not scored:\n{lines}", where=str(bento)
        ) from None
    if "errno" in found:
        raise storage(OSError(found["errno"], found["error"], str(out)))
    if "error" in found:
        raise UsageError(_words(found), where=str(table), todo="mend the table, then score it again")
    return found


def _environment(settings: Settings) -> dict[str, str]:
    """As a server's, but all cores may work on the one table."""
    found = model_servers.environment(settings.home, settings.home)
    for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
        found[name] = str(os.cpu_count() or 1)
    # Series that nobody asks for would leave files in a shared folder.
    found.pop("PROMETHEUS_MULTIPROC_DIR")
    return found


def _words(found: dict[str, Any]) -> str:
    lines = [found["error"]]
    for one in found["details"][1:LISTED]:
        place = f"row {one['row']}, " if one["row"] is not None else ""
        lines.append(f"{place}field {one['field']}: {one['problem']}")
    more = found["more"] + max(0, len(found["details"]) - LISTED)
    return "\n".join([*lines, *([f"and {more:,} more"] if more else [])])
