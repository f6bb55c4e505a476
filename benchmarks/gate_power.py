"""How often the comparison with the champion is wrong, and what it can see: `make bench-gate-power`.

Three questions, on the real flights and through the real gates:

- False alarms. A/A: candidates from the same training rows with other seeds, and from bootstrap copies of them, against
  the champion. None is truly better or worse by more than a seed moves it, so at most the nominal share may be called
  better, and at most that share worse.
- Healthy months. All of 2013 through the contract, and in every month that has a window before it a candidate that
  differs from the champion by its seed alone: how many does anything reject?
- Power. Two models trained on other months, with noise on the scores of one of them so that the true difference in ROC
  AUC on a pool of real months is exactly 0.005, 0.01 or 0.02; whole days are drawn from the pool as holdouts of other
  sizes, and the gate is asked. How the rows of a day move together, and the models apart, stays as it is in the data.

Ends with tables, ``benchmarks/results/gate_power.json`` and a picture beside it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.gate_power_tables import picture, shares, show, summed
from greenlight import datasets
from greenlight.adapters.device import processor
from greenlight.config import Params, share_cores
from greenlight.core.evidence import Evidence
from greenlight.core.gates import GATES
from greenlight.core.metrics import roc_auc
from greenlight.core.paired import FEW, Clusters, auc_influence, clustered_se
from greenlight.core.paired_months import auc_difference
from greenlight.core.uncertainty import Design, measure
from greenlight.datasets.supply import Supply
from greenlight.operations.overrides import apply, nested
from greenlight.proof import bench
from greenlight.proof.bench import trained
from greenlight.stages.score import read_model, score

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "gate_power.json"
VERSION = "v1"
DIFFERENCES = (0.005, 0.010, 0.020)
DAYS = (7, 14, 30, 61, 122, 244)
POOL = ("2013-09", "2013-10", "2013-11", "2013-12")
FIRST = ("2013-07", "2013-08")  # the two models of the power curve: trained as of these
GATE = "champion_roc_auc"
Array = np.ndarray[Any, Any]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="A/A candidates of other seeds, and as many copies")
    parser.add_argument("--draws", type=int, default=200, help="holdouts drawn for each point of the power curve")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    share_cores()
    begun = time.monotonic()
    params = apply(Params.load(ROOT / "params.yaml"), nested({"train.device": "cpu"}))
    with tempfile.TemporaryDirectory(prefix="greenlight-power-") as folder:
        lab = Lab(params, Path(folder))
        found = {
            "benchmark": "gate_power",
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": processor(),
            "gates": params.gates.model_dump(mode="json"),
            "same": lab.same(asked.seeds),
            "healthy": lab.healthy(),
            "power": lab.power(asked.draws),
        }
    found["seconds"] = round(time.monotonic() - begun)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    picture(found["power"], asked.out.with_suffix(".svg"))
    show(found)
    print(f"\n{asked.out}, {asked.out.with_suffix('.svg')}; {found['seconds']} s")


class Lab:
    """Real runs in folders of their own."""

    def __init__(self, params: Params, folder: Path) -> None:
        self.params = params
        self.folder = folder
        self.dataset = datasets.load(params.dataset)
        self.supply = Supply(self.dataset.source, folder / "none")

    def run(self, month: str) -> tuple[Params, Path]:
        """A healthy run of one month up to its candidate; made once."""
        params = bench.as_of(self.params, month, self.params.data.window_months, VERSION)
        root = self.folder / month
        if not root.exists():
            bench.lay(root, self.folder / "none")
            bench.lay_champion(params, root, None, "")
            bench.stages(("snapshot", "validate", "featurize", "train"), params, root)
        return params, root

    def verdict(self, month: str, name: str, seed: int, copy: bool = False) -> dict[str, Any]:
        """What the gates say of the month's champion trained again: another seed, or a bootstrap copy of its days."""
        params, base = self.run(month)
        root = bench.lay(self.folder / f"{month}-{name}", self.folder / "none")
        other = apply(params, nested({"train.seed": seed}))
        if copy:
            self._copy(params, base, root, np.random.default_rng(seed))
        else:
            bench.borrow(params, root, base, "features")
        bench.stage("train", other, root)
        bench.lay_champion(params, root, base / params.paths.model, VERSION)
        bench.stages(("evaluate", "gate"), other, root)
        found = bench.verdict(params, root)
        metrics = json.loads((root / params.paths.metrics).read_bytes())
        gap = self._gap(params, root)
        return {
            "month": month,
            "name": name,
            "decision": found.decision,
            "no": [check.name for check in found.failed],
            "cannot_tell": [check.name for check in found.undecided],
            "difference": metrics["candidate"]["roc_auc"] - metrics["champion"]["roc_auc"],
            "called_better": bool(gap.interval(0.90)[0] > 0),  # two-sided 90 %: one-sided 95 %
            "called_worse": bool(gap.interval(0.90)[1] < 0),
            "trees": trained(params, root).trees,
        }

    def _gap(self, params: Params, root: Path) -> Any:
        rows = pl.read_parquet(root / params.paths.evaluation / "scores.parquet")
        columns = (rows[name].to_numpy() for name in ("label", "candidate", "champion"))
        return auc_difference(*columns, rows["day"].rank("dense").to_numpy())

    def _copy(self, params: Params, base: Path, root: Path, rng: np.random.Generator) -> None:
        """Features whose training rows are drawn with replacement."""
        import shutil

        here = root / params.paths.features
        shutil.copytree(base / params.paths.features, here)
        label = np.load(here / "train_label.npy")
        rows = rng.integers(0, label.size, label.size)
        np.save(here / "train_label.npy", label[rows])
        np.save(here / "train.npy", np.load(here / "train.npy")[rows])

    def same(self, count: int) -> dict[str, Any]:
        """A/A on the first month."""
        month = FIRST[0]
        seeds = [self.verdict(month, f"seed {n}", 1000 + n) for n in range(count)]
        copies = [self.verdict(month, f"copy {n}", 2000 + n, copy=True) for n in range(count)]
        return {"seeds": summed(seeds), "copies": summed(copies), "candidates": [*seeds, *copies]}

    def healthy(self) -> dict[str, Any]:
        """Every month of 2013: the contract on all twelve, the gates wherever a window fits."""
        periods = self.supply.periods()
        whole = bench.as_of(self.params, periods[-1], len(periods) - 2)
        root = bench.lay(self.folder / "year", self.folder / "none")
        bench.lay_champion(whole, root, None, "")
        bench.stages(("snapshot", "validate"), whole, root)
        report = bench.contract(whole, root)
        refused = sorted({failure.period for failure in report.failures})
        months = periods[self.params.data.window_months + 1 :]
        judged = [self.verdict(month, "healthy", 3000) for month in months]
        return {
            "contract": {"months": len(periods), "rejected": refused, "warned": len(report.warnings)},
            "gates": {"months": len(judged), **summed(judged)},
            "candidates": judged,
        }

    def power(self, draws: int) -> dict[str, Any]:
        """Shares promoted, told better, told worse, by true difference and days."""
        label, day, (old, new) = self._pool()
        rows = [np.flatnonzero(day == one) for one in np.unique(day)]
        found = []
        for better in DIFFERENCES:
            strong, weak = exact(label, new, old, better, np.random.default_rng(5))
            for days in DAYS:
                found.append(self._point(label, strong, weak, rows, better, days, draws))
                print(f"  power: {better:.3f} better, {days} days: {found[-1]['improvement']}", flush=True)
        return {"months": POOL, "rows": int(label.size), "days": len(rows), "draws": draws, "points": found}

    def _pool(self) -> tuple[Array, Array, list[Array]]:
        frames = [self.dataset.history.assemble(dict(self.supply.fetch(month)), month) for month in POOL]
        rows = pl.concat(frames)
        scores = []
        for month in FIRST:
            params, root = self.run(month)
            scores.append(score(read_model(root / params.paths.model), rows).probability)
        return rows["label"].to_numpy(), rows["day"].to_physical().to_numpy(), scores

    def _point(
        self, label: Array, strong: Array, weak: Array, rows: list[Array], better: float, days: int, draws: int
    ) -> dict[str, Any]:
        rng = np.random.default_rng([days, round(better * 1000)])
        improvement, loss = [], []
        for _ in range(draws):
            chosen = [rows[n] for n in rng.integers(0, len(rows), days)]
            at = np.concatenate(chosen)
            unit = np.repeat(np.arange(days), [one.size for one in chosen])
            gap = auc_difference(label[at], strong[at], weak[at], unit)
            low, high = gap.interval(0.90)
            better_passes, worse_passes = ask_both(self.params, label[at], strong[at], weak[at], unit)
            improvement.append({"passed": better_passes, "better": low > 0, "worse": high < 0})
            loss.append({"passed": worse_passes, "better": high < 0, "worse": low > 0})
        return {
            "true": better,
            "days": days,
            "rows": round(label.size / len(rows) * days),
            "improvement": shares(improvement),
            "loss": shares(loss),
        }


