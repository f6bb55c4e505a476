"""Section ``gates`` of params.yaml: what a candidate is held against, and what a run fills in for its judges.

A key that was added later has a default, so that the params.yaml of an older commit is still understood.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of params.yaml: frozen, no unknown keys, no silent conversions between types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class JudgedParams(Section):
    """What a run fills in when it is planned, so that its verdict reproduces.

    Attributes
    ----------
    earlier : list of str
        SHA-256 of the boosters that were judged on this holdout against this champion before, oldest first.
    day : str
        The day of the plan, ``YYYY-MM-DD``; only where there are overrides, which end on a day.
    """

    earlier: list[str] = []
    day: str = ""


class MinimumParams(Section):
    """What every candidate must reach on the holdout, with the stated confidence."""

    roc_auc: Share
    average_precision_lift: float = Field(ge=0)
    log_loss_ratio: float = Field(gt=0)
    calibration_error: Share
    calibration_gap: Share = 0.12


class AgainstChampionParams(Section):
    """How much worse than the champion a candidate may be on the same rows: the non-inferiority margins."""

    max_roc_auc_drop: Share
    max_log_loss_rise: float = Field(ge=0)
    detectable_roc_auc: float = Field(default=0.02, gt=0, le=0.5)


class SliceParams(Section):
    """Which slices are looked at, from which size on, and when one has collapsed."""

    columns: list[str]
    min_rows: int = Field(ge=1)
    min_positives: int = Field(ge=1)
    min_roc_auc: Share
    max_roc_auc_drop: Share
    search: bool = True


class LeakParams(Section):
    """When one feature, or the model as a whole, is too good to be true."""

    max_single_feature_share: float = Field(gt=0)
    max_roc_auc: Share
    max_jump: Share = 0.10
    max_gain: Share = 0.06


class BehaviourParams(Section):
    """What is tried on rows of the holdout that are changed on purpose."""

    rows: int = Field(default=256, ge=16, le=100_000)
    tolerance: float = Field(default=0.01, ge=0, le=1)


class FairnessParams(Section):
    """How far groups that the dataset declares protected may lie apart."""

    max_rate_difference: Share = 0.10
    max_calibration_difference: Share = 0.05


class SizeParams(Section):
    """How large a model may be; its speed is measured by the preflight."""

    max_bytes: int = Field(default=50_000_000, ge=1)
    max_trees: int = Field(default=5_000, ge=1)


class StabilityParams(Section):
    """How far another seed may move the model.

    Attributes
    ----------
    seeds : int
        So many other seeds are trained beside the candidate, their first rounds only; 0 for none.
    max_roc_auc_spread : float
        How far apart their ROC AUC on the holdout may lie.
    """

    seeds: int = Field(default=1, ge=0, le=10)
    max_roc_auc_spread: Share = 0.035


class Override(Section):
    """Somebody takes it on themselves that one gate's answer does not count.

    Attributes
    ----------
    gate : str
        Its name.
    by, reason : str
        Who, and why: both are shown wherever the verdict is.
    expires : str
        The last day on which it counts, ``YYYY-MM-DD``.
    """

    gate: str = Field(min_length=1)
    by: str = Field(min_length=2)
    reason: str = Field(min_length=10)
    expires: str

    @field_validator("by", "reason")
    @classmethod
    def _said(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is blank")
        return value.strip()

    @field_validator("expires")
    @classmethod
    def _day(cls, value: str) -> str:
        try:
            return dt.date.fromisoformat(value).isoformat()
        except ValueError:
            raise ValueError(f"{value!r} is no day such as 2026-12-31") from None


class GateParams(Section):
    """Limits of the gates.

    Attributes
    ----------
    confidence : float
        For all candidates together that are judged on one holdout; the first gets half of what is left to one
        (`greenlight.core.bounds.spent`).
    min_clusters : int
        Fewer clusters (days) decide nothing.
    resamples : int
        Drawings of the bootstrap that stands beside the formula.
    """

    min_rows: int = Field(ge=1)
    min_clusters: int = Field(default=8, ge=2)
    confidence: float = Field(default=0.90, ge=0.5, lt=1)
    resamples: int = Field(default=2000, ge=200, le=100_000)
    minimum: MinimumParams
    champion: AgainstChampionParams
    slices: SliceParams
    leak: LeakParams
    behaviour: BehaviourParams = BehaviourParams()
    stability: StabilityParams = StabilityParams()
    fairness: FairnessParams = FairnessParams()
    size: SizeParams = SizeParams()
    overrides: list[Override] = []

    @field_validator("overrides")
    @classmethod
    def _one_each(cls, value: list[Override]) -> list[Override]:
        names = [override.gate for override in value]
        if len(set(names)) < len(names):
            raise ValueError("a gate is overridden twice")
        return value
