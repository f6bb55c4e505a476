"""What the gates may look at, read so that nothing missing looks like an answer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenlight.config import PERIOD, GateParams
from greenlight.core.bounds import spent, t_quantile

SHA256 = re.compile(r"[0-9a-f]{64}")


class Missing(Exception):
    """A number that a gate needs is absent or no number: the document is not what it should be."""


class Unknown(Missing):
    """A number that the evaluation could not know, such as a standard error over one cluster: JSON's null."""


@dataclass(frozen=True)
class Answer:
    """What a gate found; see `greenlight.core.check.Check` for the fields."""

    passed: bool | None
    value: float | None = None
    limit: float | None = None
    explanation: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Champion:
    """The model that serves, as the evaluation met it.

    Attributes
    ----------
    version : str
        Such as ``v1``.
    seen_holdout : str
        ``trained on`` or ``stopped on`` if its training has touched the holdout or anything newer, else empty.
    """

    version: str
    seen_holdout: str


@dataclass(frozen=True)
class Interval:
    """A number with its one-sided bounds, each of which holds with `confidence`.

    Attributes
    ----------
    value, low, high, se : float
    confidence : float
        0 to 1.
    clusters : int
        What the standard error was counted over.
    unit : str
        What a cluster is: ``day``, or ``row``.
    """

    value: float
    low: float
    high: float
    se: float
    confidence: float
    clusters: int
    unit: str

    def facts(self) -> dict[str, Any]:
        """As evidence of a check."""
        found = {"low": self.low, "high": self.high, "standard_error": self.se, "confidence": self.confidence}
        return found | {"clusters": self.clusters, "clustered_by": self.unit}


