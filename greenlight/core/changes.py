"""What differs between two nested documents, such as two params.yaml or the environments of two runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """One value that is another one now; None where there is none."""

    what: str
    before: Any
    after: Any

    def sentence(self) -> str:
        """Such as ``train.seed 1 -> 2``."""
        return f"{self.what} {shown(self.before)} -> {shown(self.after)}"


def shown(value: Any) -> str:
    """A value for a person; what is missing or empty is a word."""
    return "(none)" if value is None or value == "" else str(value)


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots; lists stay as they are.

    Examples
    --------
    >>> flatten({"train": {"seed": 1, "booster": {"eta": 0.1}}})
    {'train.seed': 1, 'train.booster.eta': 0.1}
    """
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Every value that differs, by key; in the order of `before`, what only `after` has at the end.

    Examples
    --------
    >>> [change.sentence() for change in changes({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}, "d": 4})]
    ['b.c 2 -> 3', 'd (none) -> 4']
    """
    old, new = flatten(before), flatten(after)
    keys = [*old, *(key for key in new if key not in old)]
    return tuple(Change(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key))
