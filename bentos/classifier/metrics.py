"""What the service counts: answers by status, their seconds, rows scored, and categories that training had not seen.

BentoML's own request metrics look up five labelled series a request, which costs as much as the features of a row;
these keep theirs at hand. The processes of a version share a folder, so whichever is asked answers for all.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

    from bentos.classifier.scorer import Scorer

BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


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
        from prometheus_client import Histogram as histogram

        answers = counter("greenlight_answers_total", "Answers to POST /predict", ["version", "status"])
        seconds = histogram("greenlight_answer_seconds", "Seconds per answer", ["version"], buckets=BUCKETS)
        rows = counter("greenlight_rows_total", "Rows scored", ["version"])
        unseen = counter(
            "greenlight_unseen_categories_total",
            "Category values that training had not seen",
            ["version", "feature"],
        )
        cached = counter("greenlight_cache_rows_total", "Rows by what the response cache had", ["version", "found"])
        self._answers = lru_cache(maxsize=32)(lambda status: answers.labels(version, status))
        self._seconds: Any = seconds.labels(version)
        self._rows: Any = rows.labels(version)
        self._hits, self._misses = cached.labels(version, "yes"), cached.labels(version, "no")
        self._unseen = lru_cache(maxsize=256)(lambda feature: unseen.labels(version, feature))

    def count(self, status: int, seconds: float, rows: int, scorer: Scorer) -> None:
        """Add one answer, and whatever `scorer` has noted as unseen since the last one."""
        self._answers(status).inc()
        self._seconds.observe(seconds)
        if rows:
            self._rows.inc(rows)
        cache = scorer.cache
        if cache is not None:
            self._hits.inc(cache.hits)
            self._misses.inc(cache.misses)
            cache.hits = cache.misses = 0
        if scorer.unseen:
            noted, scorer.unseen = scorer.unseen, {}
            for feature, number in noted.items():
                self._unseen(feature).inc(number)


@lru_cache(maxsize=1)
def counters(version: str) -> Counters:
    """The series of this process; made once, since a name can be registered only once."""
    return Counters(version)


def page(_: Request) -> Response:
    """Everything counted by all processes that share ``PROMETHEUS_MULTIPROC_DIR``, in Prometheus's format."""
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError:  # no shared folder: this process is the only one
        registry = REGISTRY
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
