"""What speaks for and against a candidate: the sources that are asked, and the file that keeps what they said.

A source says what it saw since its last look and where it goes on the next time. All of it is kept in one file beside
the desired state, so that a driver may be killed at any moment; where the file is lost, the release only waits longer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from greenlight.adapters import edge_counts
from greenlight.adapters.desired import replace_file
from greenlight.adapters.edge import Edge
from greenlight.adapters.edge_config import MS
from greenlight.adapters.edge_counts import Counts
from greenlight.config import Params
from greenlight.core.assignment import TOTAL
from greenlight.core.release import Desired
from greenlight.core.release_evidence import Evidence, Seen
from greenlight.core.release_limits import FAILURES, SLOW, LabelLimits, Limits
from greenlight.core.release_plan import Rollout
from greenlight.core.rollout import traffic
from greenlight.errors import UsageError

# So long none of the candidate's processes may be well before that ends its release; Envoy takes it out sooner.
DOWN_S = 4.0
# An answer is slow where it takes so many times longer than all but this share of the stable version's: a candidate's
# first answers, from caches that are cold, must not count as slow.
SLOW_SHARE = 0.01
SLOW_TIMES = 2
LEAST_TIMED = 200
LEAST_SLOW_MS = 5


class Source(Protocol):
    """Something that knows how a candidate does.

    Attributes
    ----------
    name : str
        Of its cursor in the evidence.
    """

    name: str

    def look(self, rollout: Rollout, cursor: Any, now: float) -> tuple[Seen, Any]:
        """What was seen since `cursor` was left (None: since the release began), and the new cursor, JSON values.

        Parameters
        ----------
        now : float
            Seconds since the epoch.
        """
        ...


class EdgeSource:
    """Envoy's own counters: who was asked, failed (hidden from the user or not), and took long.

    Parameters
    ----------
    edge : Edge
    slow_ms : float
        One of `edge_config.MS`.
    budget_ms : float
        The preflight's for an answer. Copies are held against that one: a copy always comes second, on cores that
        answer the user at the same time, so that "slower than the stable version" would say nothing of the candidate.
    """

    name = "edge"

    def __init__(self, edge: Edge, slow_ms: float, budget_ms: float) -> None:
        self._edge = edge
        self._slow = f"{slow_ms:g}"
        self._budget = f"{above(budget_ms):g}"

    def look(self, rollout: Rollout, cursor: Any, now: float) -> tuple[Seen, Any]:
        """See `Source.look`."""
        found = edge_counts.read(self._edge, rollout.version, rollout.stable)
        raw = {"candidate": found.candidate, "stable": found.stable, "copies": found.copies, "beside": found.beside}
        before = {name: Counts(**(cursor or {}).get(name, {})) for name in raw}
        # What was counted before the release began (a version that was a candidate before) is not of this one.
        since = {name: counts.since(before[name]) if cursor else Counts() for name, counts in raw.items()}
        step = rollout.current
        mine, its = ("copies", "beside") if step.mirror else ("candidate", "stable")
        candidate, stable = since[mine], since[its]
        seen_well = found.healthy > 0 or not rollout.exposed
        down_since = 0.0 if seen_well else float((cursor or {}).get("down_since") or now)
        against = (
            (
                f"none of the processes of {rollout.version} is well: they fail, time after time, or do not answer; "
                "the edge took them out",
            )
            if down_since and now - down_since >= DOWN_S
            else ()
        )
        # While the candidate is out of the traffic a failure of the stable version tells nothing of either.
        beside = stable if seen_well else Counts(stable.requests)
        slow = self._budget if step.mirror else self._slow
        bad = {
            FAILURES: (candidate.failures, beside.failures),
            SLOW: (candidate.slower.get(slow, 0), beside.slower.get(slow, 0)),
        }
        seen = Seen(
            max(candidate.requests, candidate.failures),
            stable.requests,
            bad,
            routing(rollout),
            against,
        )
        return seen, {**{name: counts.to_json() for name, counts in raw.items()}, "down_since": down_since}


def routing(rollout: Rollout) -> float:
    """The chance of a failure to be the candidate's, were both versions alike: 0 to 1.

    Of requests that are shared it is the candidate's share; of m copies beside each request m / (1 + m).
    """
    if not rollout.exposed:
        return 0.0
    step = rollout.current
    return step.mirror / (TOTAL + step.mirror) if step.mirror else step.weight / TOTAL


def limits(params: Params, rollout: Rollout) -> Limits:
    """What params.yaml asks of this release; labels are only waited for where a step shares requests by chance."""
    guard = params.release.guard
    shared = any(step.kind == "canary" for step in rollout.steps)
    return Limits(
        guard.alpha,
        guard.margin,
        guard.not_worse_margin,
        {FAILURES: guard.max_failures, SLOW: guard.max_slow},
        guard.min_requests,
        LabelLimits(
            guard.wrong_margin,
            guard.wrong_not_worse_margin,
            guard.max_wrong,
            guard.min_labels if shared else 0,
            params.release.shadow.wrong_margin,
        ),
    )


def slow_limit(edge: Edge, rollout: Rollout, fallback_ms: float) -> float:
    """From how many milliseconds on an answer is slow: twice what the stable version hardly ever takes.

    It is fixed before the candidate's first request, from what the edge has seen of the stable version; with too few
    answers for that it is `fallback_ms`. Either way the next of `edge_config.MS` above.

    Raises
    ------
    EdgeError
        Envoy does not answer.
    """
    stable = edge_counts.read(edge, rollout.version, rollout.stable).stable
    if stable.timed >= LEAST_TIMED:
        for ms in MS:
            if ms >= LEAST_SLOW_MS and stable.slower[f"{ms:g}"] <= SLOW_SHARE * stable.timed:
                return above(SLOW_TIMES * ms)
    return above(fallback_ms)


def above(ms: float) -> float:
    """The least limit that the edge tells apart and that is not below `ms`."""
    return next((limit for limit in MS if limit >= ms), MS[-1])


class EvidenceFile:
    """``<home>/serving/evidence.json``: everything known of the release under way, and of the last one.

    Parameters
    ----------
    home : Path
        Greenlight's work state.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / "serving" / "evidence.json"

    def read(self) -> dict[str, Any]:
        """What the file holds; nothing where it is missing or damaged."""
        try:
            found = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def load(self, rollout: Rollout, limits: Limits) -> Evidence | None:
        """The evidence of this release; None where there is none that can be used."""
        found = self.read()
        if found.get("release") != rollout.id:
            return None
        try:
            return Evidence.from_json(found, limits)
        except UsageError:
            return None

    def save(self, evidence: Evidence) -> None:
        """Replace the file.

        Raises
        ------
        ServerError
            It cannot be written.
        """
        replace_file(self.path, json.dumps(evidence.to_json()).encode())


