"""The guard of a release: several things are watched at once, and one of three answers comes out.

Everything that is watched has its own e-process (`greenlight.core.comparison`) and its own rate
(`greenlight.core.rate_bound`). One of them that is shown to be worse rolls the release back; promotion needs all of
them, and a least exposure. It must not know where requests come from or how traffic is moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from numpy.typing import ArrayLike

from greenlight.core.comparison import Comparison, check_alpha, discordant
from greenlight.core.guard_findings import Finding, GuardVerdict, Measure, find
from greenlight.core.rate_bound import Rate
from greenlight.errors import UsageError

__all__ = ["Comparison", "Finding", "Guard", "GuardVerdict", "Measure", "Rate", "discordant"]

SCHEMA = 1


class Guard:
    """Watches a candidate beside the stable version.

    Parameters
    ----------
    measures : iterable of Measure
        At least one, each with a name of its own.
    alpha : float
        0 to 1, excluded. The chance that a candidate which is worse in nothing is rolled back, over the whole release
        and however often one looks; split among the measures by their shares (union bound).
    alpha_promote : float, optional
        The chance that a candidate is promoted which in one needed measure both fails at least `not_worse_margin`
        times as often and has a rate of at least the ceiling; `alpha` without. Not split among measures, because all
        of them must be fine (intersection-union test: Berger, Technometrics 24, 1982), but halved between the two
        ways to be fine.
    min_requests : int
        At least 1: requests (pairs, labels) of the candidate that each needed measure must have seen.
    min_seconds : float
        At least 0: how long the candidate must have had traffic.

    Raises
    ------
    UsageError
        No measure, two of one name, or a number outside its range.
    """

    def __init__(
        self,
        measures: Iterable[Measure],
        *,
        alpha: float = 0.05,
        alpha_promote: float | None = None,
        min_requests: int = 100,
        min_seconds: float = 0.0,
    ) -> None:
        given = tuple(measures)
        self.measures = {m.name: m for m in given}
        self.alpha = alpha
        self.alpha_promote = alpha if alpha_promote is None else alpha_promote
        self.min_requests = min_requests
        self.min_seconds = min_seconds
        self.seconds = 0.0
        check_alpha(self.alpha)
        check_alpha(self.alpha_promote)
        if not given or len(given) != len(self.measures):
            raise UsageError(f"the guard needs measures of different names, it has {[m.name for m in given]}")
        if min_requests < 1 or not 0 <= min_seconds < float("inf"):
            raise UsageError(
                f"the least exposure is {min_requests} requests and {min_seconds} s, it is at least 1 and 0",
                todo="a candidate that nobody has asked anything is not healthy, it is silent",
            )
        shares = sum(m.share for m in given)
        self.comparisons = {
            m.name: Comparison(alpha * m.share / shares, m.margin, not_worse_margin=m.not_worse_margin) for m in given
        }
        self.judged = dict.fromkeys(self.measures, 0)

    def observe(self, requests: int, seconds: float) -> Guard:
        """Add exposure: requests that the candidate was given, and the seconds in which it could get any.

        Requests count for every measure but those of pairs and of labels. A request that failed counts like any other.

        Raises
        ------
        UsageError
            Either is below 0.
        """
        if requests < 0 or not 0 <= seconds < float("inf"):
            raise UsageError(f"an exposure of {requests} requests and {seconds} s: it only grows")
        self.seconds += seconds
        for measure in self.measures.values():
            if not (measure.paired or measure.labelled):
                self.judged[measure.name] += requests
        return self

    def update(self, name: str, failures: ArrayLike, routing: ArrayLike, *, judged: int = 0) -> Guard:
        """Add failures of one measure, as `Comparison.update` takes them.

        Parameters
        ----------
        name : str
            Of the measure.
        failures : (n,) bool
            True where it was the candidate's. What a retry on the stable version hid from the user is the candidate's.
        routing : (n,) float
            Probability of the candidate at that moment.
        judged : int
            At least 0: pairs (or labels) that were judged since the last call, failed or not, where `observe` does not
            count them.

        Raises
        ------
        UsageError
            No such measure, or the events are not such.
        """
        if name not in self.measures:
            raise UsageError(f"the guard does not watch {name!r}, it watches {', '.join(self.measures)}")
        if judged < 0:
            raise UsageError(f"{judged} judged requests: an exposure only grows")
        self.comparisons[name].update(failures, routing)
        self.judged[name] += judged
        return self

    def retell(self, name: str, failures: ArrayLike, routing: ArrayLike, *, judged: int) -> Guard:
        """Everything that one measure has seen so far, in the place of what it was told before.

        For a source that reads its events anew each time, so that nothing is lost or counted twice whatever is killed.
        What was once shown to be worse stays so. Parameters and errors as `update`, `judged` in all.
        """
        if name not in self.measures:
            raise UsageError(f"the guard does not watch {name!r}, it watches {', '.join(self.measures)}")
        if judged < 0:
            raise UsageError(f"{judged} judged in all: an exposure is at least 0")
        before = self.comparisons[name]
        alpha, margin, not_worse_margin, grid = before.setup
        its = Comparison(alpha, margin, not_worse_margin=not_worse_margin, grid=grid).update(failures, routing)
        its.log_peak_worse = max(its.log_peak_worse, before.log_peak_worse)
        self.comparisons[name], self.judged[name] = its, judged
        return self

    def verdict(self) -> GuardVerdict:
        """The answer to everything that was added so far; may be asked as often as one likes."""
        findings = tuple(
            find(measure, self.comparisons[name], self.judged[name], self.alpha_promote)
            for name, measure in self.measures.items()
        )
        worse = tuple(f.why for f in findings if f.state == "worse")
        if worse:
            return GuardVerdict("roll_back", worse, findings)
        missing = [*self._exposure(), *(f.why for f in findings if f.state == "open" and self.measures[f.name].needed)]
        if missing:
            return GuardVerdict("undecided", tuple(missing), findings)
        if not any(m.needed for m in self.measures.values()):
            return GuardVerdict(
                "undecided", ("no measure is needed for promotion, so none can speak for it",), findings
            )
        return GuardVerdict("promote", tuple(f.why for f in findings if f.state == "fine"), findings)

    def to_json(self) -> dict[str, Any]:
        """The whole state as JSON values."""
        return {
            "schema": SCHEMA,
            "alpha": self.alpha,
            "alpha_promote": self.alpha_promote,
            "min_requests": self.min_requests,
            "min_seconds": self.min_seconds,
            "seconds": self.seconds,
            "measures": [asdict(m) for m in self.measures.values()],
            "judged": dict(self.judged),
            "comparisons": {name: its.to_json() for name, its in self.comparisons.items()},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Guard:
        """Read the state back.

        Raises
        ------
        UsageError
            It is not such a state, or was written by a newer Greenlight.
        """
        try:
            if document["schema"] != SCHEMA:
                raise UsageError(f"the guard has schema {document['schema']!r}, this code reads {SCHEMA}")
            guard = cls(
                (Measure(**m) for m in document["measures"]),
                **{k: document[k] for k in ("alpha", "alpha_promote", "min_requests", "min_seconds")},
            )
            exposed = {name: int(document["judged"][name]) for name in guard.measures}
            comparisons = {name: Comparison.from_json(document["comparisons"][name]) for name in guard.measures}
            guard.observe(0, float(document["seconds"]))
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise UsageError(f"the state of a guard cannot be read: {exc!r}") from exc
        planned = guard.comparisons
        if any(n < 0 for n in exposed.values()) or any(
            its.setup != planned[name].setup for name, its in comparisons.items()
        ):
            raise UsageError("the state of a guard contradicts its measures", todo="begin the release anew")
        guard.judged, guard.comparisons = exposed, comparisons
        return guard

    def _exposure(self) -> list[str]:
        """What is missing before anything may be promoted."""
        missing = []
        if self.seconds < self.min_seconds:
            missing.append(f"the candidate had traffic for {self.seconds:.0f} s of at least {self.min_seconds:.0f} s")
        for name, measure in self.measures.items():
            least = measure.least or self.min_requests
            if measure.needed and self.judged[name] < least:
                missing.append(f"{name}: {self.judged[name]} of at least {least} {measure.unit} judged")
        return missing
