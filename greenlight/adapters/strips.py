"""Small pictures of a number with its bounds beside a limit, as SVG text in the page's own colours.

Drawn by hand: a page has dozens of them, and each is a line, a dot and a tick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from greenlight.core.check import Check

WIDTH, HEIGHT, EDGE = 230, 24, 8


def strip(check: Check) -> Markup:
    """The value of a check, its bounds where it has any, and the limit; empty without two numbers to show.

    A limit that holds for either side of nothing is drawn on both.
    """
    if check.value is None or check.limit is None:
        return Markup("")
    low, high = check.evidence.get("low"), check.evidence.get("high")
    limits = [-check.limit, check.limit] if check.evidence.get("two_sided") else [check.limit]
    known = [x for x in (check.value, *limits, low, high) if isinstance(x, (int, float))]
    first, last = min(known), max(known)
    if first == last:
        return Markup("")
    colour = {True: "var(--good)", False: "var(--bad)", None: "var(--open)"}[check.passed]
    return _svg([_one(check.value, low, high, colour, 12, first, last)], limits, first, last, HEIGHT, check.name)


def forest(check: Check) -> Markup:
    """Every slice of a check with its bounds, one below the other, and the limit; empty where there are none."""
    rows: Sequence[Mapping[str, Any]] = [row for row in check.evidence.get("intervals") or () if "slice" in row]
    key = "drop" if rows and "drop" in rows[0] else "roc_auc"
    shown = [row for row in rows if isinstance(row.get(key), (int, float)) and isinstance(row.get("low"), (int, float))]
    if not shown or check.limit is None:
        return Markup("")
    ends = [float(row[x]) for row in shown for x in ("low", "high")]
    first, last = min(*ends, check.limit), max(*ends, check.limit)
    failed = {row["slice"] for row in check.evidence.get("worst", ())}
    drawn = [
        _one(
            row[key],
            row["low"],
            row["high"],
            "var(--bad)" if row["slice"] in failed else "var(--candidate)",
            14 + 16 * index,
            first,
            last,
            name=str(row["slice"]),
        )
        for index, row in enumerate(shown)
    ]
    return _svg(drawn, [check.limit], first, last, 16 * len(shown) + 12, check.name, label=330)


def _x(value: float, first: float, last: float) -> float:
    return round(EDGE + (WIDTH - 2 * EDGE) * (value - first) / (last - first), 1)


def _one(value: float, low: Any, high: Any, colour: str, y: int, first: float, last: float, name: str = "") -> str:
    parts = []
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        ends = f'x1="{_x(low, first, last)}" x2="{_x(high, first, last)}" y1="{y}" y2="{y}"'
        parts.append(f'<line {ends} stroke="{colour}" stroke-width="2.5" stroke-linecap="round" opacity="0.55"/>')
    parts.append(f'<circle cx="{_x(value, first, last)}" cy="{y}" r="4" fill="{colour}"/>')
    if name:
        text = Markup.escape(f"{name}  {value:.3f}")
        parts.append(f'<text x="{WIDTH + 6}" y="{y + 4}" font-size="11.5" fill="var(--text)">{text}</text>')
    return "".join(parts)


def _svg(
    drawn: Sequence[str], limits: Sequence[float], first: float, last: float, height: int, name: str, label: int = 0
) -> Markup:
    ticks = "".join(
        f'<line x1="{_x(limit, first, last)}" x2="{_x(limit, first, last)}" y1="2" y2="{height - 2}" '
        'stroke="var(--text)" stroke-width="1.5" stroke-dasharray="3 2"/>'
        for limit in limits
    )
    size = f'width="{WIDTH + label}" height="{height}" viewBox="0 0 {WIDTH + label} {height}"'
    title = f"{name}: value, bounds and limit"
    return Markup(f'<svg class="strip" {size} role="img" aria-label="{title}">{ticks}{"".join(drawn)}</svg>')
