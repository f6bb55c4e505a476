"""Which arm of an A/B test a key belongs to: the edge's own arithmetic, so that an assignment can be recomputed.

Envoy hashes the key and walks through the arms in their order. With the newcomer first its share is the range from 0
up, so that a growing weight only adds keys and nobody is taken away from it, as long as the total stays what it was.
It must not know what a key stands for.
"""

from __future__ import annotations

from collections.abc import Sequence

import xxhash

from greenlight.errors import UsageError

TOTAL = 10_000  # weights in hundredths of a percent
LARGEST_TOTAL = 2**32 - 1  # Envoy keeps the sum in 32 bits


def assign(key: str, salt: str, weights: Sequence[tuple[str, int]]) -> str:
    """The arm that the edge sends `key` to.

    Parameters
    ----------
    key : str
        As it stands in the request's header (which has no blanks around it), not empty: a request without a key goes
        to an arm by chance, and no one can say later to which.
    salt : str
        Of the experiment; another salt shuffles the keys anew. Empty: the key alone is hashed.
    weights : sequence of (str, int)
        Arms in the edge's order, newcomer first, with weights of at least 0.

    Raises
    ------
    UsageError
        The key is empty, or the weights are no weights.

    Source
    ------
    Envoy 1.40, ``source/common/router/config_impl.cc`` (``hash % total_cluster_weight``, then the first arm whose
    running sum exceeds it) and ``source/common/common/hash.h`` (xxHash64, seed 0); held against the real Envoy in
    tests/core/test_assignment_envoy.py.
    """
    if not key:
        raise UsageError("the key is empty: a request without one is sent to an arm by chance")
    total = _total(weights)
    value = xxhash.xxh64_intdigest((f"{salt}:{key}" if salt else key).encode()) % total
    for arm, weight in weights:
        if value < weight:
            return arm
        value -= weight
    raise AssertionError("the weights add up to their total")


def split(newcomer: str, weight: int, stable: str, total: int = TOTAL) -> tuple[tuple[str, int], ...]:
    """Weights for `assign` and the edge: the newcomer first, the rest for the stable version.

    Raises
    ------
    UsageError
        `weight` does not lie between 0 and `total`, or both arms are the same.
    """
    if newcomer == stable:
        raise UsageError(f"both arms are {stable}, a split needs two")
    if not 0 <= weight <= total:
        raise UsageError(f"the weight of {newcomer} is {weight}, it lies between 0 and {total}")
    return (newcomer, weight), (stable, total - weight)


def _total(weights: Sequence[tuple[str, int]]) -> int:
    negative = [f"{arm} {weight}" for arm, weight in weights if weight < 0]
    total = sum(weight for _, weight in weights)
    if negative or not 0 < total <= LARGEST_TOTAL:
        raise UsageError(
            f"the weights are {', '.join(f'{arm} {weight}' for arm, weight in weights) or 'none'}; "
            f"they are at least 0 and add up to 1 to {LARGEST_TOTAL}"
        )
    return total
