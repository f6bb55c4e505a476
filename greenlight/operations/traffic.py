"""Play a period of the dataset against the edge, as if its clients asked now: for demonstrations, drills and tests.

Every row that clients could have asked about in that period counts, whatever became of it; of each only what was known
then is sent. Requests carry ``x-greenlight-played: 1``, so that logs can tell them from those of clients.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import polars as pl

from greenlight import datasets
from greenlight.adapters.desired import DesiredState
from greenlight.adapters.edge import Edge
from greenlight.adapters.open_loop import Ask, OpenLoop, Tally
from greenlight.config import PERIOD, Settings
from greenlight.core.periods import shift
from greenlight.datasets import Dataset
from greenlight.datasets.supply import INCOMING, Supply
from greenlight.errors import NotFound, ServerError, UsageError
from greenlight.operations.plan import champion_as_of
from greenlight.operations.serving import Log, silent
from greenlight.wiring import Project, open_project

PROGRESS_S = 5.0
CHUNK = 512  # rows that are turned into requests at a time
PLAYED = {"x-greenlight-played": "1"}
KEY = "x-greenlight-key"
Positions = npt.NDArray[np.int64]
Seconds = npt.NDArray[np.float64]
SLOW_MS = 50.0  # a client that sends this much late at its 99th percentile is itself the bottleneck


@dataclass(frozen=True)
class Wish:
    """What to play.

    Attributes
    ----------
    period : str
        ``YYYY-MM``; empty: the one after the holdout of what serves.
    rate : float
        Requests a second, above 0, on average: they come at random moments, as those of strangers do.
    duration_s : float
        How long, seconds, above 0.
    labels_after_s : float or None
        How long after its answer a row's label is posted; None: never.
    key : str
        The column whose value is the sticky key; empty: no key.
    seed : int
        Which rows, at which moments.
    """

    period: str = ""
    rate: float = 20.0
    duration_s: float = 60.0
    labels_after_s: float | None = None
    key: str = ""
    seed: int = 0


@dataclass(frozen=True)
class TrafficReport:
    """How it went.

    Attributes
    ----------
    period : str
    wanted, sent, answered : int
        Requests planned, sent, and well answered.
    errors : dict of str to int
        Requests without a good answer, by why.
    seconds : float
        From the first request to the last answer or label.
    latency_ms : dict of str to float
        ``p50``, ``p95``, ``p99``, ``max`` of good answers, from when each was due; empty without any.
    lag_ms : float
        How late requests left, 99th percentile: the player's own share of the latency.
    versions : dict of str to int
        Good answers by the version that gave them, most first.
    labels : dict of str to int
        ``posted``, ``accepted``, ``known``, ``contradicting``, and ``waiting``: not posted.
    interrupted : bool
    notes : tuple of str
        What a person must know beyond that.
    """

    period: str
    wanted: int
    sent: int
    answered: int
    errors: dict[str, int]
    seconds: float
    latency_ms: dict[str, float]
    lag_ms: float
    versions: dict[str, int]
    labels: dict[str, int]
    interrupted: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """1 when a request got no good answer."""
        return int(bool(self.errors))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def play(settings: Settings, wish: Wish, *, log: Log = silent) -> TrafficReport:
    """Play a period; Ctrl-C ends it and the report says how far it got.

    Raises
    ------
    ServerError
        The edge does not answer.
    UsageError, NotFound
        Nothing is live, the period is no month or not in the data, or no row has the column named.
    """
    project = open_project(settings, lenient=True)
    live = DesiredState(settings.home).load().live
    if not Edge(settings).is_up():
        raise ServerError("the stack is down, so nobody would answer", todo="greenlight up")
    if not live:
        raise UsageError("no version is live, so nobody can answer", todo="greenlight retrain")
    period = wish.period or shift(champion_as_of(project, project.registry.get(live)), 1)
    dataset = datasets.load(project.params.dataset)
    rows = _rows(project, dataset, period, wish.key)
    order, due = schedule(rows.height, wish)
    log(f"playing {order.size:,} of {rows.height:,} rows of {period} in {wish.duration_s:g} s")
    if order.size > rows.height:
        log(f"the period has fewer rows than that: it is played {order.size / rows.height:.1f} times")
    begun = time.monotonic()
    loop = asyncio.run(_played(settings, wish, asks(dataset, rows, order, due, wish.key), log))
    return _report(loop, wish, period, order.size, time.monotonic() - begun)


def schedule(
    rows: int, wish: Wish
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Which rows are played, and when: ``rate * duration_s`` of them, at least one.

    Returns
    -------
    (n,) int64, (n,) float64
        Positions in the order of the period, spread over all of it; and seconds after the start, ascending. The moments
        are independent and uniform, which is a Poisson process given its number of events.
    """
    rng = np.random.default_rng(wish.seed)
    count = max(1, round(wish.rate * wish.duration_s))
    due = np.sort(rng.uniform(0, wish.duration_s, count))
    if count > rows:
        return np.arange(count) % rows, due
    return np.sort(rng.choice(rows, count, replace=False)), due