def ask_both(params: Params, label: Array, strong: Array, weak: Array, day: Array) -> tuple[bool | None, bool | None]:
    """What the shipped gate on the ROC AUC says of the stronger model against the weaker one, and the other way round.

    The gate itself, on the documents that it reads. What does not depend on who is the candidate is measured once.
    With fewer than 20 days the bootstrap counts too (`greenlight.core.uncertainty.measure`): there it is drawn in full.
    """
    design = Design(Clusters.of(day), "day")
    scores = {"candidate": strong, "champion": weak}
    if design.clusters.count < FEW:
        uncertainty = measure(label, scores, design, resamples=params.gates.resamples, seed=0)
    else:
        uncertainty = formula(label, scores, design)
    values = {name: {"roc_auc": roc_auc(label, one)} for name, one in scores.items()}
    swapped = {"candidate": "champion", "champion": "candidate"}
    turned = {**uncertainty, "models": {name: uncertainty["models"][other] for name, other in swapped.items()}}
    return (
        _gate(params, label.size, values, uncertainty),
        _gate(params, label.size, {name: values[other] for name, other in swapped.items()}, turned),
    )


def formula(label: Array, scores: Mapping[str, Array], design: Design) -> dict[str, Any]:
    """The part of `measure` that the gate reads with 20 days or more, where the formula alone counts."""
    pulls = {name: auc_influence(label, score)[1] for name, score in scores.items()}
    apart = {"roc_auc": {"se": clustered_se(pulls["candidate"] - pulls["champion"], design.clusters)}}
    alone = {name: {"roc_auc": {"se": clustered_se(pull, design.clusters)}} for name, pull in pulls.items()}
    return {"clustered_by": design.column, "clusters": design.clusters.count, "models": alone, "difference": apart}


