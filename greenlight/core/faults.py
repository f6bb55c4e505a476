"""What a fault is: where it is put in, what it does there, and which check must say no to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
import polars as pl

Tables = Mapping[str, pl.DataFrame]
Point = Literal["data", "features", "model"]
CONTROL = "nothing wrong"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes
    ----------
    name : str
        Unique; what tables call it.
    what : str
        What goes wrong, in words.
    expected : tuple of str
        Names of the expectations or gates that must catch it, any of them, as shell patterns.
    """

    name: str
    what: str
    expected: tuple[str, ...]


@dataclass(frozen=True)
class DataFault(Fault):
    """A fault in the newest month as it is delivered.

    Attributes
    ----------
    inject : callable
        Takes the newest month's tables, those of the month before and a generator; returns the tables that it changes.
    """

    inject: Callable[[Tables, Tables, np.random.Generator], Tables] = lambda now, before, rng: {}


@dataclass(frozen=True)
class Caught:
    """What became of one fault.

    Attributes
    ----------
    fault : Fault
    by : tuple of str
        Everything that said no, or could not say yes, in the order of asking.
    stage : str
        Where the run ended: ``validate``, ``gate``, or the stage that refused.
    decision : str
        ``data rejected``, ``refused``, or the verdict's.
    said : str
        The right catcher's words, else the first's.
    """

    fault: Fault
    by: tuple[str, ...]
    stage: str
    decision: str
    said: str

    @property
    def right(self) -> tuple[str, ...]:
        """Those of `by` that were expected to."""
        return tuple(name for name in self.by if matches(name, self.fault.expected))

    @property
    def stopped(self) -> bool:
        """Whether it would not have been released."""
        return self.decision != "promote"

    @property
    def caught(self) -> bool:
        """Whether it was stopped by the right check; of the control, whether nothing stopped it."""
        if self.fault.name == CONTROL:
            return not self.stopped
        return self.stopped and bool(self.right)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "name": self.fault.name,
            "what": self.fault.what,
            "caught": self.caught,
            "stopped": self.stopped,
            "by": list(self.by),
            "right": list(self.right),
            "expected": list(self.fault.expected),
            "stage": self.stage,
            "decision": self.decision,
            "said": self.said,
        }


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a check's name fits any of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
