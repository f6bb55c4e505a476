"""The sections of params.yaml besides ``gates`` (`greenlight.limits`): data, champion, train, ..., paths."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from greenlight.limits import Section, Share

Device = Literal["auto", "cpu", "cuda"]
PERIOD = re.compile(r"^\d{4}-(0[1-9]|1[0-2])$")


class DataParams(Section):
    """Which periods a run looks at.

    Attributes
    ----------
    as_of : str
        The holdout period, ``YYYY-MM``, or ``next``: the first after the champion's on which no candidate was refused.
    window_months : int
        Number of periods trained on, at least 1. The period after them stops training early.
    source : str
        Fingerprint of the source's content; empty until a run fills it.
    """

    as_of: str = "next"
    window_months: int = Field(ge=1, le=120)
    source: str = ""

    @field_validator("as_of")
    @classmethod
    def _period(cls, value: str) -> str:
        if value != "next" and not PERIOD.match(value):
            raise ValueError(f"{value!r} is neither a month such as 2013-08 nor 'next'")
        return value


class ChampionParams(Section):
    """The version that the candidate is compared with; empty when there is none."""

    version: str = ""
    run: str = ""


class TrainParams(Section):
    """How the booster is trained. ``booster`` is passed to XGBoost as it is."""

    device: Device = "auto"
    seed: int = Field(ge=0, le=2**31 - 1)
    max_rounds: int = Field(ge=1, le=100_000)
    early_stopping_rounds: int = Field(ge=1, le=10_000)
    booster: dict[str, int | float | str | bool]

    @field_validator("booster")
    @classmethod
    def _not_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        owned = sorted({"device", "seed", "objective", "eval_metric", "nthread"} & set(value))
        if owned:
            raise ValueError(f"{', '.join(owned)}: set by Greenlight, not here")
        return value


class DecisionParams(Section):
    """How a probability becomes a decision, and how many golden rows travel with the model."""

    threshold: Share
    golden_rows: int = Field(ge=1, le=1000)


class PreflightParams(Section):
    """Budgets that a built bento must keep before it may serve."""

    max_start_s: float = Field(gt=0)
    max_p99_ms: float = Field(gt=0)
    max_memory_mb: float = Field(gt=0)
    latency_requests: int = Field(ge=20, le=100_000)


class PathParams(Section):
    """Where the stages read and write, relative to the repository; dvc.yaml uses the same keys."""

    snapshot: str
    features: str
    model: str
    twins: str = "data/twins"
    champion: str
    validation: str
    data_docs: str
    metrics: str
    evaluation: str
    verdict: str
    verdict_markdown: str
    report: str
    model_card: str = "reports/model_card.md"
    model_card_page: str = "reports/model_card.html"
    run: str
    sbom: str = "reports/sbom.cdx.json"