def _gate(params: Params, rows: int, values: dict[str, Any], uncertainty: dict[str, Any]) -> bool | None:
    metrics = {**values, "holdout": {"period": "2013-12", "rows": int(rows)}}
    facts = {"trained_on": ["2013-01"], "stopped_on": "2013-02", "version": VERSION}
    evaluation = {"models": {"candidate": facts, "champion": facts}, "uncertainty": uncertainty}
    gate = next(gate for gate in GATES if gate.name == GATE)
    return gate.ask(Evidence(metrics, evaluation, expected_champion=VERSION), params.gates).passed


def exact(label: Array, better: Array, worse: Array, apart: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """The two models' scores with as much noise on one of them as makes the first exactly `apart` better in ROC AUC."""
    odds = [np.log(one.astype(np.float64) / (1 - one)) for one in (better, worse)]
    gap = roc_auc(label, odds[0]) - roc_auc(label, odds[1])
    noise = rng.standard_normal(label.size)
    at, side = (1, 1) if gap < apart else (0, -1)  # who gets the noise: the worse one, unless it is too bad already
    low, high = 0.0, 8.0
    for _ in range(50):
        middle = (low + high) / 2
        tried = roc_auc(label, odds[at] + middle * noise)
        now = roc_auc(label, odds[0]) - tried if at else tried - roc_auc(label, odds[1])
        low, high = (middle, high) if side * (now - apart) < 0 else (low, middle)
    odds[at] = odds[at] + high * noise
    strong, weak = (1 / (1 + np.exp(-one)) for one in odds)
    return strong.astype(np.float32), weak.astype(np.float32)


if __name__ == "__main__":
    main()
