"""The shadow's answers as a source of evidence: what both versions kept of the same requests, joined by their id."""

from __future__ import annotations

import json
import time
from typing import Any

import polars as pl

from greenlight.adapters.desired import replace_file
from greenlight.adapters.prediction_log import PredictionLog
from greenlight.config import Params, Settings
from greenlight.core.assignment import TOTAL
from greenlight.core.release_evidence import Seen
from greenlight.core.release_plan import Rollout
from greenlight.core.shadow import ShadowLimits, compare

# Servers write what they answered a quarter of a second later, and a copy may be on its way for a while.
SETTLED_S = 2.0
BEGINS_S = 0.5
# A look costs a join of everything so far: at most this share of the time, and not more often than so.
BUSY = 0.1
EVERY_S = 2.0


class ShadowSource:
    """Compares what both versions answered while the candidate gets copies; in other steps it says nothing.

    Parameters
    ----------
    settings : Settings
        Where answers are kept; the last report goes to ``<home>/serving/shadow/<version>.json``.
    params : Params
        What may differ.
    """

    name = "answers"

    def __init__(self, settings: Settings, params: Params) -> None:
        self._home = settings.home
        self._log = PredictionLog(settings.home)
        self._asked = params.release.shadow
        self._again = 0.0

    def look(self, rollout: Rollout, cursor: Any, now: float) -> tuple[Seen, Any]:
        """See `greenlight.operations.evidence.Source`; the cursor is what was found last."""
        known: dict[str, Any] = dict(cursor or {})
        if not rollout.current.mirror:
            return Seen(), known
        if known.get("step_began") != rollout.since:
            # The edge is told of a step after the first look at it: requests from before that have no copy.
            known = {"step_began": rollout.since, "from": now + BEGINS_S}
        if now >= self._again or "decision" not in known:
            begun = time.monotonic()
            known |= self._compare(rollout, known["from"], now)
            self._again = now + max(EVERY_S, (time.monotonic() - begun) / BUSY)
        against = tuple(known["reasons"]) if known["decision"] == "no_go" else ()
        lacks = tuple(known["reasons"]) if known["decision"] == "undecided" else ()
        if lacks and known.get("rows", 0) < self._asked.min_requests:  # shares of next to nothing tell nobody anything
            lacks = (f"{known.get('rows', 0)} of {self._asked.min_requests} rows answered by both versions",)
        return Seen(against=against, lacks=lacks, notes={"shadow": known["says"]}), known

    def _compare(self, rollout: Rollout, since_s: float, now: float) -> dict[str, Any]:
        asked, since = self._asked, int(since_s * 1e6)
        until = int((now - SETTLED_S) * 1e6)
        limits = ShadowLimits(
            min_joined=asked.min_requests,
            # A share of the requests was never copied, and nothing follows from its absence.
            max_missing=asked.max_missing if rollout.current.mirror == TOTAL else None,
            max_errors=None,  # the edge counts them, also those that never got as far as a log
            max_slow=None,
            max_flips=asked.max_flips,
            far=asked.far,
            max_far=asked.max_far,
            max_slice_flips=asked.max_slice_flips,
        )
        report = compare(
            # What somebody asked of this version by name was never copied.
            self._log.scan(rollout.stable, since, until).filter(~pl.col("shadow") & ~pl.col("pinned")).collect(),
            self._log.scan(rollout.version, since).filter(pl.col("shadow")).collect(),
            limits,
        )
        found = report.to_json()
        replace_file(
            self._home / "serving" / "shadow" / f"{rollout.version}.json", json.dumps(found, indent=1).encode() + b"\n"
        )
        counts = report.counts
        says = f"{counts['rows']} rows answered by both, {counts['flips']} decisions differ: {report.decision}"
        return {"decision": report.decision, "reasons": found["reasons"], "says": says, "rows": counts["rows"]}
