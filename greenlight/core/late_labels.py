"""What late labels say of a candidate: whose decisions were wrong, and under which routing they came about.

Everything is made anew from all answers and all labels, so that a label which arrives twice, late or out of order
counts once. An event is one *draw* of the edge, never one row: rows of a request, and under a sticky split the requests
of a key, were drawn together. It must not know where answers are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from greenlight.core.assignment import TOTAL
from greenlight.core.comparison import PAIRED
from greenlight.core.release_evidence import Events
from greenlight.core.release_plan import Rollout

# The edge is told of a step after the first look at it, and its threads take a new route a moment later.
BEGINS_S = 0.5
COLUMNS = {
    "at": pl.Int64,
    "ms": pl.Float32,
    "request_id": pl.String,
    "row": pl.Int32,
    "prediction_id": pl.String,
    "version": pl.String,
    "shadow": pl.Boolean,
    "key": pl.String,
    "decision": pl.Boolean,
    "probability": pl.Float32,
    "row_json": pl.String,
    "label": pl.Int8,
    "labelled_at": pl.Int64,
}
ORDER = ("labelled_at", "at", "prediction_id")


@dataclass(frozen=True)
class Window:
    """A time in which the edge is known to have drawn in one way.

    Attributes
    ----------
    kind : str
        Of the step.
    weight : int
        The candidate's share; 0 of a shadow.
    sticky : bool
        Whether keys were drawn, and not requests.
    begins, ends : float
        Seconds since the epoch; requests that came in between.
    """

    kind: str
    weight: int
    sticky: bool
    begins: float
    ends: float

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def sent(self) -> pl.Expr:
        """Whether an answer's request came in it."""
        sent = pl.col("at") - (pl.col("ms") * 1_000).cast(pl.Int64)
        return (sent >= int(self.begins * 1e6)) & (pl.col("at") < int(self.ends * 1e6))


def watch(windows: Sequence[Window], rollout: Rollout, now: float, *, goes_on: bool, drawn: bool) -> list[Window]:
    """The windows after one more look.

    Parameters
    ----------
    goes_on : bool
        Whether the look before saw the same step, and the edge drew then: so it did in between, with or without a
        driver. What came between two looks that differ is left out, since nobody knows when the edge changed.
    drawn : bool
        Whether the edge draws now: the candidate has its share, and a process that answers.
    """
    if not drawn:
        return list(windows)
    if goes_on and windows:
        return [*windows[:-1], replace(windows[-1], ends=max(now, windows[-1].ends))]
    step = rollout.current
    begins = now + BEGINS_S
    return [*windows, Window(step.kind, step.weight, step.sticky, begins, begins)]


def wrong(answers: pl.DataFrame, windows: Sequence[Window], candidate: str) -> Events:
    """Wrong decisions of both versions while users were shared by a canary.

    Parameters
    ----------
    answers : DataFrame
        Of both versions, with the columns of `COLUMNS` (``label`` null where it is not known), without those whose
        request named its version.

    Notes
    -----
    Without a sticky split each request is an event: its first row that got a label. Under one, each key is: its first
    wrong row, whatever it asks again and again; a request without a key is drawn by itself.
    """
    shared = [window for window in windows if window.kind == "canary"]
    drawn = drawn_once(_of(answers.filter(~pl.col("shadow")), shared), candidate)
    its = drawn.filter(pl.col("label").is_not_null()).with_columns(
        mine=pl.col("version") == candidate,
        wrong=pl.col("decision") != (pl.col("label") == 1),
        name=pl.col("prediction_id").str.split("-").list.first(),
    )
    by_key = pl.col("sticky") & (pl.col("key") != "")
    its = its.with_columns(
        unit=pl.when(by_key).then(pl.concat_str(pl.lit("key "), "key")).otherwise("name"), by_key=by_key
    )
    # Of a request the row that was known first; of a key the first that was wrong.
    first = its.sort(pl.col("by_key") & ~pl.col("wrong"), *ORDER).unique("unit", keep="first", maintain_order=True)
    events = first.filter("wrong").sort(ORDER)
    judged = its.filter("mine")["unit"].n_unique()
    return Events(events["mine"].to_numpy(), events["routing"].to_numpy(), judged)


