"""From a prediction back to everything that it came from.

Prediction -> version -> run -> commit, parameters, snapshot, contract, verdict -> the feature values that were served.
The row is scored once more by the code and the model that served it, in a process of the bento's own: a trace that
explains another number than the one that the client got says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from greenlight.adapters import bento as bentos
from greenlight.adapters import model_servers
from greenlight.adapters.label_book import LabelBook
from greenlight.adapters.prediction_log import PredictionLog
from greenlight.core.label_book import is_prediction_id
from greenlight.core.prediction_record import HIDDEN
from greenlight.errors import NotFound, UsageError
from greenlight.operations.runs import get_run
from greenlight.wiring import Project

RESCORE_TIMEOUT_S = 60


@dataclass(frozen=True)
class Trace:
    """Where one prediction came from.

    Attributes
    ----------
    prediction : dict
        What is kept of it: the columns of the log, ``at`` as ISO 8601, and ``row`` as it was sent.
    label : dict
        ``label`` and ``at``; empty while none is known.
    version, run, commit : str
    params : dict
        The parameters of the run, as they were.
    snapshot : dict of str to str
        Hash that DVC recorded of every output of the run, by path.
    contract : dict
        ``passed``, ``expectations``, ``failures``.
    verdict : dict
        ``decision`` and ``summary``.
    features : dict
        What the model was given, by name.
    rescored : dict
        ``probability``, ``decision`` and ``same``: whether they are those of the prediction.
    not_rescored : str
        Why the features are not known; empty when they are.
    """

    prediction: dict[str, Any]
    version: str
    run: str
    commit: str
    label: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    snapshot: dict[str, str] = field(default_factory=dict)
    contract: dict[str, Any] = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)
    rescored: dict[str, Any] = field(default_factory=dict)
    not_rescored: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def trace(project: Project, prediction_id: str) -> Trace:
    """Everything about one prediction.

    Raises
    ------
    UsageError
        It is no prediction id.
    NotFound
        Nothing is kept of it, or its version is not in this repository.
    """
    prediction = find(project, prediction_id)
    version = project.registry.get(prediction["version"])
    run = get_run(project, version.run or version.name)
    features = _features(project, prediction)
    return Trace(
        prediction=prediction,
        version=version.name,
        run=run["name"],
        commit=run["commit"] or version.commit,
        label=_label(project, prediction_id),
        params=run["params"],
        snapshot=_hashes(run["lock"]),
        contract=_contract(run["validation"]),
        verdict={key: run["verdict"].get(key, "") for key in ("decision", "summary")} if run["verdict"] else {},
        features=features.get("features", {}),
        rescored={key: features[key] for key in ("probability", "decision", "same") if key in features},
        not_rescored=features.get("error", ""),
    )


def find(project: Project, prediction_id: str) -> dict[str, Any]:
    """What the log keeps of one prediction.

    Raises
    ------
    UsageError, NotFound
        As in `trace`.
    """
    if not is_prediction_id(prediction_id):
        raise UsageError(
            f"{prediction_id[:80]!r} is no prediction id: 32 hexadecimal digits, a hyphen and the number of the row",
            todo="take prediction_id from the answer of POST /predict",
        )
    log = PredictionLog(project.settings.home)
    found = log.scan(tables=True).filter(pl.col("prediction_id") == prediction_id).head(1).collect().to_dicts()
    if not found:
        raise _not_kept(project, log, prediction_id)
    row = found[0]
    sent = json.loads(row.pop("row_json") or "null")
    at = datetime.fromtimestamp(row["at"] / 1e6, UTC).isoformat(timespec="microseconds")
    return row | {"at": at, "index": row["row"], "row": sent}


def _not_kept(project: Project, log: PredictionLog, prediction_id: str) -> NotFound:
    limit = project.settings.prediction_log_mb
    if not limit:
        return NotFound(
            f"nothing is kept of {prediction_id}: the prediction log is off",
            where="GREENLIGHT_PREDICTION_LOG_MB=0",
            todo="set it to the megabytes that predictions may take, then greenlight up",
        )
    counted = log.scan(tables=True).select(pl.len().alias("rows"), pl.col("at").min().alias("oldest"))
    held = counted.collect().row(0, named=True)
    if not held["rows"]:
        what = "no prediction is kept yet"
    else:
        oldest = datetime.fromtimestamp(held["oldest"] / 1e6, UTC).isoformat(timespec="seconds")
        what = f"{held['rows']:,} predictions are kept, the oldest of {oldest}"
    return NotFound(
        f"nothing is kept of {prediction_id}; {what}",
        where=str(log.folder),
        todo=f"check the id; an answer of the last second is not yet written, one beyond the {limit} MB of "
        "GREENLIGHT_PREDICTION_LOG_MB was deleted, and another machine keeps its own",
    )


def _label(project: Project, prediction_id: str) -> dict[str, Any]:
    found = LabelBook(project.settings.home).scan().filter(pl.col("prediction_id") == prediction_id).collect()
    if not found.height:
        return {}
    at = datetime.fromtimestamp(found["at"][0] / 1e6, UTC).isoformat(timespec="microseconds")
    return {"label": bool(found["label"][0]), "at": at}


def _hashes(lock: dict[str, Any]) -> dict[str, str]:
    outputs = (out for stage in lock.get("stages", {}).values() for out in stage.get("outs", ()))
    return {str(out["path"]): str(out.get("md5", "")) for out in outputs if "path" in out}


def _contract(validation: dict[str, Any]) -> dict[str, Any]:
    if not validation:
        return {}
    names = [failure.get("expectation", "") for failure in validation.get("failures", ())]
    return {key: validation.get(key) for key in ("passed", "contract", "expectations")} | {"failures": names}


def _features(project: Project, prediction: dict[str, Any]) -> dict[str, Any]:
    """What the model was given, scored once more; or ``error``: why that cannot be said."""
    row, version = prediction["row"], prediction["version"]
    if prediction["probability"] is None:
        return {"error": f"the request failed with status {prediction['status']}; nothing was scored"}
    if row is None:
        of_table = "it was one of a table, of which the answer alone is kept"
        why = of_table if prediction["bulk"] else "GREENLIGHT_PREDICTION_FEATURES"
        return {"error": f"the row itself was not kept ({why})"}
    hidden = sorted(name for name, value in row.items() if isinstance(value, str) and value.startswith(HIDDEN))
    if hidden:
        return {"error": f"kept as a keyed hash only: {', '.join(hidden)}; what stands in them cannot be scored"}
    bento = bentos.find(project.params.dataset, version, project.settings.home)
    if bento is None:
        return {"error": f"the bento of {version} is not on this machine; greenlight rollback --to {version} builds it"}
    answer = _ask(project.settings.home, bento, row)
    if "probability" in answer:
        # Both are float32 values: the log keeps 32 bits, the score has no more.
        score = pl.Series([answer["probability"]], dtype=pl.Float32)[0]
        kept = (prediction["probability"], prediction["decision"])
        answer["same"] = (score, answer["decision"]) == kept
    return answer


def _ask(home: Path, bento: Path, row: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bentos.classifier.rescore"],
        cwd=bento / bentos.SOURCES,
        env=model_servers.scoring(home),
        input=json.dumps(row).encode(),
        capture_output=True,
        timeout=RESCORE_TIMEOUT_S,
        check=False,
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no answer"])[-1]
        return {"error": f"the bento could not score it once more: {last[:300]}"}
    return answer if isinstance(answer, dict) else {"error": "the bento gave no answer"}
