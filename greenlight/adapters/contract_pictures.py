"""Pictures of what breaks a contract, as SVG text by matplotlib: a figure over the months, or a month beside others.

Drawn as the pictures of an evaluation are (``pictures.py``): the same bytes for the same numbers, the page's own font
and colours, nothing from the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlight.adapters.pictures import CANDIDATE, CHAMPION, FAINT, LINE, TEXT, svg_element
from greenlight.core.contract import show
from greenlight.core.contract_evidence import Beside, Course, Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LABEL = 14


def draw(name: str, evidence: Evidence) -> str:
    """One picture as an ``<svg>`` element; `name` keeps its ids apart from those of the others on the page."""
    if isinstance(evidence, Course):
        return svg_element(name, evidence.title, lambda ax: _course(ax, evidence))
    if evidence.edges:
        return svg_element(name, evidence.title, lambda ax: _histogram(ax, evidence))
    return svg_element(name, evidence.title, lambda ax: _bars(ax, evidence))


def words(evidence: Evidence) -> str:
    """The sentence under the picture."""
    if isinstance(evidence, Course):
        limits = " The dashes are the limits." if evidence.low is not None or evidence.high is not None else ""
        return f"{evidence.title}; what does not hold is in the second colour.{limits}"
    beside = ", beside the other months (outline)" if evidence.others else ""
    scale = " The scale is logarithmic, so that a few rows show." if evidence.edges else ""
    return f"{evidence.title} in {evidence.period or 'the file'}: share of the rows{beside}.{scale}"


def _course(ax: Axes, course: Course) -> None:
    places = range(len(course.periods))
    values = [float("nan") if value is None else value for value in course.values]
    colours = [CHAMPION if period in course.broken else CANDIDATE for period in course.periods]
    ax.plot(places, values, color=FAINT, linewidth=1)
    ax.scatter(places, values, color=colours, s=34, zorder=3)
    for limit in (course.low, course.high):
        if limit is not None:
            ax.axhline(limit, color=TEXT, linewidth=1, linestyle=(0, (3, 3)))
    for place, (period, value) in enumerate(zip(course.periods, course.values, strict=True)):
        if period in course.broken and value is not None:
            ax.annotate(show(value), (place, value), xytext=(0, 7), textcoords="offset points", ha="center", color=TEXT)
    step = max(1, len(course.periods) // 8)
    ax.set_xticks(list(places)[::step], course.periods[::step], rotation=30, ha="right")
    ax.margins(x=0.06, y=0.2)
    ax.grid(axis="y")
    ax.tick_params(length=0)


def _histogram(ax: Axes, beside: Beside) -> None:
    ax.stairs(beside.this, beside.edges, fill=True, color=CHAMPION, alpha=0.75)
    if beside.others:
        ax.stairs(beside.others, beside.edges, color=CANDIDATE, linewidth=1.6)
    for limit in (beside.low, beside.high):
        if limit is not None:
            ax.axvline(limit, color=TEXT, linewidth=1, linestyle=(0, (3, 3)))
    ax.set_yscale("log")
    ax.set_ylabel("share of the rows")
    ax.set_xlabel(beside.title)
    ax.grid(axis="y")
    ax.tick_params(length=0)


def _bars(ax: Axes, beside: Beside) -> None:
    places = [float(place) for place in range(len(beside.labels))][::-1]
    labels = [label if len(label) <= MAX_LABEL else label[: MAX_LABEL - 3] + "..." for label in beside.labels]
    ax.barh(places, [100 * share for share in beside.this], color=CHAMPION, height=0.66)
    if beside.others:
        others = [100 * share for share in beside.others]
        ax.barh(places, others, color="none", edgecolor=CANDIDATE, height=0.66, linewidth=1.4)
    ax.set_yticks(places, [label.replace("$", r"\$") for label in labels])
    ax.set_xlabel("per cent of the rows")
    ax.tick_params(axis="y", length=0, labelcolor=TEXT)
    ax.tick_params(axis="x", length=0)
    ax.spines["left"].set_color(LINE)
    ax.grid(axis="x")