def wrong_pairs(answers: pl.DataFrame, windows: Sequence[Window], candidate: str) -> Events:
    """Rows of which only one version's decision was right, while the candidate got copies: McNemar's pairs.

    Each key's first such row is an event, without a key each distinct row's: what one client asks again and again is
    known after once. A request id that was used twice is left out, and so is a row whose two labels differ.
    """
    shadows = [window for window in windows if window.kind == "shadow"]
    its = _of(answers, shadows).filter(pl.col("shadow") == (pl.col("version") == candidate))
    pair = ("request_id", "row")
    once = its.filter(~pl.struct(*pair, "version").is_duplicated())
    named = ("decision", "label", "labelled_at", "at", "prediction_id")
    mine = once.filter(pl.col("version") == candidate).select(*pair, "decision", "label", "labelled_at")
    both = (
        once.filter(pl.col("version") != candidate)
        .select(*pair, *named, "key", "row_json")
        .join(mine, on=pair, how="inner", suffix="_mine")
        .with_columns(
            truth=pl.coalesce("label", "label_mine"), known=pl.min_horizontal("labelled_at", "labelled_at_mine")
        )
        .filter(pl.col("truth").is_not_null() & ~(pl.col("label") != pl.col("label_mine")).fill_null(False))
        .with_columns(
            mine=pl.col("decision_mine") != (pl.col("truth") == 1),
            its=pl.col("decision") != (pl.col("truth") == 1),
            unit=pl.when(pl.col("key") != "")
            .then(pl.concat_str(pl.lit("key "), "key"))
            .otherwise(pl.coalesce(pl.concat_str(pl.lit("row "), "row_json"), "prediction_id")),
        )
        .with_columns(apart=pl.col("mine") != pl.col("its"))
    )
    order = ("known", "at", "prediction_id")
    first = both.sort(~pl.col("apart"), *order).unique("unit", keep="first", maintain_order=True)
    events = first.filter("apart").sort(order)
    return Events(events["mine"].to_numpy(), np.full(events.height, PAIRED), first.height)


def coverage(answers: pl.DataFrame, windows: Sequence[Window]) -> dict[str, tuple[int, int]]:
    """By version: answers to requests that came in one of the windows, and how many of them have a label."""
    counts = _of(answers, windows).group_by("version").agg(pl.len(), pl.col("label").count()).sort("version")
    return {version: (answered, labelled) for version, answered, labelled in counts.iter_rows()}


def within(answers: pl.DataFrame, windows: Sequence[Window], kind: str) -> pl.DataFrame:
    """Users' answers to requests that came while steps of this kind were watched."""
    return _of(answers.filter(~pl.col("shadow")), [window for window in windows if window.kind == kind])


def drawn_once(answers: pl.DataFrame, candidate: str) -> pl.DataFrame:
    """Without the second try's answer where the candidate, which was drawn, answered too.

    A request that the stable version was drawn for never reaches the candidate. Request ids that clients use again say
    nothing, and nothing is left out for them.
    """
    twice = (
        answers.group_by("request_id")
        .agg(
            both=pl.col("version").n_unique() == 2,
            names=pl.col("prediction_id").str.split("-").list.first().n_unique(),
        )
        .filter(pl.col("both") & (pl.col("names") == 2))
        .select("request_id")
    )
    second = answers.filter(pl.col("version") != candidate).join(twice, on="request_id", how="semi")
    return answers.join(second.select("prediction_id"), on="prediction_id", how="anti")


def _of(answers: pl.DataFrame, windows: Sequence[Window]) -> pl.DataFrame:
    """Answers to requests that came in one of the windows, with how it drew."""
    typed = answers.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())
    how = {"routing": pl.Float64, "sticky": pl.Boolean}
    found = [
        typed.filter(window.sent()).with_columns(
            routing=pl.lit(window.weight / TOTAL, pl.Float64), sticky=pl.lit(window.sticky)
        )
        for window in windows
    ]
    return pl.concat([typed.clear().with_columns(pl.lit(None, kind).alias(name) for name, kind in how.items()), *found])
