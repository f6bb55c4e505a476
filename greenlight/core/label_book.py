"""The book of labels: what turned out to be true of a prediction, at most one label each, the first one counts.

A SQLite file that several processes write (each server that takes ``POST /labels``, and ``greenlight labels FILE``).
SQLite, and not a file of lines a process: whether a label is new, known or contradicts an earlier one must be answered
at once, whoever took the earlier one; and a label that was acknowledged is on the disk. The statements are here, the
connection is the caller's: this module opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

FILE = "labels.sqlite"
PREDICTION_ID = r"^[0-9a-f]{32}-(0|[1-9][0-9]{0,6})$"  # a table has up to 2,000,000 rows
MAX_LABELS = 10_000
# What several processes wait for one another; a batch of 10,000 takes 0.1 s.
BUSY_TIMEOUT_S = 10.0
# WAL: readers and the writer do not wait for one another. FULL: a commit returns when the label is on the disk
# (sqlite.org/pragma.html#pragma_synchronous: NORMAL may lose the last commits at a power cut).
PREPARE = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "CREATE TABLE IF NOT EXISTS labels (prediction_id TEXT PRIMARY KEY, label INTEGER NOT NULL CHECK (label IN (0, 1)),"
    " at INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS contradictions (prediction_id TEXT NOT NULL, label INTEGER NOT NULL,"
    " at INTEGER NOT NULL, PRIMARY KEY (prediction_id, label)) WITHOUT ROWID",
)
_ID = re.compile(PREDICTION_ID)


class Connection(Protocol):
    """What is needed of a DB-API connection to SQLite in autocommit mode (``isolation_level=None``)."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Any:
        """Run one statement."""


@dataclass(frozen=True)
class Contradiction:
    """A label that is not what an earlier one said; it was not applied."""

    prediction_id: str
    kept: bool
    sent: bool


@dataclass(frozen=True)
class Taken:
    """What became of the labels that were handed in.

    Attributes
    ----------
    accepted : int
        New ones.
    known : int
        Equal to what was there.
    contradictions : tuple of Contradiction
        Not applied: the first label counts.
    """

    accepted: int
    known: int
    contradictions: tuple[Contradiction, ...] = ()


def is_prediction_id(text: str) -> bool:
    """Whether `text` looks like what ``POST /predict`` hands out."""
    return bool(_ID.fullmatch(text))


def prepare(connection: Connection) -> None:
    """Make the tables where there are none yet."""
    for statement in PREPARE:
        connection.execute(statement)


def take(connection: Connection, labels: Iterable[tuple[str, bool]], at: int) -> Taken:
    """Apply `labels` in their order, all or, after an error or a crash, none.

    Parameters
    ----------
    labels : iterable of (str, bool)
        Prediction id, and what turned out to be true.
    at : int
        Microseconds since the epoch, UTC.
    """
    return take_each(connection, [labels], at)[0]


def take_each(connection: Connection, requests: Iterable[Iterable[tuple[str, bool]]], at: int) -> list[Taken]:
    """Apply the labels of several requests, one after the other, in one commit: all or none of them.

    When it returns they are on the disk. A commit waits for the disk; that is what several requests share.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        taken = [_apply(connection, labels, at) for labels in requests]
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return taken


def put_back(connection: Connection, labels: Iterable[tuple[str, int, int]]) -> int:
    """Apply labels of a copy of a book, each with when it was taken; returns how many were not there.

    What is there stays. A label that says the opposite of it is noted as contradicting, as one that arrives is.

    Parameters
    ----------
    labels : iterable of (str, int, int)
        Prediction id, label, microseconds since the epoch, UTC.
    """
    added = 0
    connection.execute("BEGIN IMMEDIATE")
    try:
        for name, label, at in labels:
            if connection.execute("INSERT OR IGNORE INTO labels VALUES (?, ?, ?)", (name, label, at)).rowcount:
                added += 1
            elif _kept(connection, name) != bool(label):
                connection.execute("INSERT OR IGNORE INTO contradictions VALUES (?, ?, ?)", (name, label, at))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return added


def _apply(connection: Connection, labels: Iterable[tuple[str, bool]], at: int) -> Taken:
    accepted = known = 0
    against: list[Contradiction] = []
    for name, label in labels:
        done = connection.execute("INSERT OR IGNORE INTO labels VALUES (?, ?, ?)", (name, int(label), at))
        if done.rowcount:
            accepted += 1
            continue
        kept = _kept(connection, name)
        if kept == label:
            known += 1
            continue
        against.append(Contradiction(name, kept, label))
        connection.execute("INSERT OR IGNORE INTO contradictions VALUES (?, ?, ?)", (name, int(label), at))
    return Taken(accepted, known, tuple(against))


def _kept(connection: Connection, name: str) -> bool:
    row: Sequence[int] = connection.execute("SELECT label FROM labels WHERE prediction_id = ?", (name,)).fetchone()
    return bool(row[0])