@dataclass(frozen=True)
class Evidence:
    """The documents that an evaluation left, with accessors that fail closed.

    Attributes
    ----------
    metrics, evaluation : mapping
        Contents of metrics.json and evaluation.json.
    expected_champion : str
        The version that the run was to be compared with; empty if unknown.
    earlier : tuple of str
        SHA-256 of the boosters that were judged on this holdout against this champion before, oldest first.
    """

    metrics: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    expected_champion: str = ""
    earlier: tuple[str, ...] = ()

    @property
    def look(self) -> int:
        """The how manyth model is judged on this holdout: 1, 2, ...; the same model again keeps its number."""
        candidate = self.text("evaluation", "models", "candidate", "sha256")
        known = candidate in self.earlier
        return (self.earlier.index(candidate) if known else len(self.earlier)) + 1

    def error(self, limits: GateParams) -> float:
        """The chance of a wrong answer that each bound of this look may have."""
        return spent(1 - limits.confidence, self.look)

    def interval(self, value: float, limits: GateParams, *keys: str) -> Interval:
        """`value` with bounds from the standard error at a path below ``evaluation.uncertainty``.

        Raises
        ------
        Missing
            There is no standard error.
        Unknown
            It was counted over fewer than two clusters.
        """
        clusters = self.number("evaluation", "uncertainty", "clusters")
        se = self.number("evaluation", "uncertainty", *keys, "se")
        return self.bounded(value, se, clusters, limits)

    def bounded(self, value: float, se: float, clusters: float, limits: GateParams, error: float = 0) -> Interval:
        """`value` with bounds at the confidence of this look, or with the chance `error` of being wrong.

        Raises
        ------
        Missing
            The standard error is negative.
        Unknown
            There are fewer than two clusters.
        """
        if se < 0 or clusters < 0:
            raise Missing(f"a standard error of {se} over {clusters:.0f} clusters is none")
        if clusters < 2:
            raise Unknown(f"a standard error over {clusters:.0f} {self.unit}s is not known")
        error = error or self.error(limits)
        reach = t_quantile(1 - error, clusters - 1) * se
        return Interval(value, value - reach, value + reach, se, 1 - error, int(clusters), self.unit)

    @property
    def unit(self) -> str:
        """What moves together: ``day``, or ``row`` where nothing does."""
        return self.text("evaluation", "uncertainty", "clustered_by") or "row"

    def get(self, document: str, *keys: str) -> Any:
        """The value at a path, None where there is none."""
        found: Any = self.metrics if document == "metrics" else self.evaluation
        for key in keys:
            if not isinstance(found, Mapping):
                return None
            found = found.get(key)
        return found

    def number(self, document: str, *keys: str) -> float:
        """The finite number at a path.

        Raises
        ------
        Missing
            There is none, or what is there is no finite number.
        Unknown
            The evaluation says that it could not be known.
        """
        return self.checked({"metrics": self.metrics, "evaluation": self.evaluation}, document, *keys)

    def text(self, document: str, *keys: str) -> str:
        """The text at a path, empty where there is none."""
        found = self.get(document, *keys)
        return found if isinstance(found, str) else ""

    def sha256(self, model: str) -> str:
        """The hash of a model's booster, 64 hexadecimal digits.

        Raises
        ------
        Missing
            There is none.
        """
        found = self.text("evaluation", "models", model, "sha256")
        if not SHA256.fullmatch(found):
            raise Missing(f"evaluation.models.{model}.sha256 is missing")
        return found

    def count_or_none(self, document: str, *keys: str) -> int | None:
        """The whole number at a path, None where there is none."""
        found = self.get(document, *keys)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def rows(self, name: str) -> Sequence[Mapping[str, Any]]:
        """The list of records of that name in the evaluation.

        Raises
        ------
        Missing
            It is not a list of records.
        """
        found = self.get("evaluation", name)
        if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
            raise Missing(f"evaluation.{name} is missing")
        return found

    @staticmethod
    def checked(row: Mapping[str, Any], *keys: str) -> float:
        """The finite number at a path of one record.

        Raises
        ------
        Missing
            There is none.
        Unknown
            The evaluation says that it could not be known.
        """
        found: Any = row
        for key in keys:
            if not isinstance(found, Mapping) or key not in found:
                raise Missing(f"{'.'.join(keys)} is missing")
            found = found[key]
        return finite(found, ".".join(keys))

    def champion(self, limits: GateParams | None = None) -> Champion | None:
        """The champion that the candidate was scored beside, None if the run has none.

        With `limits`, one that is better on the holdout than it promised, by more than anything explains, counts as
        having seen it: copies of its rows may have been trained on under another date.

        Raises
        ------
        Missing
            The evaluation does not say whether there is one, compared with another one than the run was to, or
            does not say what it was trained on.
        """
        models = self.get("evaluation", "models")
        if not isinstance(models, Mapping) or "champion" not in models:
            raise Missing("evaluation.models.champion is missing")
        found = models["champion"]
        version = self.text("evaluation", "models", "champion", "version")
        if self.expected_champion and version != self.expected_champion:
            met = f"with {version}" if version else "without a champion"
            raise Missing(f"the run names champion {self.expected_champion}, the evaluation was made {met}")
        if found is None and self.get("metrics", "champion") is not None:
            raise Missing("metrics.json has a champion, evaluation.models has none")
        if found is None:
            return None
        seen = self.seen_holdout("champion")
        if limits is not None and not seen and (jump := self.jump("champion", limits)) > 0:
            seen = f"{jump:.3f} of ROC AUC better than promised on"
        return Champion(version, seen)

    def jump(self, model: str, limits: GateParams) -> float:
        """How far a model's ROC AUC on the holdout is from that on the month before, as far as nothing explains it.

        What both models' scores did together is the month's doing; the rest counts if it is beyond
        ``leak.max_jump`` and beyond chance.

        Returns
        -------
        float
            With its sign; 0 where all is as promised, or where the model has no month before that it has not seen.
        """
        if not isinstance(self.get("evaluation", "promised", model), Mapping):
            return 0.0

        def moved(name: str) -> float:
            return self.number("metrics", name, "roc_auc") - self.number("evaluation", "promised", name, "roc_auc")

        found, other = moved(model), "champion" if model == "candidate" else "candidate"
        left = found
        if isinstance(self.get("evaluation", "promised", other), Mapping):
            left = found - moved(other)
        own = math.copysign(min(abs(found), abs(left)), found) if found * left > 0 else 0.0
        after = self.number("evaluation", "uncertainty", "models", model, "roc_auc", "se")
        before = self.number("evaluation", "promised", model, "se")
        clusters = min(
            self.number("evaluation", "uncertainty", "clusters"), self.number("evaluation", "promised", "clusters")
        )
        se = math.hypot(after, before) if min(after, before) >= 0 else -1.0
        reach = self.bounded(own, se, clusters, limits)
        sure = reach.low > 0 or reach.high < 0
        return own if sure and abs(own) > limits.leak.max_jump else 0.0

    def seen_holdout(self, model: str) -> str:
        """How training has touched the holdout or anything newer: ``trained on``, ``stopped on`` or empty.

        Raises
        ------
        Missing
            The evaluation does not say what the model was trained on. Periods such as 2013-08 sort as text.
        """
        holdout = self.text("metrics", "holdout", "period")
        trained = self.get("evaluation", "models", model, "trained_on")
        stopped = self.text("evaluation", "models", model, "stopped_on")
        if not isinstance(trained, list) or not trained:
            raise Missing(f"which periods the {model} was trained on is missing")
        if not all(PERIOD.match(str(period)) for period in (holdout, stopped, *trained)):
            raise Missing(f"the holdout or a period that the {model} was trained on is no month")
        if holdout <= max(trained):
            return "trained on"
        return "stopped on" if holdout <= stopped else ""


def finite(value: Any, name: str) -> float:
    """`value` if it is a finite number.

    Raises
    ------
    Missing
        It is anything else; a boolean is no number.
    Unknown
        It is None or NaN: measured, and not defined.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise Unknown(f"{name} is not known")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Missing(f"{name} is missing")
    if not math.isfinite(value):
        raise Missing(f"{name} is {value}")
    return float(value)
