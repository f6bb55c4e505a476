"""Answers to rows that were asked before: off unless asked for, bounded, of one version.

The same row always gets the same score from the same version, so a row's score may be kept for as long as the process
holds that version, which is its whole life. Keyed by all values of the checked row, so what was written differently
(``1400`` and ``1400.0``) is one entry where its type makes it one value.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any

VARIABLE = "GREENLIGHT_RESPONSE_CACHE_ROWS"
MAX_ROWS = 10_000_000

Kept = tuple[float, bool]


class Cache:
    """The scores of the rows that were asked last.

    Parameters
    ----------
    size : int
        Rows kept, at least 1; one takes about 1 kB. The one that was not asked for longest goes first.

    Attributes
    ----------
    hits, misses : int
        Rows found and not found, since they were last read by the metrics.

    Examples
    --------
    >>> cache = Cache(2)
    >>> for key in "abc":
    ...     cache.put(key, (0.5, True))
    >>> cache.get("a"), cache.get("c"), cache.hits, cache.misses
    (None, (0.5, True), 1, 1)
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Kept | None:
        """What is kept for `key`; None for nothing."""
        found = self._kept.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return found

    def put(self, key: Hashable, scored: Kept) -> None:
        """Keep the score of a row."""
        self._kept[key] = scored
        self._kept.move_to_end(key)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)


def key_of(row: Any) -> Hashable:
    """All values of a checked row, in the order of its fields."""
    values = tuple(row.__dict__.values())
    try:
        hash(values)
    except TypeError:  # a list or an object among them
        return repr(values)
    return values


def size_wanted(environment: Mapping[str, str]) -> int:
    """Rows to keep, as `VARIABLE` says; 0 for no cache. What is no number from 0 to `MAX_ROWS` counts as none."""
    text = environment.get(VARIABLE, "0")
    return min(int(text), MAX_ROWS) if text.isdigit() and len(text) < 20 else 0
