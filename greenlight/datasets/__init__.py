"""Datasets: one folder per problem, loaded by name.

A dataset's folder holds ``source.py`` (which periods exist, fetch one), ``contract.py`` (what must hold),
``history.py`` (raw tables to rows and as-of lookups), ``features.py`` (rows to the model's matrix, offline and online),
``request.py`` (the typed row a client sends) and, if it likes, ``judging.py`` (what its gates need to know) and
``privacy.py`` (which columns no log may hold as they are). Modules are imported when they are first asked for: a server
takes `features`, `request` and `privacy` only, and so needs neither the data nor Polars.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from greenlight.errors import ConfigError

if TYPE_CHECKING:
    from greenlight.core.faults import DataFault


@dataclass(frozen=True)
class Dataset:
    """The modules of one dataset."""

    name: str

    @cached_property
    def source(self) -> ModuleType:
        """Which periods exist, and how to fetch one."""
        return self._module("source")

    @cached_property
    def contract(self) -> ModuleType:
        """What must hold of a snapshot."""
        return self._module("contract")

    @cached_property
    def history(self) -> ModuleType:
        """Raw tables to labelled rows, and rows to as-of lookups."""
        return self._module("history")

    @cached_property
    def features(self) -> ModuleType:
        """Rows to the model's matrix; the same function offline and online."""
        return self._module("features")

    @cached_property
    def request(self) -> ModuleType:
        """The row a client sends."""
        return self._module("request")

    @cached_property
    def judging(self) -> ModuleType | None:
        """What it declares for its gates; None where it has no such file."""
        try:
            return self._module("judging")
        except ModuleNotFoundError as exc:
            if exc.name != f"{__name__}.{self.name}.judging":
                raise
            return None

    @cached_property
    def private(self) -> frozenset[str]:
        """Columns of a request that are kept as a keyed hash only; none where it has no ``privacy.py``."""
        if importlib.util.find_spec(f"{__name__}.{self.name}.privacy") is None:
            return frozenset()
        return frozenset(self._module("privacy").PRIVATE)

    @cached_property
    def faults(self) -> tuple[DataFault, ...]:
        """Faults that a delivery of it can have, for the self-test; none where it has no ``faults.py``."""
        if importlib.util.find_spec(f"{__name__}.{self.name}.faults") is None:
            return ()
        found: tuple[DataFault, ...] = self._module("faults").FAULTS
        return found

    def code_hash(self) -> str:
        """SHA-256 over the source that turns a request into a score.

        That is the dataset's ``features.py`` and ``request.py`` and the core's ``lookup.py``, ``model.py`` and
        ``booster.py``. Two models with an equal value can be scored by the same process.
        """
        package = Path(__file__).parent.parent
        files = [f"datasets/{self.name}/{part}.py" for part in ("features", "request")]
        files += [f"core/{part}.py" for part in ("booster", "lookup", "model")]
        from greenlight.core.model import code_hash

        return code_hash({name: (package / name).read_bytes() for name in files})

    def _module(self, part: str) -> ModuleType:
        return importlib.import_module(f"{__name__}.{self.name}.{part}")


def names() -> list[str]:
    """Names of the datasets there are, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.ispkg)


def load(name: str) -> Dataset:
    """The dataset called `name`.

    Raises
    ------
    ConfigError
        There is no such dataset; names those that there are.
    """
    known = names()
    if name not in known:
        raise ConfigError(
            f"no dataset {name!r}; known: {', '.join(known)}",
            where="params.yaml: dataset",
            todo="correct the name, or add the folder greenlight/datasets/" + name,
        )
    return Dataset(name)
