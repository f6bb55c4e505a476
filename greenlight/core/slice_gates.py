"""The gates on slices: none may have collapsed, none may be much worse than with the champion.

Slices below the sizes in `gates.slices` are listed as not tested; not tested is not passed, and a column without a
single testable slice decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from greenlight.config import GateParams, SliceParams
from greenlight.core.evidence import Answer, Evidence, Missing

Row = Mapping[str, Any]


def floor(evidence: Evidence, limits: GateParams) -> Answer:
    """Every testable slice is ranked better than the floor."""
    limit = limits.slices.min_roc_auc
    if not limits.slices.columns:
        return Answer(True, None, limit, "No slices are asked for.")
    tested, untested, idle = _sorted_out(evidence, limits.slices)
    found = sorted(((_auc(row, "candidate"), _name(row), row) for row in tested), key=lambda x: (x[0], x[1]))
    facts: dict[str, Any] = {"tested": len(tested)}
    small = {"not_tested": [_name(row) for row in untested]}
    if not found:
        return Answer(None, None, limit, _idle_words(idle), facts | small)
    value, name, _ = found[0]
    low = [{"slice": n, "rows": row["rows"], "positives": row["positives"], "roc_auc": v} for v, n, row in found]
    if value < limit:
        facts["worst"] = [row for row in low if row["roc_auc"] < limit]
        says = f"{len(facts['worst'])} of {len(found)} slices collapsed, lowest {name} with ROC AUC {value:.3f}."
        return Answer(False, value, limit, says, facts | small)
    facts["lowest"] = low[:3]
    if idle:
        return Answer(None, value, limit, _idle_words(idle), facts | small)
    says = f"Lowest of {len(found)} slices: {name} with ROC AUC {value:.3f}{_untested_words(untested)}."
    return Answer(True, value, limit, says, facts | small)


def drop(evidence: Evidence, limits: GateParams) -> Answer:
    """Every testable slice is ranked nearly as well as by the champion, or better."""
    limit = limits.slices.max_roc_auc_drop
    champion = evidence.champion()
    if champion is None:
        return Answer(True, None, limit, "There is no champion; the floor alone counts.")
    if champion.seen_holdout:
        says = f"Champion {champion.version} was {champion.seen_holdout} the holdout: not comparable on it."
        return Answer(None, None, limit, says)
    if not limits.slices.columns:
        return Answer(True, None, limit, "No slices are asked for.")
    tested, untested, idle = _sorted_out(evidence, limits.slices)
    losses = sorted(
        ((_auc(row, "champion") - _auc(row, "candidate"), _name(row), row) for row in tested),
        key=lambda x: (-x[0], x[1]),
    )
    facts: dict[str, Any] = {"tested": len(tested)}
    small = {"not_tested": [_name(row) for row in untested]}
    if not losses:
        return Answer(None, None, limit, _idle_words(idle), facts | small)
    value, name, _ = losses[0]
    table = [{"slice": n, "rows": row["rows"], **row["roc_auc"], "drop": v} for v, n, row in losses]
    if value > limit:
        facts["worst"] = [row for row in table if row["drop"] > limit]
        says = f"{len(facts['worst'])} of {len(losses)} slices lost more than {limit:.3f}, most {name}: {value:.3f}."
        return Answer(False, value, limit, says, facts | small)
    facts["most"] = table[:3]
    if idle:
        return Answer(None, value, limit, _idle_words(idle), facts | small)
    moved = f"lost most: {value:.3f} of ROC AUC" if value > 0 else f"gained least: {-value:.3f} of ROC AUC"
    says = f"Of {len(losses)} slices {name} {moved}{_untested_words(untested)}."
    return Answer(True, value, limit, says, facts | small)


def is_large_enough(row: Row, limits: SliceParams) -> bool:
    """Whether a slice has the rows, positives and negatives that a ROC AUC needs to mean something.

    Raises
    ------
    Missing
        Its counts are.
    """
    rows, positives = Evidence.checked(row, "rows"), Evidence.checked(row, "positives")
    return rows >= limits.min_rows and min(positives, rows - positives) >= limits.min_positives


def _sorted_out(evidence: Evidence, limits: SliceParams) -> tuple[list[Row], list[Row], list[str]]:
    """The slices that are tested, those that are not, and the columns without any that is."""
    rows = [row for row in evidence.rows("slices") if row.get("column") in limits.columns]
    gone = [column for column in limits.columns if not any(row["column"] == column for row in rows)]
    if gone:
        raise Missing(f"slices by {', '.join(gone)} are missing")
    tested = [row for row in rows if is_large_enough(row, limits)]
    untested = [row for row in rows if not is_large_enough(row, limits)]
    idle = [column for column in limits.columns if not any(row["column"] == column for row in tested)]
    return tested, untested, idle


def _auc(row: Row, model: str) -> float:
    return Evidence.checked(row, "roc_auc", model)


def _name(row: Row) -> str:
    return f"{row['column']} {row['value']}"


def _idle_words(columns: list[str]) -> str:
    return f"No slice by {' or '.join(columns)} is large enough to test."


def _untested_words(untested: list[Row]) -> str:
    return f" ({len(untested)} too small to test)" if untested else ""
