"""What a dataset declares for its gates, and the measuring of it; a dataset that declares nothing is judged without."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl

from greenlight import datasets
from greenlight.core import behaviour as behaviours
from greenlight.core.behaviour import Columns
from greenlight.core.groups import Protected
from greenlight.core.model import Feature, Model
from greenlight.core.paired import Clusters
from greenlight.core.uncertainty import Design
from greenlight.errors import ConfigError

ODD_ROWS = 4  # of each odd request: a few different rows, since what breaks rarely depends on more


@dataclass(frozen=True)
class Declared:
    """The declarations of one dataset.

    Attributes
    ----------
    dataset : Dataset
    module : module or None
        The dataset's ``judging.py``; None where it has none.
    """

    dataset: datasets.Dataset
    module: ModuleType | None

    @classmethod
    def of(cls, dataset: datasets.Dataset) -> Declared:
        """The declarations of a dataset."""
        return cls(dataset, dataset.judging)

    @property
    def protected(self) -> Sequence[Protected]:
        """Groups of people that must be treated alike."""
        return tuple(getattr(self.module, "PROTECTED", ()))

    def design(self, rows: pl.DataFrame) -> Design:
        """Which rows of the holdout move together.

        Raises
        ------
        ConfigError
            A column that the dataset declares is not in the holdout.
        """
        column = getattr(self.module, "CLUSTER", "")
        wanted = [name for name in (column, *(each.column for each in self.protected)) if name]
        missing = [name for name in wanted if name not in rows.columns]
        if missing:
            raise ConfigError(
                f"no column {', '.join(missing)}; there are {', '.join(rows.columns)}",
                where=f"greenlight/datasets/{self.dataset.name}/judging.py",
                todo="correct the names there",
            )
        if not column:
            return Design(Clusters.rows(rows.height), "")
        return Design(Clusters.of(rows[column].rank("dense").to_numpy()), column)

    def known_after(self, features: Sequence[Feature]) -> dict[str, list[str]]:
        """Columns that are known only afterwards: declared, and used as a feature or a field of a request."""
        names = tuple(getattr(self.module, "KNOWN_AFTER", ()))
        used = {feature.name for feature in features} | set(self.dataset.request.FIELDS)
        return {"declared": sorted(names), "used": sorted(used & set(names))}

    def behaviour(self, model: Model, rows: pl.DataFrame, size: int) -> dict[str, Any]:
        """How the model answers changed rows; `size` of the holdout, evenly spread."""
        request, features = self.dataset.request, self.dataset.features
        sample = rows.gather_every(max(1, rows.height // size)).head(size)

        def score(columns: Columns) -> np.ndarray[Any, np.dtype[np.float32]]:
            return model.score(columns, features.row_features).probability

        return behaviours.measure(
            score,
            request.columns_of(sample),
            self._odd(sample.head(ODD_ROWS)),
            invariances=getattr(self.module, "INVARIANCES", ()),
            directions=getattr(self.module, "DIRECTIONS", ()),
        )

    def _odd(self, rows: pl.DataFrame) -> Iterable[tuple[str, Columns]]:
        """Requests with something odd about them, read the way that the server reads them."""
        request = self.dataset.request
        bodies = request.records(rows)
        unseen = getattr(self.module, "UNSEEN", {})
        for name, change in behaviours.odd_requests(request.Row.model_json_schema(), unseen):
            try:
                read = [request.Row.model_validate(body | change) for body in bodies]
            except ValueError:  # a rule between fields forbids it: not legal after all
                continue
            yield name, request.columns(read)
