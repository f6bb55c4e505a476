"""What Envoy itself counts of a release: how often each version was asked, failed to answer, and took long.

Failures that a second try hid from the user count against the version that failed: Envoy charges each of them as a
retry of the cluster that the request went to first (5xx, broken connection, no answer in time alike). So these counts
need neither a log nor the word of the candidate. Counters only grow as long as Envoy and the clusters stay; one that
fell says that they began anew.

Source: Envoy 1.40, cluster statistics (configuration/upstream/cluster_manager/cluster_stats); which counter moves when
is held against the real binary in tests/adapters/test_edge_release.py.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from greenlight.adapters.edge import Edge
from greenlight.adapters.edge_clusters import cluster_name, release_name
from greenlight.adapters.edge_config import MS

Stats = Mapping[str, int]


@dataclass(frozen=True)
class Counts:
    """Counts of one version since Envoy knows its clusters.

    Attributes
    ----------
    requests : int
        How often it was asked; a second try counts for neither version.
    failures : int
        How often it failed to answer, hidden from the user or not.
    timed : int
        Answers whose time is known.
    slower : dict of str to int
        For each limit of `edge_config.MS`, as text: answers that took longer than so many milliseconds.
    """

    requests: int = 0
    failures: int = 0
    timed: int = 0
    slower: Mapping[str, int] = field(default_factory=dict)

    def since(self, before: Counts) -> Counts:
        """What came on top of `before`; everything, where a counter fell."""
        if self.requests < before.requests or self.failures < before.failures or self.timed < before.timed:
            return self
        slower = {limit: max(0, count - before.slower.get(limit, 0)) for limit, count in self.slower.items()}
        return Counts(
            self.requests - before.requests, self.failures - before.failures, self.timed - before.timed, slower
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Release:
    """What Envoy counts of a release.

    Attributes
    ----------
    candidate, stable : Counts
        While users are shared between them.
    copies, beside : Counts
        While the candidate gets copies: of these, and of the requests that the stable version answers meanwhile.
    healthy : int
        Processes of the candidate that get users; 0 once all of them failed so often that Envoy took them out.
    """

    candidate: Counts
    stable: Counts
    copies: Counts
    beside: Counts
    healthy: int


def read(edge: Edge, candidate: str, stable: str) -> Release:
    """Ask Envoy.

    Raises
    ------
    EdgeError
        It does not answer.
    """
    both, alone = release_name(candidate, stable), cluster_name(stable)
    new, shadow = cluster_name(candidate, "candidate"), cluster_name(candidate, "shadow")
    found = edge.stats(rf"cluster\.({both}|{alone}|{new}|{shadow})\.(upstream_rq_|membership_healthy)")
    stats = {name.removeprefix("cluster."): int(value) for name, value in found.items() if isinstance(value, int)}
    times = {name: _slower(edge, name) for name in (both, alone, shadow)}
    hidden = _hidden(stats, both)
    asked_alone = stats.get(f"{alone}.upstream_rq_total", 0) - stats.get(f"{alone}.upstream_rq_retry", 0)
    # A process that cannot be connected to was asked all the same.
    asked_new = max(stats.get(f"{new}.upstream_rq_total", 0), hidden)
    # A copy that found no room was not sent; Envoy answers it with a 503 of its own, which is among the 5xx.
    lost = sum(stats.get(f"{shadow}.upstream_rq_{kind}_overflow", 0) for kind in ("active", "pending"))
    copied = stats.get(f"{shadow}.upstream_rq_total", 0)
    failed_copies = stats.get(f"{shadow}.upstream_rq_5xx", 0)
    answered_5xx = stats.get(f"{alone}.upstream_rq_5xx", 0)
    return Release(
        candidate=Counts(asked_new, hidden, *times[both]),
        stable=Counts(asked_alone, _hidden(stats, alone), *times[alone]),
        copies=Counts(max(copied + lost, failed_copies), failed_copies, *times[shadow]),
        beside=Counts(asked_alone, _hidden(stats, alone) + answered_5xx, *times[alone]),
        healthy=stats.get(f"{new}.membership_healthy", 0),
    )


def _hidden(stats: Stats, cluster: str) -> int:
    """Requests whose first try failed."""
    names = ("upstream_rq_retry", "upstream_rq_retry_overflow")
    return sum(stats.get(f"{cluster}.{name}", 0) for name in names)


def _slower(edge: Edge, cluster: str) -> tuple[int, dict[str, int]]:
    """Answers timed, and for each limit how many took longer.

    Envoy gathers times once a second (``stats_flush_interval``), so they come a moment after the counters.
    """
    buckets = edge.histogram(f"cluster.{cluster}.upstream_rq_time")
    if not buckets:
        return 0, {}
    total = max(buckets.values())
    limits = sorted(buckets)
    slower = {}
    for limit in MS:
        at = bisect_left(limits, limit)
        slower[f"{limit:g}"] = total - (buckets[limits[at]] if at < len(limits) else total)
    return total, slower
