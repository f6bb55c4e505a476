"""Pictures of an evaluation as SVG text, drawn by matplotlib.

The text is the same for the same numbers (fixed salt of the ids, no date, no version), has no font or colour of its own
(both are CSS variables of the page that it stands in, so it follows light and dark) and asks nothing of the network.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SALT = "greenlight"
# What matplotlib draws with, and the page's variable that stands in its place.
INK = {
    "#010101": "var(--text)",
    "#020202": "var(--faint)",
    "#030303": "var(--candidate)",
    "#040404": "var(--champion)",
    "#050505": "var(--line)",
}
TEXT, FAINT, CANDIDATE, CHAMPION, LINE = INK
COLOURS = {"candidate": CANDIDATE, "champion": CHAMPION}
FEATURES_SHOWN = 15
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": SALT,
    "svg.id": SALT,
    "path.simplify": True,
    "font.size": 9,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}

Curves = Mapping[str, Mapping[str, Any]]


def draw(evaluation: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, str]:
    """All pictures of the report.

    Parameters
    ----------
    evaluation : mapping
        Content of evaluation.json: ``curves`` by model (a model may be None) and ``features``.
    metrics : mapping
        Content of metrics.json; its ``holdout.base_rate`` is the line that precision starts from.

    Returns
    -------
    dict
        ``roc``, ``precision_recall``, ``calibration``, ``importance``: each an ``<svg>`` element. A picture without
        anything to show is left out.
    """
    curves = {name: found for name, found in evaluation["curves"].items() if found}
    base_rate = metrics["holdout"].get("base_rate")
    found = {}
    if curves:
        found["roc"] = svg_element("roc", "ROC curve", lambda ax: _roc(ax, curves))
        title = "Precision by recall"
        found["precision_recall"] = svg_element("pr", title, lambda ax: _precision_recall(ax, curves, base_rate))
        found["calibration"] = svg_element("calibration", "Calibration", lambda ax: _calibration(ax, curves))
    features = [row for row in evaluation.get("features", []) if row.get("gain_share") is not None]
    if features:
        top = sorted(features, key=lambda row: (-row["gain_share"], row["name"]))[:FEATURES_SHOWN]
        found["importance"] = svg_element("importance", "Feature importance", lambda ax: _importance(ax, top))
    return found


def _roc(ax: Axes, curves: Curves) -> None:
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (3, 3)))
    for name, curve in _back_to_front(curves):
        line = curve["roc"]
        ax.plot(line["false_positive_rate"], line["true_positive_rate"], color=COLOURS[name])
    frame(ax, "false positive rate", "true positive rate", square=True)


def _precision_recall(ax: Axes, curves: Curves, base_rate: float | None) -> None:
    if base_rate is not None:
        ax.axhline(base_rate, color=FAINT, linewidth=1, linestyle=(0, (3, 3)))
    highest = 0.0
    for name, curve in _back_to_front(curves):
        line = curve["precision_recall"]
        # The first few rows of a list are all right or all wrong by chance; they are noise, not a curve.
        steady = [(r, p) for r, p in zip(line["recall"], line["precision"], strict=True) if r >= 0.01]
        ax.plot([r for r, _ in steady], [p for _, p in steady], color=COLOURS[name])
        highest = max(highest, *(p for _, p in steady))
    frame(ax, "recall", "precision", square=True)
    ax.set_ylim(0, min(1.005, 1.1 * highest))


def _calibration(ax: Axes, curves: Curves) -> None:
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (3, 3)))
    highest = 0.0
    for name, curve in _back_to_front(curves):
        bins = curve["calibration"]
        ax.plot(bins["forecast"], bins["observed"], color=COLOURS[name], marker="o", markersize=4.5)
        highest = max(highest, *bins["forecast"], *bins["observed"])
    frame(ax, "forecast probability", "share that happened", square=True)
    top = min(1.0, highest * 1.08 + 0.01)
    ax.set_xlim(0, top)
    ax.set_ylim(0, top)


def _importance(ax: Axes, features: Sequence[Mapping[str, Any]]) -> None:
    names = [str(row["name"]) for row in reversed(features)]
    shares = [100 * float(row["gain_share"]) for row in reversed(features)]
    ax.barh(names, shares, color=CANDIDATE, height=0.66)
    for y, share in enumerate(shares):
        ax.annotate(f"{share:.1f}", (share, y), xytext=(3, 0), textcoords="offset points", va="center", color=FAINT)
    ax.tick_params(axis="y", length=0, labelcolor=TEXT)
    ax.margins(x=0.12, y=0.02)
    ax.set_xlabel("share of total gain, per cent")
    ax.grid(axis="x")


def _back_to_front(curves: Curves) -> list[tuple[str, Mapping[str, Any]]]:
    """The candidate last, so that it lies on top."""
    return [(name, curves[name]) for name in ("champion", "candidate") if name in curves]


def frame(ax: Axes, x: str, y: str, *, square: bool = False) -> None:
    """Words, grid and limits of a picture's axes; `square` where both are shares."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid()
    ax.tick_params(length=0)
    if square:
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.005)


def svg_element(name: str, title: str, paint: Callable[[Axes], None]) -> str:
    """One picture; `name` keeps its ids apart from those of the others on the page."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(SETTINGS):
        figure = Figure(figsize=(4.4, 3.7), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure.add_subplot())
        written = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    return _for_page(written.getvalue(), name, title)


def _for_page(svg: str, name: str, title: str) -> str:
    """Bare element, own ids, the page's font and colours, the page's width."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font: \1 var(--font)", svg)
    svg = re.sub(r"font-family: [^;\"]+", "font-family: var(--font)", svg)
    for drawn, variable in INK.items():
        svg = svg.replace(drawn, variable)
    head = re.sub(r' (width|height)="[^"]*"', "", svg[: svg.index(">")])
    return f'{head} role="img" aria-label="{title}"{svg[svg.index(">") :]}'
