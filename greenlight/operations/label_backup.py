"""Labels in a backup: what turned out to be true cannot be made again, so it goes where runs and data go.

The labels of a day are one Parquet file, an object of the DVC remote by its MD5: a day that is over stays the same
object, so each backup sends the days that grew, and nothing twice. A ref ``refs/greenlight/labels/<digest>`` on a blob
names the objects that no earlier ref does; it is called by its content, so two machines never claim the same one.
A restore takes what all refs name. No object here is any run's, so no clean-up drops one.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from greenlight.adapters.desired import replace_file
from greenlight.adapters.git import Repository
from greenlight.adapters.label_book import LabelBook
from greenlight.adapters.objects import Store, cache_store, remote_store
from greenlight.wiring import Project

REFS = "refs/greenlight/labels/"
FORMAT = 1
SENT = "sent.json"  # beside the book: how many labels the last backup of this machine held
CONTRADICTIONS = "contradictions"
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Returned:
    """What a restore found of labels.

    Attributes
    ----------
    labels : int
        Taken that were not here.
    missing : tuple of str
        Days whose labels the DVC remote lacks, or has damaged.
    """

    labels: int = 0
    missing: tuple[str, ...] = ()


def send(project: Project, remote: Store) -> int:
    """Put every label into the DVC remote and name them by a ref; returns how many there are.

    The ref is here when this returns, and goes to ``origin`` with the others.

    Raises
    ------
    DvcError
        The remote does not answer or cannot be written to.
    StorageFailed
        The book cannot be read.
    """
    book = LabelBook(project.settings.home)
    labels, against = book.copy()
    if not labels.height:
        return 0
    parts = {day: _parquet(rows) for day, rows in _days(labels)}
    if against.height:
        parts[CONTRADICTIONS] = _parquet(against)
    names = {part: hashlib.md5(content, usedforsecurity=False).hexdigest() for part, content in parts.items()}
    absent = set(names.values()) - remote.existing(names.values())
    with tempfile.TemporaryDirectory(prefix="greenlight-labels-") as folder:
        local = cache_store(Path(folder))
        for part, name in names.items():
            if name in absent:
                local.path(name).parent.mkdir(parents=True, exist_ok=True)
                local.path(name).write_bytes(parts[part])
        remote.take(local, absent)
    _name(project.repository, names)
    counts = {"labels": labels.height, CONTRADICTIONS: against.height}
    replace_file(book.file.with_name(SENT), json.dumps(counts).encode())
    return labels.height


def waiting(project: Project) -> int:
    """Labels and contradictions that came since this machine's last backup."""
    book = LabelBook(project.settings.home)
    try:
        sent = json.loads(book.file.with_name(SENT).read_bytes())
    except (FileNotFoundError, ValueError):
        sent = {}
    labels, against = book.count()
    return max(0, labels - int(sent.get("labels", 0))) + max(0, against - int(sent.get(CONTRADICTIONS, 0)))


def bring_back(project: Project) -> Returned:
    """Take the labels that the refs here name out of the DVC remote; may be repeated, what is here stays.

    Raises
    ------
    DvcError
        The remote does not answer.
    StorageFailed
        The book cannot be written.
    """
    settings = project.settings
    named = _named(project.repository)
    if not named:
        return Returned()
    remote = remote_store(settings.root, settings.home)
    with tempfile.TemporaryDirectory(prefix="greenlight-labels-") as folder:
        local = cache_store(Path(folder))
        local.take(remote, remote.existing(named))
        sound = local.sound(named)
        parts: tuple[list[pl.DataFrame], list[pl.DataFrame]] = ([], [])
        for name in sound:
            parts[named[name] == CONTRADICTIONS].append(pl.read_parquet(local.path(name), glob=False))
    # Contradictions last: they say the opposite of what is in the book by then, and are noted as that.
    book = LabelBook(settings.home)
    back = sum(book.put_back(pl.concat(frames)) for frames in parts if frames)
    return Returned(back, tuple(sorted({part for name, part in named.items() if name not in sound})))


def _days(labels: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    day = pl.from_epoch(pl.col("at"), time_unit="us").dt.strftime("%Y-%m-%d").alias("day")
    parts = labels.with_columns(day).partition_by("day", as_dict=True, include_key=False)
    return [(str(key[0]), rows) for key, rows in parts.items()]


def _parquet(rows: pl.DataFrame) -> bytes:
    """The same rows are the same bytes, in whatever order they came."""
    out = io.BytesIO()
    rows.sort("prediction_id", "label").write_parquet(out, compression="zstd")
    return out.getvalue()


def _named(repository: Repository) -> dict[str, str]:
    """Objects that the refs here name, each with its day."""
    found: dict[str, str] = {}
    for content in repository.read_many(repository.refs(REFS).values()):
        about: dict[str, Any] = json.loads(content or b"{}")
        found |= {str(name): str(part) for part, name in about.get("objects", {}).items()}
    return found


def _name(repository: Repository, names: dict[str, str]) -> None:
    known = _named(repository)
    new = {part: name for part, name in sorted(names.items()) if name not in known}
    if not new:
        return
    content = json.dumps({"greenlight_labels": FORMAT, "objects": new}, indent=1).encode()
    blob = repository.run("hash-object", "-w", "--stdin", stdin=content)
    repository.run("update-ref", f"{REFS}{hashlib.sha256(content).hexdigest()[:32]}", blob)
