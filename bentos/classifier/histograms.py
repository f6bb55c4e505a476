"""A histogram that takes many values at once.

prometheus_client's takes one at a time, two microseconds each: for a request of a thousand rows as much as scoring
them. A test holds both to the same figures. Imported only once a server runs, like prometheus_client itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
from prometheus_client import Histogram

FEW = 8  # up to here a search per value is faster than an array


class BulkHistogram(Histogram):
    """A `prometheus_client.Histogram` with `observe_many`."""

    # What the parent keeps; declared so that a change of the parent is seen by the test, not guessed.
    _buckets: list[Any]
    _sum: Any
    _upper_bounds: Any

    def observe_many(self, values: Sequence[float]) -> None:
        """Count every one of `values`, as `observe` would one by one."""
        bounds, buckets = self._upper_bounds, self._buckets
        if len(values) <= FEW:
            for value in values:
                buckets[bisect_left(bounds, value)].inc(1)
        else:
            places = np.searchsorted(bounds, np.asarray(values, dtype=np.float64), side="left")
            for place, count in enumerate(np.bincount(places, minlength=len(bounds))):
                if count:
                    buckets[place].inc(int(count))
        self._sum.inc(sum(values))
