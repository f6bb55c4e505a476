"""A replay as one HTML page: the answer, the months as pictures, and every decision with what came of it.

Self-contained, like the evaluation report: no script, nothing from elsewhere, the same bytes for the same replay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Template
from markupsafe import Markup

from greenlight.adapters.pages import environment
from greenlight.adapters.pictures import frame, svg_element
from greenlight.core.replay_effects import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPLATE = "replay.html.j2"
# What matplotlib draws with, and the page's variable in its place; the first three are the shipped policies.
INK = {f"#1{n}0{n}0{n}": f"var(--line-{n})" for n in range(1, 9)}
DASHES: tuple[Any, ...] = ("solid", (0, (4, 2)), (0, (1, 1.5)))


def render(found: Mapping[str, Any]) -> str:
    """The page as text.

    Parameters
    ----------
    found : mapping
        From `greenlight.core.replay_report.report`.
    """
    pictures = [
        {"title": label, "words": words, "svg": Markup(_months(found, name, label))}
        for name, label, words in (
            ("roc_auc", "ROC AUC of what served", "Further up is better."),
            ("log_loss", "Log loss of what served", "Further down is better."),
        )
    ]
    pictures.append(
        {
            "title": "What each policy gave away",
            "words": "Regret in ROC AUC: below the best model that existed when the month began.",
            "svg": Markup(_regret(found)),
        }
    )
    names = [policy["name"] for policy in found["policies"]]
    return _template().render(
        found=found,
        pictures=pictures,
        metrics=METRICS,
        lines=[(name, f"--line-{n % len(INK) + 1}", n) for n, name in enumerate(names)],
        decisions=[row for row in found["decisions"] if row["outcome"] != "NotRetrained"],
    )


def _months(found: Mapping[str, Any], metric: str, label: str) -> str:
    def paint(ax: Axes) -> None:
        _lines(ax, found, lambda row: row[metric])
        frame(ax, "", label)

    return _recoloured(svg_element(f"replay-{metric}", label, paint))


def _regret(found: Mapping[str, Any]) -> str:
    def paint(ax: Axes) -> None:
        _lines(ax, found, lambda row: row["regret"]["roc_auc"])
        frame(ax, "", "ROC AUC given away")

    return _recoloured(svg_element("replay-regret", "Regret", paint))


def _lines(ax: Axes, found: Mapping[str, Any], value: Any) -> None:
    """One line a policy; dashes tell apart what lies on one another."""
    policies: Sequence[Mapping[str, Any]] = found["policies"]
    inks = list(INK)
    for n, policy in enumerate(policies):
        months = [row["month"] for row in policy["months"]]
        values = [value(row) for row in policy["months"]]
        style = DASHES[n % len(DASHES)]
        ax.plot(months, values, color=inks[n % len(inks)], marker="o", markersize=4, linestyle=style)
    ax.tick_params(axis="x", labelrotation=30 if len(found["months"]) > 4 else 0)


def _recoloured(svg: str) -> str:
    for drawn, variable in INK.items():
        svg = svg.replace(drawn, variable)
    return svg


def signed(value: float | None) -> str:
    """A difference with its sign, four decimals."""
    return "–" if value is None else f"{value:+.4f}"


def figure(value: float | None, decimals: int = 4) -> str:
    """A figure with fixed decimals."""
    return "–" if value is None else f"{value:,.{decimals}f}"


@cache
def _template() -> Template:
    page = environment()
    page.filters |= {"signed": signed, "figure": figure}
    return page.get_template(TEMPLATE)
