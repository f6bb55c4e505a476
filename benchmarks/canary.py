"""How often a healthy canary is rolled back, and how soon a sick one: `make bench-canary`.

The e-process that releases use beside rules that canary tools ship with, on the same simulated requests: 10 % of them
go to the candidate, 10,000 in all. Then whole guards, which also promote. Ends with tables and
``benchmarks/results/canary.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from greenlight.adapters.device import processor
from greenlight.core.comparison import Comparison
from greenlight.core.eprocess import Measure
from greenlight.proof.canary import ALPHA, NEVER, PLAN, RULES, guarded, share_error, traffic

RESULT = Path(__file__).resolve().parent / "results" / "canary.json"
REQUESTS, GUARDED_REQUESTS = 10_000, 40_000
HEALTHY = ((0.01, 0.01), (0.001, 0.001))
SICK = ((0.01, 0.05), (0.01, 0.20), (0.001, 0.01), (0.001, 0.05), (0.001, 0.50), (0.01, 0.02))
CEILING = 0.02
GUARDED = (*HEALTHY, (0.0, 0.0), (0.001, CEILING), (0.01, 0.05), (0.001, 0.05))
MEASURES = (Measure("failures", ceiling=CEILING), Measure("slow", ceiling=CEILING), Measure("invalid", ceiling=CEILING))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500, help="simulated canaries of each kind, for each rule")
    parser.add_argument("--guarded", type=int, default=40, help="simulated canaries of each kind, for whole guards")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    begun = time.monotonic()
    found: dict[str, Any] = {
        "benchmark": "canary",
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": processor(),
        "runs": asked.runs,
        "guarded_runs": asked.guarded,
        "seed": asked.seed,
        "alpha": ALPHA,
        "requests": REQUESTS,
        "rules": [rules(*rates, asked.runs, asked.seed) for rates in (*HEALTHY, *SICK)],
        "guards": [guards(*rates, asked.guarded, asked.seed) for rates in GUARDED],
        "update_100k_s": update_seconds(),
    }
    found["seconds"] = round(time.monotonic() - begun)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    show(found)
    print(f"\n{asked.out}; {found['seconds']} s")


def rules(stable: float, candidate: float, runs: int, seed: int) -> dict[str, Any]:
    """Every rule on the same canaries."""
    rng = np.random.default_rng((seed, round(1e4 * stable), round(1e4 * candidate)))
    ends: dict[str, list[int]] = {name: [] for name in RULES}
    for _ in range(runs):
        drawn = traffic(rng, stable, candidate, REQUESTS)
        for name, rule in RULES.items():
            ends[name].append(rule(drawn))
    return {"stable": stable, "candidate": candidate, "rules": {name: summary(its) for name, its in ends.items()}}


def summary(ends: list[int]) -> dict[str, Any]:
    """Share rolled back, and quantiles of the requests it took where it was."""
    when = [end for end in ends if end != NEVER]
    share = len(when) / len(ends)
    median, late = np.quantile(when, [0.5, 0.9]).tolist() if when else (None, None)
    return {"rolled_back": share, "se": share_error(share, len(ends)), "median": median, "p90": late}


def guards(stable: float, candidate: float, runs: int, seed: int) -> dict[str, Any]:
    """Whole guards over the steps of a canary."""
    rng = np.random.default_rng((seed, 7, round(1e4 * stable), round(1e4 * candidate)))
    ends = [
        guarded(traffic(rng, stable, candidate, GUARDED_REQUESTS, PLAN), MEASURES, every=200, min_requests=100)
        for _ in range(runs)
    ]
    found: dict[str, Any] = {"stable": stable, "candidate": candidate}
    for decision in ("promote", "roll_back", "undecided"):
        when = [requests for said, requests in ends if said == decision]
        found[decision] = len(when) / runs
        found[f"{decision}_median"] = float(np.median(when)) if when else None
    return found


def update_seconds() -> float:
    """Processor time of 100,000 failures in one update, the least of five."""
    mine, p = np.arange(100_000) % 7 == 0, np.full(100_000, 0.1)
    least = float("inf")
    for _ in range(5):
        begun = time.process_time()
        Comparison().update(mine, p)
        least = min(least, time.process_time() - begun)
    return round(least, 3)


def show(found: dict[str, Any]) -> None:
    """Tables, as docs/figures.md has them."""
    print(f"{found['runs']} canaries of each kind, 10 % of {found['requests']:,} requests, alpha {found['alpha']:.0%}.")
    print(
        "Healthy: share rolled back. Sick: median requests until the roll back (share rolled back where below all).\n"
    )
    print("| failure rate stable / candidate | " + " | ".join(RULES) + " |")
    print("| --- |" + " ---: |" * len(RULES))
    for row in found["rules"]:
        healthy = row["stable"] == row["candidate"]
        cells = [cell(its, healthy) for its in row["rules"].values()]
        print(f"| {row['stable']:.2%} / {row['candidate']:.2%} | " + " | ".join(cells) + " |")
    steps = ", ".join(f"{weight:.0%}" for weight in PLAN)
    print(f"\nGuards of failures, slow and invalid answers, ceiling {CEILING:.0%} each, over steps of {steps}")
    print(f"in {GUARDED_REQUESTS:,} requests, looked at every 200; {found['guarded_runs']} of each kind.\n")
    print("| failure rate stable / candidate | promoted | after requests | rolled back | after requests | undecided |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in found["guards"]:
        counts = [f"{row[d]:.0%} | {number(row[f'{d}_median'])}" for d in ("promote", "roll_back")]
        print(f"| {row['stable']:.2%} / {row['candidate']:.2%} | {' | '.join(counts)} | {row['undecided']:.0%} |")
    print(f"\n100,000 failures in one update: {found['update_100k_s']} s.")


def cell(its: dict[str, Any], healthy: bool) -> str:
    """One rule's answer in words."""
    if healthy or its["median"] is None:
        return f"{its['rolled_back']:.1%}"
    caught = "" if its["rolled_back"] > 0.995 else f" ({its['rolled_back']:.0%})"
    return f"{number(its['median'])}{caught}"


def number(value: float | None) -> str:
    """With thousands apart; nothing for nothing."""
    return "" if value is None else f"{value:,.0f}"


if __name__ == "__main__":
    main()
