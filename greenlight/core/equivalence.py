"""How far two executions of one run may be apart and still be the same model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A float32 probability carries about 1e-7; sums in another order (another device, another thread count) move the margin
# by a few parts in a million. Our decision; the verdict states it.
SCORE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Difference:
    """Largest absolute differences; NaN or infinite where the two cannot be compared."""

    scores: float
    metrics: float

    @property
    def equivalent(self) -> bool:
        """Whether both are within the tolerance; what cannot be compared is not."""
        return bool(self.scores <= SCORE_TOLERANCE and self.metrics <= SCORE_TOLERANCE)


def compare(
    old: NDArray[np.float32],
    new: NDArray[np.float32],
    old_metrics: Mapping[str, object],
    new_metrics: Mapping[str, object],
) -> Difference:
    """Compare scores and metrics of two executions.

    Parameters
    ----------
    old, new : (n,) float32
        Probabilities for the same rows, 0 to 1.
    old_metrics, new_metrics : mapping
        Metrics by name; values that are no numbers are passed over.

    Examples
    --------
    >>> compare(np.float32([0.5]), np.float32([0.5]), {"roc_auc": 0.7}, {"roc_auc": 0.7}).equivalent
    True
    >>> compare(np.float32([0.5]), np.float32([0.5, 0.1]), {}, {}).equivalent
    False
    """
    if old.shape != new.shape or old.size == 0:
        return Difference(float("inf"), float("inf"))
    numbers = {key for key, value in old_metrics.items() if isinstance(value, int | float)}
    if numbers != {key for key, value in new_metrics.items() if isinstance(value, int | float)}:
        return Difference(float(np.max(np.abs(old - new))), float("inf"))
    gaps = [abs(float(old_metrics[key]) - float(new_metrics[key])) for key in numbers]  # type: ignore[arg-type]
    return Difference(float(np.max(np.abs(old - new))), max(gaps, default=0.0))
