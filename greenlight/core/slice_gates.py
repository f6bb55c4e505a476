"""The gates on slices: none may have collapsed, none may be much worse than with the champion.

These are alarms over many looks, not one claim about each: with forty slices some look bad by chance. A slice fails
where its loss is beyond the limit and would be beyond chance too after correcting for every slice looked at (Holm).
Slices below the sizes in `gates.slices`, or of fewer than `gates.min_clusters` clusters (one weekday of a week is one
day, and has no standard error), are listed as not tested; not tested is not passed, and a column without a single
testable slice decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from greenlight.config import GateParams, SliceParams
from greenlight.core.bound_gates import seen_words
from greenlight.core.bounds import holm, t_tail
from greenlight.core.evidence import Answer, Evidence, Missing, finite

Row = Mapping[str, Any]
SHOWN = 40  # rows of evidence with their intervals


def floor(evidence: Evidence, limits: GateParams) -> Answer:
    """No testable slice is ranked below the floor."""
    limit = limits.slices.min_roc_auc
    if not limits.slices.columns:
        return Answer(True, None, limit, "No slices are asked for.")
    tested, untested, idle = _sorted_out(evidence, limits)
    facts: dict[str, Any] = {"tested": len(tested)}
    small = {"not_tested": [_name(row) for row in untested]}
    if not tested:
        return Answer(None, None, limit, _idle_words(idle), facts | small)
    table = _table(evidence, limits, tested, "candidate", limit)
    return _judged(table, limit, facts, small, idle, low=True)


def drop(evidence: Evidence, limits: GateParams) -> Answer:
    """No testable slice is ranked much worse than by the champion."""
    limit = limits.slices.max_roc_auc_drop
    if answer := _no_comparison(evidence, limits, limit):
        return answer
    if not limits.slices.columns:
        return Answer(True, None, limit, "No slices are asked for.")
    tested, untested, idle = _sorted_out(evidence, limits)
    facts: dict[str, Any] = {"tested": len(tested)}
    small = {"not_tested": [_name(row) for row in untested]}
    if not tested:
        return Answer(None, None, limit, _idle_words(idle), facts | small)
    table = _table(evidence, limits, tested, "difference", limit)
    return _judged(table, limit, facts, small, idle, low=False)


def found(evidence: Evidence, limits: GateParams) -> Answer:
    """Of the slices that a search finds, none has collapsed or is much worse than with the champion."""
    champion = evidence.champion(limits)
    beside = champion is not None and not champion.seen_holdout
    limit = limits.slices.max_roc_auc_drop if beside else limits.slices.min_roc_auc
    if not limits.slices.search:
        return Answer(True, None, limit, "No search is asked for.")
    looked_at = int(evidence.number("evaluation", "found", "looked_at"))
    rows = evidence.get("evaluation", "found", "rows")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise Missing("evaluation.found.rows is missing")
    if not looked_at:
        return Answer(True, None, limit, "No pair of slices is large enough to look at; the declared ones count.")
    if not rows or looked_at < len(rows):
        raise Missing(f"{len(rows)} slices are shown of {looked_at} that were looked at")
    tested = [row for row in rows if has_clusters(row, limits)]
    small = {"not_tested": [_name(row) for row in rows if not has_clusters(row, limits)]} if tested != rows else {}
    facts: dict[str, Any] = {"looked_at": looked_at}
    if not tested:
        says = f"Each of the {len(rows)} worst slices lies within fewer than {limits.min_clusters} {evidence.unit}s"
        return Answer(None, None, limit, f"{says}, which decide nothing.", facts | small)
    table = _table(evidence, limits, tested, "difference" if beside else "candidate", limit, looked_at)
    return _judged(table, limit, facts, small, [], low=not beside, looks=looked_at)


def has_clusters(row: Row, limits: GateParams) -> bool:
    """Whether a slice lies in enough clusters to decide anything.

    Raises
    ------
    Missing
        Its number of clusters is, or is no such number.
    """
    clusters = Evidence.checked(row, "clusters")
    if clusters < 0:
        raise Missing(f"the clusters of {_name(row)} are {clusters:.0f}, which is no number of clusters")
    return clusters >= limits.min_clusters


def is_large_enough(row: Row, limits: SliceParams) -> bool:
    """Whether a slice has the rows, positives and negatives that a ROC AUC needs to mean something.

    Raises
    ------
    Missing
        Its counts are.
    """
    rows, positives = Evidence.checked(row, "rows"), Evidence.checked(row, "positives")
    return rows >= limits.min_rows and min(positives, rows - positives) >= limits.min_positives


def _no_comparison(evidence: Evidence, limits: GateParams, limit: float) -> Answer | None:
    champion = evidence.champion(limits)
    if champion is None:
        return Answer(True, None, limit, "There is no champion; the floor alone counts.")
    return Answer(None, None, limit, seen_words(champion)) if champion.seen_holdout else None


def _table(
    evidence: Evidence, limits: GateParams, rows: list[Row], what: str, limit: float, looks: int = 0
) -> list[dict[str, Any]]:
    """Each slice with its loss (beyond the limit: `over` > 0), its interval, and whether chance explains it.

    Parameters
    ----------
    what : str
        ``candidate``: its ROC AUC against the floor; ``difference``: champion's minus candidate's against the most
        allowed, and chance is a difference of zero.
    looks : int
        How many slices were looked at to find these; at least as many as there are.
    """
    table, chances = [], []
    for row in rows:
        se, clusters = Evidence.checked(row, "se", what), Evidence.checked(row, "clusters")
        mine = _auc(row, "candidate")
        value = mine if what == "candidate" else _auc(row, "champion") - mine
        interval = evidence.bounded(value, se, clusters, limits)
        away = limit - value if what == "candidate" else value
        certain = 0.0 if away > 0 else 1.0
        chances.append(t_tail(away / se, clusters - 1) if se > 0 else certain)
        table.append(
            {"slice": _name(row), "rows": row["rows"], "positives": row["positives"], "roc_auc": mine}
            | ({"champion": _auc(row, "champion"), "drop": value} if what == "difference" else {})
            | {"low": interval.low, "high": interval.high}
        )
    corrected = holm(chances, looks)
    error = evidence.error(limits)
    for row, chance in zip(table, corrected, strict=True):
        value = finite(row["drop" if what == "difference" else "roc_auc"], "slice")
        beyond = value > limit if what == "difference" else value < limit
        row |= {"p_corrected": chance, "fails": beyond and chance <= error, "beyond": beyond}
    key = (lambda row: (-row["drop"], row["slice"])) if what == "difference" else _by_area
    return sorted(table, key=key)


def _by_area(row: Row) -> tuple[float, str]:
    return row["roc_auc"], row["slice"]


def _judged(
    table: list[dict[str, Any]],
    limit: float,
    facts: dict[str, Any],
    small: dict[str, Any],
    idle: list[str],
    *,
    low: bool,
    looks: int = 0,
) -> Answer:
    worst, shown = table[0], [_plain(row) for row in table]
    value = worst["roc_auc"] if low else worst["drop"]
    count = looks or len(table)
    failed = [_plain(row) for row in table if row["fails"]]
    watched = [row["slice"] for row in table if row["beyond"] and not row["fails"]]
    facts |= {"intervals": shown[:SHOWN]} | ({"watched": watched} if watched else {})
    if failed:
        facts["worst"] = failed
        head = "collapsed, lowest" if low else f"lost more than {limit:.3f}, most"
        name, number = (failed[0]["slice"], failed[0]["roc_auc" if low else "drop"])
        words = f"{name} with ROC AUC {number:.3f}" if low else f"{name}: {number:.3f}"
        return Answer(False, value, limit, f"{len(failed)} of {count:,} slices {head} {words}.", facts | small)
    facts["lowest" if low else "most"] = shown[:3]
    if idle:
        return Answer(None, value, limit, _idle_words(idle), facts | small)
    said = _lowest(worst, count) if low else _most(worst, count)
    chance = f" {len(watched)} beyond the limit by no more than chance among {count:,}." if watched else ""
    return Answer(True, value, limit, f"{said}{_untested_words(small)}.{chance}", facts | small)


def _plain(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("fails", "beyond")}


def _lowest(worst: Row, count: int) -> str:
    return f"Lowest of {count:,} slices: {worst['slice']} with ROC AUC {worst['roc_auc']:.3f}"


def _most(worst: Row, count: int) -> str:
    value = worst["drop"]
    moved = f"lost most: {value:.3f} of ROC AUC" if value > 0 else f"gained least: {-value:.3f} of ROC AUC"
    return f"Of {count:,} slices {worst['slice']} {moved}"


def _sorted_out(evidence: Evidence, limits: GateParams) -> tuple[list[Row], list[Row], list[str]]:
    """The slices that are tested, those that are not, and the columns without any that is."""
    rows = [row for row in evidence.rows("slices") if row.get("column") in limits.slices.columns]
    gone = [column for column in limits.slices.columns if not any(row["column"] == column for row in rows)]
    if gone:
        raise Missing(f"slices by {', '.join(gone)} are missing")
    tested = [row for row in rows if is_large_enough(row, limits.slices) and has_clusters(row, limits)]
    untested = [row for row in rows if row not in tested]
    idle = [column for column in limits.slices.columns if not any(row["column"] == column for row in tested)]
    return tested, untested, idle


def _auc(row: Row, model: str) -> float:
    return Evidence.checked(row, "roc_auc", model)


def _name(row: Row) -> str:
    return str(row["name"]) if "name" in row else f"{row['column']} {row['value']}"


def _idle_words(columns: list[str]) -> str:
    return f"No slice by {' or '.join(columns)} is large enough to test, or lies in enough clusters."


def _untested_words(small: Mapping[str, Any]) -> str:
    untested = small.get("not_tested")
    return f" ({len(untested)} too small to test)" if untested else ""
