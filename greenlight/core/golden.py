"""Rows of the holdout with the exact answers expected of a model.

A module of its own, without NumPy: a roll back reads nothing else of a model, and NumPy is a third of its start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Golden:
    """One row of the holdout and the answer expected: `request` as a client sends it, exact float32 `probability`."""

    request: dict[str, Any]
    probability: float
    decision: bool
