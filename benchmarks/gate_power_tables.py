"""What `benchmarks.gate_power` found, summed up: counts, shares, the picture and the tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of what was said."""
    decisions = [row["decision"] for row in rows]
    differences = [row["difference"] for row in rows]
    return {
        "candidates": len(rows),
        "promoted": decisions.count("promote"),
        "rejected": decisions.count("reject"),
        "inconclusive": decisions.count("inconclusive"),
        "called_better": sum(row["called_better"] for row in rows),
        "called_worse": sum(row["called_worse"] for row in rows),
        "naive_better": sum(gap > 0 for gap in differences),
        "spread": round(float(np.std(differences, ddof=1)), 5) if len(rows) > 1 else None,
    }


def shares(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Shares of the draws, with what chance does to them as ``error``."""
    found = {
        "passed": float(np.mean([row["passed"] is True for row in rows])),
        "rejected": float(np.mean([row["passed"] is False for row in rows])),
        "better": float(np.mean([row["better"] for row in rows])),
        "worse": float(np.mean([row["worse"] for row in rows])),
    }
    return {name: round(value, 3) for name, value in found.items()} | {"error": round(0.5 / math.sqrt(len(rows)), 3)}


def picture(power: Mapping[str, Any], path: Path) -> None:
    """Shares against days, a line for each true difference."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasSVG(figure)
    for ax, side, key, title in (
        (figure.add_subplot(131), "improvement", "better", "told to be better"),
        (figure.add_subplot(132), "improvement", "passed", "a better one let through"),
        (figure.add_subplot(133), "loss", "passed", "a worse one let through"),
    ):
        for true in sorted({point["true"] for point in power["points"]}):
            points = [point for point in power["points"] if point["true"] == true]
            ax.plot([p["days"] for p in points], [p[side][key] for p in points], marker="o", label=f"{true:.3f}")
        ax.set(title=title, xlabel="days of holdout", ylim=(-0.02, 1.02), xscale="log")
        days = sorted({point["days"] for point in power["points"]})
        ax.set_xticks(days, [str(one) for one in days])
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    figure.axes[0].set_ylabel("share of holdouts")
    figure.axes[1].legend(title="true difference in ROC AUC", loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def show(found: Mapping[str, Any]) -> None:
    """The tables."""
    print("\nA/A: nothing is better\n")
    print(
        f"{'':<16}{'n':>4}{'promoted':>10}{'rejected':>10}{'cannot tell':>13}{'called better':>15}{'called worse':>14}"
        f"{'AUC higher':>12}{'spread':>9}"
    )
    rows = {"other seeds": found["same"]["seeds"], "bootstrap copies": found["same"]["copies"]}
    for name, row in (rows | {"healthy months": found["healthy"]["gates"]}).items():
        print(
            f"{name:<16}{row['candidates']:>4}{row['promoted']:>10}{row['rejected']:>10}{row['inconclusive']:>13}"
            f"{row['called_better']:>15}{row['called_worse']:>14}{row['naive_better']:>12}{row['spread'] or 0:>9}"
        )
    contract = found["healthy"]["contract"]
    print(f"\ncontract: {len(contract['rejected'])} of {contract['months']} healthy months rejected")
    print("\nPower: shares of drawn holdouts\n")
    print(
        f"{'true':>6}{'days':>6}{'rows':>9} | better one: {'passed':>7}{'rejected':>10}{'told better':>13}"
        f" | worse one: {'passed':>7}{'rejected':>10}{'told worse':>12}"
    )
    for point in found["power"]["points"]:
        up, down = point["improvement"], point["loss"]
        print(
            f"{point['true']:>6}{point['days']:>6}{point['rows']:>9,} | {'':<12}{up['passed']:>7}{up['rejected']:>10}"
            f"{up['better']:>13} | {'':<11}{down['passed']:>7}{down['rejected']:>10}{down['worse']:>12}"
        )