def _rows(project: Project, dataset: Dataset, period: str, key: str) -> pl.DataFrame:
    """What clients would have asked in `period`."""
    if not PERIOD.match(period):
        raise UsageError(f"{period!r} is not a month such as 2013-09", where="--period")
    if key and key not in dataset.request.FIELDS:
        todo = f"one of {', '.join(dataset.request.FIELDS)}"
        raise UsageError(f"no row has a column {key!r} to be the sticky key", where="--key", todo=todo)
    supply = Supply(dataset.source, project.settings.root / INCOMING)
    known = supply.periods()
    if period not in known:
        raise NotFound(
            f"there are no rows of {period}: the data holds {known[0]} to {known[-1]}",
            where=f"dataset {dataset.name}",
            todo="choose another month with --period",
        )
    tables = {
        name: pl.read_parquet(table, glob=False) if isinstance(table, Path) else table
        for name, table in supply.fetch(period).items()
    }
    found: pl.DataFrame = dataset.history.asked(tables, period)
    return found


def asks(dataset: Dataset, rows: pl.DataFrame, order: Positions, due: Seconds, key: str = "") -> Iterator[Ask]:
    """The requests, made as they are needed.

    Parameters
    ----------
    rows : DataFrame
        As the dataset's `history.asked` gives them.
    order, due : (n,) array
        As `schedule` gives them.
    key : str
        The column whose value is the sticky key; a row where it is not known gets none.
    """
    for begin in range(0, len(order), CHUNK):
        chosen = rows[order[begin : begin + CHUNK]]
        labels = chosen["label"].to_list()
        for offset, record in enumerate(dataset.request.records(chosen)):
            value = record.get(key) if key else None
            sticky = {} if value is None else {KEY: quote(str(value), safe=" :/+|,")}
            headers = {**PLAYED, "x-request-id": str(uuid.uuid4()), **sticky}
            label = None if labels[offset] is None else bool(labels[offset])
            yield Ask(float(due[begin + offset]), json.dumps({"rows": [record]}).encode(), headers, label)


async def _played(settings: Settings, wish: Wish, asks: Iterator[Ask], log: Log) -> OpenLoop:
    player = OpenLoop(settings, wish.labels_after_s)
    running = asyncio.get_running_loop()

    def stop() -> None:
        player.stop.set()
        running.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C ends it at once

    # Only the main thread gets signals; elsewhere whoever called must stop it.
    with suppress(ValueError, RuntimeError, NotImplementedError):
        running.add_signal_handler(signal.SIGINT, stop)
    telling = asyncio.create_task(_tell(player, log))
    try:
        await player.play(asks)
    finally:
        telling.cancel()
        with suppress(ValueError, RuntimeError, NotImplementedError):
            running.remove_signal_handler(signal.SIGINT)
    return player


async def _tell(player: OpenLoop, log: Log) -> None:
    """A line every few seconds, about what happened since the one before."""
    begun, seen = time.monotonic(), 0
    while True:
        await asyncio.sleep(PROGRESS_S)
        tally, elapsed = player.tally, int(time.monotonic() - begun)
        latency = _latency(tally.latency_ms[seen:])
        seen = tally.answered
        parts = [f"{tally.sent:,} sent", f"{tally.answered:,} answered", f"{sum(tally.errors.values()):,} errors"]
        parts += [f"p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms"] if latency else []
        parts += [f"{tally.labels['posted']:,} labels posted, {len(tally.waiting):,} wait"] if tally.labels else []
        log(f"{elapsed // 60}:{elapsed % 60:02d}  {', '.join(parts)}")


def _report(player: OpenLoop, wish: Wish, period: str, wanted: int, seconds: float) -> TrafficReport:
    tally = player.tally
    lag = float(np.percentile(tally.lag_ms, 99)) if tally.lag_ms else 0.0
    labels: dict[str, int] = {}
    if wish.labels_after_s is not None:
        counted = {name: tally.labels[name] for name in ("posted", "accepted", "known", "contradicting")}
        labels = counted | {"waiting": len(tally.waiting)}
    return TrafficReport(
        period=period,
        wanted=wanted,
        sent=tally.sent,
        answered=tally.answered,
        errors=dict(tally.errors.most_common()),
        seconds=round(seconds, 2),
        latency_ms=_latency(tally.latency_ms),
        lag_ms=round(lag, 2),
        versions=dict(tally.versions.most_common()),
        labels=labels,
        interrupted=player.stop.is_set(),
        notes=tuple(_notes(tally, wish, lag)),
    )


def _notes(tally: Tally, wish: Wish, lag: float) -> Iterator[str]:
    if tally.note:
        yield tally.note
    if lag > SLOW_MS:
        yield (
            f"requests left up to {lag:.0f} ms late (99th percentile): this machine cannot send {wish.rate:g} a second "
            "beside what it serves, and the latencies are too high by about that"
        )


def _latency(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    quantiles = np.percentile(values, [50, 95, 99, 100])
    return dict(zip(("p50", "p95", "p99", "max"), (round(float(q), 2) for q in quantiles), strict=True))
