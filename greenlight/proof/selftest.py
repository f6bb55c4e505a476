"""Put faults into real data and models, one at a time, and see which check of the real contract and gates says no."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from greenlight import datasets
from greenlight.adapters import scratch
from greenlight.config import Params, share_cores
from greenlight.core.faults import CONTROL, Caught, DataFault, Fault, matches
from greenlight.core.periods import first_full, plan, shift
from greenlight.errors import GreenlightError, UsageError
from greenlight.operations.overrides import apply, nested
from greenlight.proof import bench, model_faults
from greenlight.proof.model_faults import Files, ModelFault
from greenlight.wiring import Project

Log = Callable[[str], None]
VERSION = "v1"
HEALTHY = Fault(CONTROL, "The same data and training without a fault: must be promoted.", ())


@dataclass(frozen=True)
class SelfTest:
    """What became of every fault.

    Attributes
    ----------
    dataset, period : str
        What the faults were put into.
    results : tuple of Caught
        The control first.
    """

    dataset: str
    period: str
    results: tuple[Caught, ...]

    @property
    def passed(self) -> bool:
        """Whether every fault was caught by the right check and the control was let through."""
        return all(result.caught for result in self.results)

    @property
    def exit_code(self) -> int:
        """0 if passed."""
        return 0 if self.passed else 1

    def summary(self) -> str:
        """One sentence."""
        faults = self.results[1:]
        caught = sum(result.caught for result in faults)
        said = f"{caught} of {len(faults)} faults are caught by the right check"
        wrong = [result.fault.name for result in faults if not result.caught]
        said += f"; not: {', '.join(wrong)}" if wrong else ""
        return said + ("" if self.results[0].caught else "; and a healthy candidate is not let through")

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        control, *faults = (result.to_json() for result in self.results)
        return {
            "passed": self.passed,
            "summary": self.summary(),
            "dataset": self.dataset,
            "period": self.period,
            "control": control,
            "faults": faults,
        }


def faults_of(dataset: datasets.Dataset) -> tuple[Fault, ...]:
    """All faults there are for a dataset: its own ones in the data, and those that know no dataset."""
    return (*dataset.faults, *model_faults.FAULTS)


def selftest(project: Project, only: Sequence[str] = (), *, month: str = "", log: Log = lambda _: None) -> SelfTest:
    """Inject faults and run contract and gates.

    The champion is a model of the same months with another seed: as good as the candidate, so that nothing but the
    fault speaks against it.

    Parameters
    ----------
    only : sequence of str
        Names of faults, as shell patterns; empty for all.
    month : str
        The holdout; empty for the first month that the data has a whole window before.

    Raises
    ------
    UsageError
        No fault is called so, or the month is not in the data.
    """
    share_cores()
    dataset = datasets.load(project.params.dataset)
    chosen = [fault for fault in faults_of(dataset) if not only or matches(fault.name, only)]
    if not chosen:
        names = ", ".join(fault.name for fault in faults_of(dataset))
        raise UsageError(f"no fault {', '.join(only)}; there are {names}", where="--only")
    params = _params(project.params, dataset, month)
    with scratch.work(project.settings.home, "selftest") as folder:
        rig = _Rig(params, folder)
        rig.prepare(log)
        results = []
        for fault in (HEALTHY, *chosen):
            results.append(rig.run(fault))
            log(_line(results[-1]))
    return SelfTest(project.params.dataset, params.data.as_of, tuple(results))


def _line(result: Caught) -> str:
    mark = "ok" if result.caught else "NOT CAUGHT" if result.fault.name != CONTROL else "NOT LET THROUGH"
    by = ", ".join(result.right or result.by) or "nobody"
    return f"{mark:>10}  {result.fault.name}: {result.decision}" + ("" if result.decision == "promote" else f" by {by}")


def _params(params: Params, dataset: datasets.Dataset, month: str) -> Params:
    available = dataset.source.periods()
    wanted = month or first_full(available, params.data.window_months) or ""
    missing = [p for p in plan(wanted, params.data.window_months).all if p not in available] if wanted else [""]
    if missing:
        raise UsageError(
            f"a self-test of {wanted or 'any month'} needs months that the data lacks: {', '.join(missing)}",
            where=f"the data holds {available[0]} to {available[-1]}",
            todo="name another month, or set a smaller data.window_months",
        )
    found = bench.as_of(params, wanted, params.data.window_months, VERSION)
    return apply(found, nested({"train.device": "cpu"}))


class _Rig:
    """The healthy run in one folder, and a copy of what is needed of it for every fault."""

    def __init__(self, params: Params, folder: Path) -> None:
        self.params = params
        self.folder = folder
        self.base = folder / "base"
        self.count = 0

    def prepare(self, log: Log) -> None:
        """Run the stages without a fault, and train the champion with another seed."""
        bench.lay(self.base, self.folder / "none")
        log(f"a healthy run as of {self.params.data.as_of}, and its champion")
        bench.lay_champion(self.params, self.base, None, "")
        bench.stages(("snapshot", "validate", "featurize"), self.params, self.base)
        champion = self._copy("champion", "features")
        other = apply(self.params, nested({"train.seed": self.params.train.seed + 1}))
        bench.stage("train", other, champion)
        bench.lay_champion(self.params, self.base, champion / self.params.paths.model, VERSION)
        bench.stage("train", self.params, self.base)

    def run(self, fault: Fault) -> Caught:
        """What the contract and the gates say with the fault in place."""
        self.count += 1
        root = self._copy(f"fault{self.count}", "snapshot", "features", "model", "twins", "champion", "validation")
        rng = np.random.default_rng(zlib.crc32(fault.name.encode()))
        try:
            return self._run(fault, root, rng)
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def _run(self, fault: Fault, root: Path, rng: np.random.Generator) -> Caught:
        params = self.params
        left: tuple[str, ...] = ("evaluate", "gate")
        if isinstance(fault, DataFault):
            self._deliver(fault, root, rng)
            left = ("validate", "featurize", "train", *left)
        elif isinstance(fault, ModelFault):
            params = apply(params, nested(dict(fault.own)))
            fault.inject(Files(params, root), rng)
            left = ("train", *left) if fault.point == "features" else left
        for name in left:
            try:
                bench.stage(name, params, root)
            except GreenlightError as exc:
                return Caught(fault, (f"stage {name}",), name, "refused", exc.what)
            if name == "validate" and (stopped := _rejected(fault, params, root)):
                return stopped
        return _judged(fault, params, root)

    def _deliver(self, fault: DataFault, root: Path, rng: np.random.Generator) -> None:
        """Write the newest month as the fault leaves it."""
        source = datasets.load(self.params.dataset).source
        folder, month = root / self.params.paths.snapshot, self.params.data.as_of
        now, before = (
            {table: pl.read_parquet(folder / table / f"{period}.parquet", glob=False) for table in source.TABLES}
            for period in (month, shift(month, -1))
        )
        for table, rows in fault.inject(now, before, rng).items():
            rows.write_parquet(folder / table / f"{month}.parquet")

    def _copy(self, name: str, *parts: str) -> Path:
        """A workspace with copies of some parts of the healthy one."""
        root = bench.lay(self.folder / name, self.folder / "none")
        for part in parts:
            source, target = (where / getattr(self.params.paths, part) for where in (self.base, root))
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True)
            else:
                shutil.copyfile(source, target)
        return root


def _rejected(fault: Fault, params: Params, root: Path) -> Caught | None:
    """The contract's "no"; None if it has none."""
    found = bench.contract(params, root)
    if found.passed:
        return None
    by = tuple(dict.fromkeys(failure.expectation for failure in found.failures))
    said = _first(found.failures, fault, lambda failure: failure.expectation, lambda failure: failure.sentence)
    return Caught(fault, by, "validate", "data rejected", said)


def _judged(fault: Fault, params: Params, root: Path) -> Caught:
    verdict = bench.verdict(params, root)
    checks = (*verdict.failed, *verdict.undecided)
    said = _first(checks, fault, lambda check: check.name, lambda check: check.explanation)
    return Caught(fault, tuple(check.name for check in checks), "gate", verdict.decision, said or verdict.summary())


def _first(found: Sequence[Any], fault: Fault, name: Callable[[Any], str], words: Callable[[Any], str]) -> str:
    """The words of the first that was expected to catch the fault, else of the first."""

    def ordered() -> Iterator[Any]:
        yield from (one for one in found if matches(name(one), fault.expected))
        yield from found

    return next((words(one) for one in ordered()), "")
