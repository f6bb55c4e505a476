"""No server at all: how often a second one core does the work itself.

Run in the ``src`` of a bento: ``python -m benchmarks.peers.bare_loop SECONDS``, rows as JSON lines on stdin. Writes
rows a second as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.peers.scoring import Flights

PREDICT = "inplace_predict alone, one row"
ONE = "features and inplace_predict, one row"
MANY = "features and booster call, 1,000 rows"
COLUMNS = "the same from columns instead of rows"


def main() -> None:
    """Measure each loop for as many seconds as the first argument says."""
    seconds = float(sys.argv[1])
    flights = Flights()
    rows = [flights.row.model_validate(json.loads(line)) for line in sys.stdin]
    json.dump(measure(flights, rows, seconds), sys.stdout)


def measure(flights: Flights, rows: list[Any], seconds: float) -> dict[str, float]:
    """Rows a second of each loop over checked rows."""
    one, model = flights.matrix(rows[:1]), flights.model
    many = rows[:1000]
    columns = flights.dataset.request.columns(many)
    features, lookups, vocabulary = flights.dataset.features.row_features, model.lookups, model.manifest.vocabulary
    return {
        PREDICT: _rate(lambda: flights.booster.inplace_predict(one, validate_features=False), 1, seconds),
        ONE: _rate(lambda: flights.score(rows[:1]), 1, seconds),
        MANY: _rate(lambda: model.score_matrix(flights.matrix(many)), len(many), seconds),
        COLUMNS: _rate(lambda: model.score_matrix(features(columns, lookups, vocabulary)[0]), len(many), seconds),
    }


def _rate(work: Callable[[], object], rows: int, seconds: float) -> float:
    work()
    done, begun = 0, time.perf_counter()
    while (took := time.perf_counter() - begun) < seconds:
        work()
        done += rows
    return done / took


if __name__ == "__main__":
    main()
