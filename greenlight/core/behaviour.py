"""What a model does with rows that are changed on purpose: CheckList's three kinds of test, for a table.

A good average says nothing of the row whose gust is missing or whose carrier is new. After Ribeiro et al., "Beyond
Accuracy: Behavioral Testing of NLP Models with CheckList", ACL 2020: minimum functionality (every legal request has an
answer), invariance, directional expectation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]
Score = Callable[[Columns], NDArray[np.float32]]


@dataclass(frozen=True)
class Invariance:
    """A change of the rows that must not change a probability."""

    name: str
    change: Callable[[Columns], Columns]


@dataclass(frozen=True)
class Direction:
    """Two forms of the same rows; the second must not have lower probabilities, on average."""

    name: str
    low: Callable[[Columns], Columns]
    high: Callable[[Columns], Columns]


def measure(
    score: Score,
    columns: Columns,
    legal: Iterable[tuple[str, Columns]],
    *,
    invariances: Sequence[Invariance] = (),
    directions: Sequence[Direction] = (),
) -> dict[str, Any]:
    """Score changed rows.

    Parameters
    ----------
    score : callable
        Probabilities of rows.
    columns : mapping of (n,) array
        Rows of the holdout, as the dataset's `request.columns_of` gives them.
    legal : iterable of (str, columns)
        Requests that a client may send, with what is odd about them in words.

    Returns
    -------
    dict
        ``rows``; ``legal``: ``tried``, and ``unanswered``: those without a probability from 0 to 1 in every row;
        ``invariances``: ``name`` and ``largest_change``; ``directions``: ``name`` and ``mean_effect``.
    """
    plain = score(columns)
    tried, unanswered = 0, []
    for name, rows in legal:
        tried += 1
        if not _answered(score, rows):
            unanswered.append(name)
    return {
        "rows": int(plain.size),
        "legal": {"tried": tried, "unanswered": unanswered},
        "invariances": [
            {"name": each.name, "largest_change": float(np.abs(score(each.change(columns)) - plain).max())}
            for each in invariances
        ],
        "directions": [
            {
                "name": each.name,
                "mean_effect": float(np.mean(score(each.high(columns)) - score(each.low(columns)), dtype=np.float64)),
            }
            for each in directions
        ],
    }


def odd_requests(schema: Mapping[str, Any], unseen: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """Changes of a request that its schema allows: each field not known, at its smallest, its largest, never seen.

    Parameters
    ----------
    schema : mapping
        JSON schema of one request.
    unseen : mapping of str to str
        A legal value that training cannot have met, by field.

    Returns
    -------
    list of (str, dict)
        What is odd in words, and the fields to change.
    """
    fields: Mapping[str, Any] = schema.get("properties", {})
    optional = [name for name in fields if name not in schema.get("required", ())]
    found: list[tuple[str, dict[str, Any]]] = [(f"{name} not known", {name: None}) for name in optional]
    found.append(("nothing known that need not be", dict.fromkeys(optional)))
    for name, field in fields.items():
        for form in field.get("anyOf", [field]):
            whole = form.get("type") == "integer"
            for key, step in (("minimum", 0), ("exclusiveMinimum", 1), ("maximum", 0), ("exclusiveMaximum", -1)):
                if key in form:
                    value = form[key] + step
                    found.append((f"{name} {value:g}", {name: int(value) if whole else float(value)}))
    found += [(f"{name} never seen", {name: value}) for name, value in unseen.items() if name in fields]
    return found


def _answered(score: Score, rows: Columns) -> bool:
    """Whether every row has a probability; a feature function that breaks has none."""
    try:
        found = score(rows)
    except Exception:  # noqa: BLE001  whatever it is, the client would get no answer
        return False
    return bool(np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all())
