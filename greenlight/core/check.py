"""One gate's answer, with its evidence; what the answers add up to is a verdict (`greenlight.core.verdict`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from greenlight.core.metrics import plain

MARKS = {True: "passed", False: "failed", None: "cannot be decided"}


@dataclass(frozen=True)
class Check:
    """One gate's answer.

    Attributes
    ----------
    name : str
        The gate, such as ``min_roc_auc``.
    question : str
        What it asks, in one sentence; "yes" passes.
    passed : bool or None
        None where the evidence decides neither way; that is not a pass.
    value, limit : float or None
        What was measured and what it was held against; None where there is no single number.
    evidence : mapping
        Further numbers, JSON-ready.
    explanation : str
        One or two sentences for a person: the value against the limit, and what it means.
    override : mapping
        ``by``, ``reason`` and ``expires`` where somebody has taken it on themselves that this answer does not count;
        else empty. `passed` stays what the gate said.
    """

    name: str
    question: str
    passed: bool | None
    value: float | None = None
    limit: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    explanation: str = ""
    override: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts_as(self) -> bool | None:
        """What goes into the decision: `passed`, or yes where it is overridden."""
        return True if self.override else self.passed

    @property
    def mark(self) -> str:
        """``passed``, ``failed`` or ``cannot be decided``, and whether that was overridden."""
        return f"{MARKS[self.passed]}, overridden" if self.override else MARKS[self.passed]

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "name": self.name,
            "question": self.question,
            "passed": self.passed,
            "value": plain(self.value),
            "limit": plain(self.limit),
            "explanation": self.explanation,
            "evidence": plain(self.evidence),
        } | ({"override": dict(self.override)} if self.override else {})

    @property
    def overridden_by(self) -> str:
        """Who overrode it, until when and why; only where `override` is not empty."""
        return "{by} until {expires} ({reason})".format(**self.override)

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> Check:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            Its answer is none of the three, or an override lacks its name, reason or expiry.
        KeyError
            A field is missing.
        """
        if not any(item["passed"] is known for known in MARKS):
            raise ValueError(f"check {item['name']!r} is neither passed, failed nor undecided")
        return cls(
            name=item["name"],
            question=item["question"],
            passed=item["passed"],
            value=item["value"],
            limit=item["limit"],
            evidence=item["evidence"],
            explanation=item["explanation"],
            override=_override(item.get("override") or {}),
        )


def number(value: float | None) -> str:
    """A figure for people: at most four decimals, thousands separated, a dash where there is none."""
    if value is None:
        return "–"
    shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown


def _override(item: Mapping[str, Any]) -> dict[str, str]:
    if item and not all(isinstance(item.get(key), str) and item[key] for key in ("by", "reason", "expires")):
        raise ValueError("an override lacks its name, reason or expiry")
    return dict(item)
