"""Small tables that travel with a model: categories to codes, keys to numbers.

Both use a plain ``dict`` per key, for one row and for millions: one code path means one result, and for one row it is
the fastest there is. Neither knows what the keys mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

_UNSEEN = -1.0  # no category's code


@dataclass(frozen=True, eq=False)
class Lookup:
    """Numbers that belong to a key, such as the seats of a plane or the late rate of a carrier.

    Parameters
    ----------
    keys : sequence of str
        Unique keys.
    values : mapping of str to (len(keys),) float32
        Columns of numbers; NaN is "not known".
    """

    keys: tuple[str, ...]
    values: Mapping[str, Float32]
    _index: dict[str, int] = field(init=False, repr=False)
    _padded: dict[str, Float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Build the index; position ``len(keys)`` of every column is the NaN of the unknown key."""
        object.__setattr__(self, "_index", {key: i for i, key in enumerate(self.keys)})
        padded = {n: np.append(np.asarray(v, np.float32), np.float32(np.nan)) for n, v in self.values.items()}
        if len(self._index) != len(self.keys) or any(len(v) != len(self.keys) + 1 for v in padded.values()):
            raise ValueError("a lookup needs unique keys and one value per key and column")
        object.__setattr__(self, "_padded", padded)

    def positions(self, keys: Iterable[str | None]) -> npt.NDArray[np.intp]:
        """Where each key stands, ``len(self.keys)`` for an unknown one; feed it to `take`."""
        found = map(self._index.get, keys, repeat(len(self.keys)))  # type: ignore[arg-type]
        return np.fromiter(found, dtype=np.intp)

    def take(self, column: str, positions: npt.NDArray[np.intp]) -> Float32:
        """The (n,) float32 values of `column` at `positions`; NaN for an unknown key."""
        return self._padded[column][positions]

    def to_json(self) -> dict[str, Any]:
        """Plain lists, keys sorted, NaN as null."""
        order = sorted(range(len(self.keys)), key=self.keys.__getitem__)
        columns = {name: _numbers(np.asarray(v, np.float32)[order]) for name, v in sorted(self.values.items())}
        return {"keys": [self.keys[i] for i in order], "values": columns}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Lookup:
        """The inverse of `to_json`, bit by bit."""
        return cls(tuple(raw["keys"]), {name: np.array(v, dtype=np.float32) for name, v in raw["values"].items()})


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The categories that training knew, per feature; a category's code is its place.

    Parameters
    ----------
    categories : mapping of str to sequence of str
        Sorted, unique categories per feature.
    """

    categories: Mapping[str, tuple[str, ...]]
    _codes: dict[str, dict[str | None, float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Build the code tables."""
        codes: dict[str, dict[str | None, float]] = {
            name: {**{c: float(i) for i, c in enumerate(known)}, None: math.nan}
            for name, known in self.categories.items()
        }
        object.__setattr__(self, "_codes", codes)

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[str | None]]) -> Vocabulary:
        """The vocabulary of the given columns: sorted, nulls left out."""
        return cls({name: tuple(sorted({v for v in col if v is not None})) for name, col in columns.items()})

    def encode(self, name: str, values: Iterable[str | None]) -> tuple[Float32, int]:
        """Codes of `values`: float32, NaN for a null and for the unknown.

        Returns
        -------
        (n,) float32, int
            The codes, and how many values were there but not known.
        """
        found = list(map(self._codes[name].get, values, repeat(_UNSEEN)))
        codes = np.array(found, dtype=np.float32)
        count = found.count(_UNSEEN)
        if count:
            codes[codes == _UNSEEN] = np.nan
        return codes, count

    def to_json(self) -> dict[str, list[str]]:
        """Plain lists, features sorted."""
        return {name: list(known) for name, known in sorted(self.categories.items())}

    @classmethod
    def from_json(cls, raw: Mapping[str, Sequence[str]]) -> Vocabulary:
        """The inverse of `to_json`."""
        return cls({name: tuple(known) for name, known in raw.items()})


def _numbers(values: Float32) -> list[float | None]:
    """Float32 as JSON numbers that read back to the same bits; NaN as None."""
    return [None if math.isnan(v) else v for v in values.tolist()]
