"""What the service counts, in Prometheus's format.

BentoML's own request metrics look up five labelled series a request, which costs as much as the features of a row;
these keep theirs at hand. The processes of all versions of a home keep their figures below one folder, so whichever is
asked answers for all: Prometheus needs one target, and the label ``version`` tells them apart.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

    from bentos.classifier.scorer import Scorer
    from greenlight.core.model import Manifest

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
ROWS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
SCORES = tuple(round(0.05 * i, 2) for i in range(1, 21))
# Set by Greenlight for the servers that it starts: holds one folder of figures a version.
ALL_VERSIONS = "GREENLIGHT_METRICS_FOLDER"
LABELS_OF_BUILD = ("run", "commit", "model")
# What a request was: of a client; a copy for a release in shadow; `greenlight traffic`; a table (POST /bulk).
LIVE, SHADOW, PLAYED, TABLE = "live", "shadow", "played", "table"


def kind_of(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """What a request is counted as, by its headers as ASGI has them; the edge takes ``x-shadow`` of clients off."""
    found = LIVE
    for name, value in headers:
        if value == b"1":
            if name == b"x-shadow":
                return SHADOW
            if name == b"x-greenlight-played":
                found = PLAYED
    return found


class Counters:
    """The series of one process.

    Parameters
    ----------
    version : str
        Version that answers; a label of every series.
    """

    def __init__(self, version: str) -> None:
        # Not before the server runs: prometheus_client reads at import which folder the processes share.
        from prometheus_client import Counter as counter
        from prometheus_client import Gauge as gauge

        from bentos.classifier.histograms import BulkHistogram as histogram

        _forget_dead_processes()
        answers = counter(
            "greenlight_answers_total", "Answers to requests for predictions", ["version", "kind", "status"]
        )
        seconds = histogram("greenlight_answer_seconds", "Seconds per answer", ["version", "kind"], buckets=SECONDS)
        rows = counter("greenlight_rows_total", "Rows scored", ["version", "kind"])
        batch = histogram("greenlight_request_rows", "Rows per request", ["version", "kind"], buckets=ROWS)
        score = histogram("greenlight_score", "Probabilities handed out", ["version", "kind"], buckets=SCORES)
        unseen = counter(
            "greenlight_unseen_categories_total",
            "Category values that training had not seen",
            ["version", "feature"],
        )
        cached = counter("greenlight_cache_rows_total", "Rows by what the response cache had", ["version", "found"])
        kept = counter("greenlight_prediction_log_rows_total", "Rows written to the prediction log", ["version"])
        lost = counter(
            "greenlight_prediction_log_dropped_rows_total",
            "Rows that the prediction log lost: its queue was full, the disk refused, or they had no JSON form",
            ["version", "reason"],
        )
        lag = gauge(
            "greenlight_prediction_log_lag_seconds",
            "How long the oldest answer waited that was not yet in the prediction log",
            ["version"],
            multiprocess_mode="livemax",
        )
        labels = counter("greenlight_labels_total", "Labels taken by POST /labels", ["version", "outcome"])
        self._build: Any = gauge(
            "greenlight_build_info",
            "Always 1; what the version is",
            ["version", *LABELS_OF_BUILD, "dataset", "xgboost", "python"],
            multiprocess_mode="max",
        )
        self._version = version
        self._answers = lru_cache(maxsize=64)(lambda kind, status: answers.labels(version, kind, status))
        self._series: Any = lru_cache(maxsize=8)(
            lambda kind: [one.labels(version, kind) for one in (seconds, rows, batch, score)]
        )
        self._series(LIVE)  # there from the start; the others when such a request comes
        self._hits, self._misses = cached.labels(version, "yes"), cached.labels(version, "no")
        self._unseen = lru_cache(maxsize=256)(lambda feature: unseen.labels(version, feature))
        self._kept: Any = kept.labels(version)
        self._lost = {reason: lost.labels(version, reason) for reason in ("queue", "disk", "format")}
        self._lag: Any = lag.labels(version)
        self._labels = {name: labels.labels(version, name) for name in ("accepted", "known", "contradicting")}

    def count(
        self,
        status: int,
        seconds: float,
        rows: int,
        scorer: Scorer,
        probability: Sequence[float] | None = None,
        kind: str = LIVE,
    ) -> None:
        """Add one answer of `rows` rows, and whatever `scorer` has noted as unseen since the last one."""
        self._answers(kind, status).inc()
        took, scored, batch, score = self._series(kind)
        took.observe(seconds)
        if rows:
            scored.inc(rows)
            batch.observe(rows)
        if probability:
            score.observe_many(probability)
        cache = scorer.cache
        if cache is not None:
            self._hits.inc(cache.hits)
            self._misses.inc(cache.misses)
            cache.hits = cache.misses = 0
        if scorer.unseen:
            noted, scorer.unseen = scorer.unseen, {}
            for feature, number in noted.items():
                self._unseen(feature).inc(number)

    def written(self, rows: int) -> None:
        """Rows that are in the prediction log now."""
        self._kept.inc(rows)

    def dropped(self, reason: str, rows: int) -> None:
        """Rows that will never be in it, because of ``queue``, ``disk`` or ``format``."""
        self._lost[reason].inc(rows)

    def lag(self, seconds: float) -> None:
        """How long the oldest answer has waited that is now written."""
        self._lag.set(seconds)

    def labels(self, accepted: int, known: int, contradicting: int) -> None:
        """Labels that were handed in."""
        for name, number in (("accepted", accepted), ("known", known), ("contradicting", contradicting)):
            if number:
                self._labels[name].inc(number)

    def build_info(self, root: Path, manifest: Manifest) -> None:
        """What the version under `root` is."""
        from importlib.metadata import version

        about = build_labels(root)
        names = [about.get(name, "") for name in LABELS_OF_BUILD]
        try:
            xgboost = version("xgboost")
        except ModuleNotFoundError:  # the build for CPUs alone has another name
            xgboost = manifest.xgboost
        self._build.labels(self._version, *names, manifest.dataset, xgboost, platform.python_version()).set(1)


@lru_cache(maxsize=1)
def counters(version: str) -> Counters:
    """The series of this process; made once, since a name can be registered only once."""
    return Counters(version)


def build_labels(root: Path) -> dict[str, str]:
    """The labels of the bento whose sources are in `root` (run, commit, digest of the model); none outside of one."""
    try:
        lines = (root.parent / "bento.yaml").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    found: dict[str, str] = {}
    inside = False
    for line in lines:
        if inside and not line.startswith(" "):
            break
        if inside:
            name, _, value = line.partition(":")
            found[name.strip()] = value.strip().strip("'\"")
        inside = inside or line.startswith("labels:")
    return found


def page(_: Request) -> Response:
    """Everything counted by all processes of all versions of this home, in Prometheus's format.

    Without a shared folder (plain ``bentoml serve``) the figures are those of this process.
    """
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    shared = os.environ.get(ALL_VERSIONS)
    try:
        if shared:
            registry.register(_AllVersions(Path(shared)))  # type: ignore[arg-type]
        else:
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError:  # no shared folder: this process is the only one
        registry = REGISTRY
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _AllVersions:
    """Collects from the folders of all versions; one that is stopped meanwhile takes its folder along."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Any:
        """Every series, summed over processes."""
        from prometheus_client.multiprocess import MultiProcessCollector

        for _ in range(5):
            # A folder that vanishes between the look and the read is looked for once more.
            with contextlib.suppress(FileNotFoundError):
                return MultiProcessCollector.merge([str(file) for file in self._folder.glob("*/*.db")])  # type: ignore[no-untyped-call]
        return []


def _forget_dead_processes() -> None:
    """Drop the gauges of processes that were killed: nobody would ever set them again."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return
    for file in Path(folder).glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not _runs(int(pid)):
            file.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
