"""The ML Test Score: 28 tests in four sections; who fulfils them by machine, who by hand, who not at all.

Source: Breck, Cai, Nielsen, Salib, Sculley, "The ML Test Score: A Rubric for ML Production Readiness and Technical Debt
Reduction", IEEE Big Data 2017. Half a point for a test that is done by hand and written down, a point for one that runs
by itself and again and again; the score is the smallest of the four sections' sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

How = Literal["automatic", "in part", "manual", "none"]
POINTS: dict[How, float] = {"automatic": 1.0, "in part": 0.5, "manual": 0.5, "none": 0.0}
MEANING = (  # from so many points on; section III of the source
    (5.0, "strong levels of automated testing and monitoring"),
    (3.0, "strongly tested and monitored, though more could be automated"),
    (2.0, "reasonably tested, but more of it may be automated"),
    (1.0, "a first pass at basic productionization, more investment may be needed"),
    (0.0, "not totally untested, but there may be serious holes in reliability"),
)
SECTIONS = ("data", "model", "infrastructure", "monitoring")


@dataclass(frozen=True)
class Evidence:
    """Something that must be there.

    Attributes
    ----------
    kind : str
        ``test`` (file::function), ``gate``, ``stage``, ``file``, ``text`` (file::words), ``check`` (of a preflight),
        ``expectations`` (at least so many), ``command``.
    what : str
    """

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what}"


@dataclass(frozen=True)
class Claim:
    """How a test is fulfilled, if all of its evidence is there.

    Attributes
    ----------
    how : str
        ``automatic``; ``in part``: by machine, but not all that the test asks; ``manual``: by hand, written down.
    words : str
        What is done.
    evidence : tuple of Evidence
        At least one.
    lacks : str
        What is missing to a whole point.
    """

    how: How
    words: str
    evidence: tuple[Evidence, ...]
    lacks: str = ""


@dataclass(frozen=True)
class Item:
    """One of the 28 tests, with the claims that may fulfil it, best first."""

    section: str
    number: int
    title: str
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Finding:
    """What became of one test.

    Attributes
    ----------
    item : Item
    how : str
    words : str
        What is done, or why there is no point.
    evidence, missing : tuple of str
        What was found, and what a better claim would have needed.
    """

    item: Item
    how: How
    words: str
    evidence: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def points(self) -> float:
        """0, 0.5 or 1."""
        return POINTS[self.how]


def examine(items: Sequence[Item], holds: Callable[[Evidence], bool]) -> tuple[Finding, ...]:
    """The best claim of each test whose evidence is all there.

    Parameters
    ----------
    holds : callable
        Whether a piece of evidence is there.
    """
    return tuple(_examine(item, holds) for item in items)


def _examine(item: Item, holds: Callable[[Evidence], bool]) -> Finding:
    missing: list[str] = []
    for claim in item.claims:
        absent = [str(one) for one in claim.evidence if not holds(one)]
        if claim.evidence and not absent:
            words = f"{claim.words}; lacks: {claim.lacks}" if claim.lacks else claim.words
            return Finding(item, claim.how, words, tuple(map(str, claim.evidence)), tuple(missing))
        missing += absent
    return Finding(item, "none", "nothing does this", (), tuple(missing))


def card(findings: Sequence[Finding]) -> dict[str, Any]:
    """The score with all that it is made of, as plain values."""
    sections = {name: sum(finding.points for finding in findings if finding.item.section == name) for name in SECTIONS}
    score = min(sections.values())
    return {
        "score": score,
        "meaning": next((words for least, words in MEANING if score > least), MEANING[-1][1] if score else "no score"),
        "sections": sections,
        "counts": {how: sum(finding.how == how for finding in findings) for how in POINTS},
        "tests": [
            {
                "section": finding.item.section,
                "number": finding.item.number,
                "title": finding.item.title,
                "how": finding.how,
                "points": finding.points,
                "words": finding.words,
                "evidence": list(finding.evidence),
                "missing": list(finding.missing),
            }
            for finding in findings
        ],
    }
