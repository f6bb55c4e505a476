"""What the figures of `benchmarks/serving.py` mean: medians of ratios of one round, spread, target, verdict.

Pure: takes what was measured, touches no server and no disk.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

DIRECT, EDGE = "greenlight", "greenlight, through the edge"
STOCK, FASTAPI, RAW = "stock bentoml serve", "FastAPI and uvicorn", "raw ASGI (ceiling)"
NO_LOG, CACHE = "greenlight, no prediction log", "greenlight, response cache, every row known"
Round = Mapping[str, float]
Rounds = Mapping[str, Sequence[Round]]


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes
    ----------
    what : str
        In words, with its unit.
    median, low, high : float
        Over the rounds.
    at_least, at_most : float or None
        The target; None for a figure without one.
    """

    what: str
    median: float
    low: float
    high: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        if self.at_least is None and self.at_most is None:
            return None
        return (self.at_least is None or self.median >= self.at_least) and (
            self.at_most is None or self.median <= self.at_most
        )

    @property
    def target(self) -> str:
        """The target in words."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"met": self.met}


def figure(what: str, values: Iterable[float], at_least: float | None = None, at_most: float | None = None) -> Figure:
    """The figure of one value a round."""
    found = sorted(values)
    return Figure(what, statistics.median(found), found[0], found[-1], at_least, at_most)


def ratios(mine: Sequence[Round], other: Sequence[Round], key: str = "per_second") -> list[float]:
    """Mine divided by the other's, round by round: what slows the machine for a while slows both."""
    return [a[key] / b[key] for a, b in zip(mine, other, strict=True)]


def figures(found: Mapping[str, Any]) -> list[Figure]:
    """Every figure that the measurements have; a peer that is not installed has none."""
    one, many, alone = found["one_row"], found["many_rows"], found["one_connection"]
    made = [
        figure(f"one row, times {name}", ratios(one[DIRECT], one[name]), least)
        for name, least in ((STOCK, 10.0), (FASTAPI, 1.3), (RAW, 0.6))
        if name in one
    ]
    bare = [turn["many"] for turn in found["bare"]]
    made += [
        figure(
            "1,000 rows, rows/s as a share of the bare loop",
            [turn["per_second"] * 1000 / rate for turn, rate in zip(many[DIRECT], bare, strict=True)],
            0.5,
        ),
        figure("edge cost at the median, one connection, ms", _costs(alone), at_most=0.5),
        figure("edge cost at the median, 8 connections, ms", _costs(one), at_most=0.5),
        figure("p99 / median, 8 connections, direct", [r["p99_ms"] / r["p50_ms"] for r in one[DIRECT]], at_most=3.0),
        figure("p99 / median, 8 connections, edge", [r["p99_ms"] / r["p50_ms"] for r in one[EDGE]], at_most=3.0),
    ]
    made += _processes(found)
    if NO_LOG in one:
        cost = [a["cpu_us"] - b["cpu_us"] for a, b in zip(one[DIRECT], one[NO_LOG], strict=True)]
        made.append(figure("prediction log, CPU us a request", cost))
    if CACHE in one:
        made.append(figure("response cache, every row known: times without", ratios(one[CACHE], one[DIRECT])))
    return made


def _processes(found: Mapping[str, Any]) -> list[Figure]:
    made = []
    if "load" in found:
        made.append(figure("raw ASGI asked by our load generator, times by wrk", found["load"]))
    if "start" in found:
        made.append(figure("start to ready, s", found["start"], at_most=4.0))
    if "memory" in found:
        made.append(figure("memory of a worker after load (USS), MB", [found["memory"]["uss_mb"]], at_most=200.0))
    if "weights" in found:
        weights = found["weights"]["last_old_ms"]
        made.append(Figure("weight change effective, ms", weights["median"], 0.0, weights["max"], at_most=50.0))
        made.append(figure("requests lost by weight changes", [float(len(found["weights"]["lost"]))], at_most=0.0))
    for name, rates in found.get("tables", {}).items():
        made.append(figure(f"{name}, rows/s as a share of the bare loop", rates["share"]))
    return made


def _costs(rounds: Rounds) -> list[float]:
    return [a["p50_ms"] - b["p50_ms"] for a, b in zip(rounds[EDGE], rounds[DIRECT], strict=True)]


def peers_table(rounds: Rounds, rows: int) -> list[str]:
    """One line a contender: medians of its rounds, and how many times as fast ours is."""
    lines = [
        f"| {'served by':44} | rows/s | p50 ms | p99 ms | CPU us/request | greenlight is | from - to     |",
        f"|{'-' * 46}|-------:|-------:|-------:|---------------:|--------------:|---------------|",
    ]
    for name, found in rounds.items():
        middle = {k: statistics.median(r[k] for r in found) for k in ("per_second", "p50_ms", "p99_ms", "cpu_us")}
        times = figure("", ratios(rounds[DIRECT], found))
        lines.append(
            f"| {name:44} | {middle['per_second'] * rows:6.0f} | {middle['p50_ms']:6.2f} | {middle['p99_ms']:6.2f} "
            f"| {middle['cpu_us']:14.0f} | {times.median:11.2f} x | {times.low:5.2f} - {times.high:5.2f} |"
        )
    return lines


def figures_table(found: Sequence[Figure]) -> list[str]:
    """One line a figure, with its target and whether it is met."""
    words = {True: "met", False: "MISSED", None: ""}
    lines = [
        f"| {'figure':60} | median | from - to         | target  | verdict |",
        f"|{'-' * 62}|-------:|-------------------|---------|---------|",
    ]
    for one in found:
        spread = f"{one.low:.2f} - {one.high:.2f}"
        lines.append(f"| {one.what:60} | {one.median:6.2f} | {spread:17} | {one.target:7} | {words[one.met]:7} |")
    return lines
