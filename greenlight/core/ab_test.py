"""An A/B test as data: what is asked, which version a kept key belongs to, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from greenlight.core.always_valid import LEAST, Interval, SampleRatio
from greenlight.core.assignment import assign, split
from greenlight.core.metrics import plain

Decision = Literal["better", "not_worse", "worse", "undecided"]

SRM_ALPHA = 0.001  # a mismatch stops a test that may be sound: rarely, over all looks
LONGEST_KEY = 200  # characters that the log keeps of a key; one that is cut cannot be assigned again


@dataclass(frozen=True)
class AbTest:
    """What is asked.

    Attributes
    ----------
    candidate, stable : str
        The versions.
    weight : int
        The candidate's share of the keys, 1 to 9,999; it stayed as it was.
    salt : str
        Of the keys.
    metric : str
        ``accuracy`` or ``log_loss``.
    min_labels : int
        Keys of each version with a label before anything is decided; 0: as few as `always_valid.LEAST`, and a test
        that is undecided waits for none.
    margin : float
        At least 0: by so much the candidate may be worse and still count as not worse.
    confidence : float
        Of the interval, at all looks together.
    hypothesis : str
        What the test is to show, as a person wrote it.
    """

    candidate: str
    stable: str
    weight: int
    salt: str
    metric: str = "accuracy"
    min_labels: int = 500
    margin: float = 0.02
    confidence: float = 0.95
    hypothesis: str = ""

    @property
    def least(self) -> int:
        """Keys of each version from which on the interval says something."""
        return self.min_labels or LEAST

    def assigned(self, key: str) -> str:
        """The version that the edge gives `key`; empty where what is kept of it does not tell."""
        try:
            # The log reads a header's bytes as Latin-1, and the edge hashes the bytes.
            sent = key.encode("latin-1").decode()
        except UnicodeError:
            return ""
        if not 0 < len(key) < LONGEST_KEY:
            return ""
        return assign(sent, self.salt, split(self.candidate, self.weight, self.stable))


@dataclass(frozen=True)
class Arm:
    """One version's part.

    Attributes
    ----------
    keys : int
        That it was the first to answer.
    answers, labelled : int
        To the keys that are assigned to it, and how many of those have a label.
    labelled_keys : int
        Keys that are assigned to it, with at least one label.
    mean : float
        Of the metric, over those keys; NaN without any.
    """

    keys: int
    answers: int
    labelled: int
    labelled_keys: int
    mean: float


@dataclass(frozen=True)
class Readout:
    """What the test says now.

    Attributes
    ----------
    decision : str
        ``better`` and ``not_worse`` speak for the candidate, ``worse`` against it.
    reasons : tuple of str
        Sentences: what was shown, or what is missing.
    arms : mapping of str to Arm
        By version.
    advantage : Interval
        By how much the candidate is better in the metric, whichever way that counts; below 0: worse.
    keys, labelled_keys : SampleRatio
        Whether the keys, and those with a label, are shared as planned.
    elsewhere : int
        Answers to a key from the version that it is not assigned to: its own failed, or took too long.
    unassigned : int
        Answers whose key is missing or cut, by chance with either version; they are left out.
    more_keys : int or None
        How many more labelled keys would decide it, were they like those so far; None where no number would.
    """

    decision: Decision
    reasons: tuple[str, ...]
    arms: Mapping[str, Arm]
    advantage: Interval
    keys: SampleRatio
    labelled_keys: SampleRatio
    elsewhere: int
    unassigned: int
    more_keys: int | None

    @property
    def mismatch(self) -> bool:
        """Whether the split is shown to be another than planned."""
        return self.keys.mismatch(SRM_ALPHA) or self.labelled_keys.mismatch(SRM_ALPHA)

    def to_json(self, test: AbTest) -> dict[str, Any]:
        """As JSON can hold it, with what was asked."""
        ratios = {"keys": self.keys, "labelled_keys": self.labelled_keys}
        found: dict[str, Any] = plain(
            {
                "test": asdict(test),
                "decision": self.decision,
                "reasons": self.reasons,
                "arms": {version: asdict(arm) for version, arm in self.arms.items()},
                "advantage": asdict(self.advantage),
                "sample_ratio": {
                    name: {"observed": its.observed, "expected": its.expected, "evidence": its.evidence}
                    for name, its in ratios.items()
                },
                "sample_ratio_mismatch": self.mismatch,
                "elsewhere": self.elsewhere,
                "unassigned": self.unassigned,
                "more_keys": self.more_keys,
            }
        )
        return found
