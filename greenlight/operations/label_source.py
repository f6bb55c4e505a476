"""Late labels as a source of evidence: what the truth says of both versions' answers in this release.

Predictions and labels are joined anew at each look (`greenlight.adapters.labelled`): a label counts once however often
it comes, and a driver that is killed has lost nothing. All that is remembered is when the edge drew how.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from greenlight.adapters.desired import replace_file
from greenlight.adapters.edge import Edge
from greenlight.adapters.edge_clusters import Role
from greenlight.adapters.labelled import LabelledPredictions
from greenlight.config import Params, Settings
from greenlight.core import late_labels
from greenlight.core.ab_readout import read_out
from greenlight.core.ab_test import AbTest, Readout
from greenlight.core.late_labels import COLUMNS, Window
from greenlight.core.release_evidence import Events, Seen
from greenlight.core.release_limits import WRONG, WRONG_PAIRS
from greenlight.core.release_plan import Rollout

# Servers write what they answered a quarter of a second later; a hung one may take longer than another.
SETTLED_S = 2.0
# A look costs a join of everything so far: at most this share of the time, and not more often than so.
BUSY = 0.1
EVERY_S = 2.0


class LabelSource:
    """Counts late labels for and against the candidate.

    Parameters
    ----------
    settings : Settings
        Where answers and labels are kept; an A/B test's last read-out goes to ``<home>/serving/ab/<version>.json``.
    params : Params
        What is asked.
    well : callable
        Whether the candidate gets what is drawn for it, such as `gets_its_share` of an edge.
    """

    name = "labels"

    def __init__(self, settings: Settings, params: Params, well: Callable[[Rollout], bool]) -> None:
        self._home = settings.home
        self._kept = LabelledPredictions(settings.home)
        self._asked = params.release
        self._well = well
        self._again = 0.0

    def look(self, rollout: Rollout, cursor: Any, now: float) -> tuple[Seen, Any]:
        """See `greenlight.operations.evidence.Source`; the cursor: when the edge drew how, and what was found last."""
        known: dict[str, Any] = dict(cursor or {})
        here, drawn = [rollout.step, rollout.since], rollout.exposed and self._well(rollout)
        windows = late_labels.watch(
            [Window(**window) for window in known.get("windows", ())],
            rollout,
            now,
            goes_on=known.get("open") == here,
            drawn=drawn,
        )
        known |= {"windows": [window.to_json() for window in windows], "open": here if drawn else None}
        whole: dict[str, Events] = {}
        if now >= self._again or known.get("of") != here:
            begun = time.monotonic()
            whole, found = self._read(rollout, windows, now)
            known |= {**found, "of": here}
            # The first time pays for what it loads, which says nothing of the next.
            took = time.monotonic() - begun if self._again else 0.0
            self._again = now + max(EVERY_S, took / BUSY)
        against, lacks, speaks = (tuple(known[name]) for name in ("against", "lacks", "speaks"))
        return Seen(against=against, lacks=lacks, speaks=speaks, notes=known["notes"], whole=whole), known

    def _read(
        self, rollout: Rollout, windows: Sequence[Window], now: float
    ) -> tuple[dict[str, Events], dict[str, Any]]:
        answers = self._answers(rollout, windows, now)
        whole = {
            WRONG: late_labels.wrong(answers, windows, rollout.version),
            WRONG_PAIRS: late_labels.wrong_pairs(answers, windows, rollout.version),
        }
        found: dict[str, Any] = {"against": [], "lacks": [], "speaks": [], "notes": {}}
        counts = late_labels.coverage(answers, windows)
        found["notes"]["labels"] = "; ".join(
            f"{labelled} of {answered} answers of {version} have a label"
            for version, (answered, labelled) in counts.items()
        )
        step, pairs = rollout.current, whole[WRONG_PAIRS].judged
        if step.kind == "shadow" and pairs < self._asked.shadow.min_labels:
            found["lacks"].append(
                f"{pairs} of {self._asked.shadow.min_labels} labelled pairs of both versions' answers"
            )
        if step.kind == "ab" or any(window.kind == "ab" for window in windows):
            self._test(rollout, answers, windows, found)
        return whole, found

    def _answers(self, rollout: Rollout, windows: Sequence[Window], now: float) -> pl.DataFrame:
        if not windows:
            return pl.DataFrame(schema=COLUMNS)
        found = self._kept.answers(
            (rollout.version, rollout.stable),
            int(min(window.begins for window in windows) * 1e6),
            int((now - SETTLED_S) * 1e6),
        )
        # What was asked is only looked at where copies are to be told apart, and is most of what is kept.
        paired = any(window.kind == "shadow" for window in windows)
        asked = pl.col("row_json") if paired else pl.lit(None, pl.String).alias("row_json")
        return found.select(*(name for name in COLUMNS if name != "row_json"), asked).collect()

    def _test(self, rollout: Rollout, answers: pl.DataFrame, windows: Sequence[Window], found: dict[str, Any]) -> None:
        """Read the A/B test out, and write it down."""
        step = next(step for step in rollout.steps if step.kind == "ab")
        asked = self._asked.ab
        test = AbTest(
            rollout.version,
            rollout.stable,
            step.weight,
            rollout.salt,
            asked.metric,
            asked.min_labels,
            asked.margin,
            asked.confidence,
            step.hypothesis,
        )
        readout = read_out(late_labels.within(answers, windows, "ab"), test)
        self._write(rollout, test, readout)
        found["notes"]["ab"] = "; ".join(readout.reasons)
        if step is not rollout.current:
            return
        if readout.decision == "worse":
            found["against"] += readout.reasons
        elif readout.decision != "undecided":
            found["speaks"] += readout.reasons
        elif readout.mismatch or test.min_labels:
            found["lacks"] += readout.reasons

    def _write(self, rollout: Rollout, test: AbTest, readout: Readout) -> None:
        document = {"release": rollout.id, "began": rollout.begun, **readout.to_json(test)}
        replace_file(report_path(self._home, rollout.version), json.dumps(document, indent=1).encode() + b"\n")


class NoLabels:
    """Stands in where no predictions are kept: an A/B test that waits for labels waits for them in vain."""

    name = "labels"

    def __init__(self, params: Params) -> None:
        self._asked = params.release.ab

    def look(self, rollout: Rollout, cursor: Any, now: float) -> tuple[Seen, Any]:
        """See `greenlight.operations.evidence.Source`."""
        waits = rollout.current.kind == "ab" and self._asked.min_labels > 0
        why = "A/B: predictions are not kept (GREENLIGHT_PREDICTION_LOG_MB=0), and labels have nothing to say of them"
        return Seen(lacks=(why,) if waits else ()), {}


def gets_its_share(edge: Edge, rollout: Rollout) -> bool:
    """Whether the edge asks the candidate: not while it has taken all of its processes out.

    Raises
    ------
    EdgeError
        Envoy does not answer.
    """
    role: Role = "shadow" if rollout.current.mirror else "candidate"
    return edge.healthy(rollout.version, role) > 0


def report_path(home: Path, version: str) -> Path:
    """Where the last read-out of an A/B test of `version` is."""
    return home / "serving" / "ab" / f"{version}.json"