def look(sources: Sequence[Source], rollout: Rollout, evidence: Evidence, now: float) -> None:
    """Ask every source once."""
    evidence.look(rollout, now)
    for source in sources:
        seen, cursor = source.look(rollout, evidence.cursors.get(source.name), now)
        evidence.add(source.name, seen, cursor, now)


def status_of(home: Path, state: Desired) -> dict[str, Any]:
    """The release under way, for `status`; nothing without one."""
    rollout = state.rollout
    if rollout is None:
        return {}
    shares = traffic(state)
    known = EvidenceFile(home).read()
    return {
        "candidate": rollout.version,
        "stable": rollout.stable,
        "where": rollout.where,
        "step": rollout.step + 1,
        "steps": [step.name for step in rollout.steps],
        "weight": shares.weight,
        "mirror": shares.mirror,
        "paused": rollout.paused,
        "waits_for": rollout.waits_for,
        "hypothesis": rollout.current.hypothesis,
        "evidence": shown(known) if known.get("release") == rollout.id else {},
        "next": state.next.version if state.next else "",
    }


def shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """What `status` shows of the file: how often the candidate was asked, and what each measure says."""
    if not document:
        return {}
    try:
        known = Evidence.from_json(document, Limits(0.05, 1.0, 1.0, {FAILURES: 0.5}, 1))
        findings = [f.why for f in known.guard.verdict().findings]
    except UsageError:
        return {}
    return {
        "step_requests": known.requests,
        "step_seconds": round(known.seconds, 1),
        "requests": max(known.guard.judged.values(), default=0),
        "slow_ms": known.slow_ms,
        "findings": findings,
        "notes": known.notes,
    }
