"""Run policies month by month over history, with the stages as they are and nothing of DVC, Git or Prefect."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from greenlight import datasets
from greenlight.adapters import device as devices
from greenlight.adapters import scratch
from greenlight.config import PERIOD, Params, share_cores
from greenlight.core import training
from greenlight.core.contract_report import headline
from greenlight.core.metrics import json_text
from greenlight.core.periods import plan, shift
from greenlight.core.replay import OUTCOMES, Course, Decision, Policy, Trained, known_before, parse, shipped
from greenlight.core.replay_effects import LiveMonth
from greenlight.core.replay_report import report
from greenlight.core.verdict import Verdict
from greenlight.datasets.supply import INCOMING, Supply
from greenlight.errors import GreenlightError, UsageError
from greenlight.operations.overrides import apply, nested
from greenlight.proof import bench
from greenlight.stages.score import read_model, score
from greenlight.wiring import Project

Log = Callable[[str], None]
MIN_BEFORE = 3  # months before the first one: one to train on, one to stop, one to hold out


def replay(
    project: Project, first: str, last: str, own: Sequence[str] = (), log: Log = lambda _: None
) -> dict[str, Any]:
    """Compare policies over the months `first` to `last`.

    Parameters
    ----------
    own : sequence of str
        Further policies, one a text: ``data.window_months=3,train.seed=7``; see `greenlight.core.replay.parse`.
    log : callable
        Takes a line of progress.

    Returns
    -------
    dict
        See `greenlight.core.replay_report.report`.

    Raises
    ------
    UsageError
        A month is not in the data, or no three months come before the first.
    ConfigError
        A policy's parameters are wrong.
    """
    share_cores()
    params = project.params
    dataset = datasets.load(params.dataset)
    supply = Supply(dataset.source, project.settings.root / INCOMING)
    months = _months(supply.periods(), first, last)
    policies = [*shipped(), *parse(own)]
    theirs = {policy.name: _own_params(params, policy) for policy in policies}
    with scratch.work(project.settings.home, "replay") as root:
        work = _Work(dataset, supply, root, log)
        work.advance(shift(first, -1))
        notes: list[str] = []
        courses = [Course(policy, work.first(theirs[policy.name], first, notes)) for policy in policies]
        lived: dict[str, LiveMonth] = {}
        for month in months:
            for course in courses:
                course.serve(month)
            work.advance(month)
            lived[month] = work.live(params, courses, month)
            for course in courses:
                decision = work.decide(course, theirs[course.policy.name], month)
                course.decide(decision)
                if course.policy.mode == "gated":
                    log(f"{month}  {course.policy.name}: {decision.outcome}. {decision.reason}")
    return report(courses, lived, dataset=params.dataset, notes=list(dict.fromkeys(notes)))


def _months(available: Sequence[str], first: str, last: str) -> list[str]:
    """The months asked for; the source must hold them all, and enough before them."""
    for value, flag in ((first, "--from"), (last, "--to")):
        if not PERIOD.match(value):
            raise UsageError(f"{value!r} is not a month such as 2013-07", where=flag)
    if first > last:
        raise UsageError(f"--from {first} is after --to {last}", todo=f"greenlight replay --from {last} --to {first}")
    months = [first]
    while months[-1] < last:
        months.append(shift(months[-1], 1))
    needed = [shift(first, -n) for n in range(MIN_BEFORE, 0, -1)]
    missing = [month for month in (*needed, *months) if month not in available]
    if missing:
        raise UsageError(
            f"a replay of {first} to {last} needs {needed[0]} to {last}; not in the data: {', '.join(missing[:3])}"
            + (f" and {len(missing) - 3} more" if len(missing) > 3 else ""),
            where=f"the data holds {available[0]} to {available[-1]}",
            todo=f"greenlight replay --from {shift(available[0], MIN_BEFORE)} --to {available[-1]}",
        )
    return months


def _own_params(params: Params, policy: Policy) -> Params:
    """A policy's parameters, its device resolved, every mistake found before any work."""
    if "data.as_of" in policy.own:
        raise UsageError("data.as_of is every month in turn", where=f"--set {policy.name}", todo="leave it out")
    found = apply(params, nested(policy.own))
    training.check_parameters(found.train.booster)
    raw = found.model_dump()
    raw["train"]["device"] = devices.resolve(found.train.device).kind
    return Params.check(raw, where=f"--set {policy.name}")


class _Work:
    """Stages in folders below one; each thing is made once, however many policies ask for it."""

    def __init__(self, dataset: datasets.Dataset, supply: Supply, root: Path, log: Log) -> None:
        self.dataset = dataset
        self.supply = supply
        self.root = root
        self.log = log
        self.now = ""
        self._folders: dict[str, Path] = {}
        self._models: dict[str, Path] = {}

    def advance(self, month: str) -> None:
        """Let `month` be over: its rows and labels are known from now on."""
        self.now = month

    def first(self, params: Params, month: str, notes: list[str]) -> Trained:
        """What serves from `month` on: the model of the month before, with as much of its window as the data has."""
        before, window = shift(month, -1), params.data.window_months
        oldest = self.supply.periods()[0]
        while window > 1 and plan(before, window).all[0] < oldest:
            window -= 1
        at = bench.as_of(params, before, window)
        made = self.made(at)
        if window < params.data.window_months:
            notes.append(
                f"The first model, of {before}, was trained on {window} months instead of {params.data.window_months}: "
                f"the data begins with {oldest}."
            )
        verdict = self.judged(at, made, None, "")
        if not verdict.promoted:
            notes.append(f"The first model, of {before}, serves although the gates say: {verdict.summary()}")
        return bench.trained(at, made)

    def data(self, params: Params) -> Path:
        """The workspace with the snapshot of a run, and its contract's answer."""
        self._know(params.data.as_of)
        periods = plan(params.data.as_of, params.data.window_months).all

        def make(root: Path) -> None:
            bench.stages(("snapshot", "validate"), params, root)

        return self._once(["data", self.supply.fingerprint(periods), periods], make)

    def made(self, params: Params) -> Path:
        """The workspace with the candidate of a run, whatever the contract says."""
        data = self.data(params)

        def features(root: Path) -> None:
            bench.borrow(params, root, data, "snapshot")
            (root / params.paths.validation).parent.mkdir(parents=True, exist_ok=True)
            (root / params.paths.validation).write_bytes((data / params.paths.validation).read_bytes())
            if not bench.contract(params, data).passed:
                bench.overrule(params, root)
            bench.stage("featurize", params, root)

        featurized = self._once(["features", str(data)], features)

        def train(root: Path) -> None:
            bench.borrow(params, root, featurized, "features")
            said = bench.stage("train", params, root)
            found = bench.trained(params, root)
            self._models.setdefault(found.sha256, root / params.paths.model)
            self.log(f"{params.data.as_of}  trained on {found.trained_on[0]} to {found.trained_on[-1]}: {said}")

        own = [params.train.model_dump(), params.decision.model_dump()]
        return self._once(["model", str(featurized), own], train)

    def judged(self, params: Params, made: Path, champion: str | None, version: str) -> Verdict:
        """What ``evaluate`` and ``gate`` say of a candidate beside the champion of that hash."""

        def judge(root: Path) -> None:
            bench.borrow(params, root, made, "model", "twins", "features")
            bench.lay_champion(params, root, self._models[champion] if champion else None, version)
            bench.stages(("evaluate", "gate"), params, root)

        own = params.model_dump()
        return bench.verdict(params, self._once(["verdict", str(made), champion, version, own], judge))

    def live(self, params: Params, courses: Sequence[Course], month: str) -> LiveMonth:
        """The rows of a month that is over, scored by everything that could have served in it."""
        self._know(month)
        tables = {name: _frame(rows) for name, rows in self.supply.fetch(month).items()}
        rows = self.dataset.history.assemble(tables, month)
        found = LiveMonth(rows["label"].to_numpy(), rows["day"].to_physical().to_numpy())
        for sha256 in known_before(courses, month):
            found.scores[sha256] = score(read_model(self._models[sha256]), rows).probability
        return found

    def decide(self, course: Course, params: Params, month: str) -> Decision:
        """What the policy does at the end of a month."""
        kept = course.serving
        if course.policy.mode == "never":
            return Decision(month, "NotRetrained", "this policy never retrains", None, kept)
        window = params.data.window_months
        lacking = [period for period in plan(month, window).all if period not in self.supply.periods()]
        if lacking:
            return Decision(month, "NotRetrained", f"its window needs {lacking[0]}, which the data lacks", None, kept)
        if course.policy.mode == "always":
            candidate = bench.trained(params, self.made(bench.as_of(params, month, window)))
            return Decision(month, "Deployed", "this policy deploys whatever was trained", candidate, kept)
        at = bench.as_of(params, month, window, course.version)
        contract = bench.contract(at, self.data(at))
        if not contract.passed:
            return Decision(month, "DataRejected", headline(contract), None, kept)
        made = self.made(at)
        verdict = self.judged(at, made, kept.sha256, course.version)
        outcome, reason = OUTCOMES[verdict.decision], verdict.summary()
        return Decision(month, outcome, reason, bench.trained(at, made), kept, verdict.to_json())

    def _know(self, month: str) -> None:
        if month > self.now:
            raise ValueError(f"{month} is asked for at the end of {self.now or 'no month'}")

    def _once(self, key: object, make: Callable[[Path], None]) -> Path:
        name = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]
        if name not in self._folders:
            root = bench.lay(self.root / name, self.supply.incoming)
            make(root)
            self._folders[name] = root
        return self._folders[name]


def _frame(rows: pl.DataFrame | Path) -> pl.DataFrame:
    if isinstance(rows, pl.DataFrame):
        return rows
    try:
        return pl.read_parquet(rows, memory_map=False, glob=False)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as exc:
        reason = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise GreenlightError(
            f"a month that was handed in cannot be read: {reason}", where=str(rows), todo="hand it in again"
        ) from exc


def write(project: Project, found: dict[str, Any], folder: Path | None = None) -> Path:
    """Write ``replay.html`` and ``replay.json``; returns the page.

    Raises
    ------
    UsageError
        The folder cannot be written to.
    """
    from greenlight.adapters.replay_page import render

    folder = folder or project.settings.home / "replays" / f"{found['from']}-to-{found['to']}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "replay.json").write_text(json_text(found), encoding="utf-8")
        (folder / "replay.html").write_text(render(found), encoding="utf-8")
    except (FileExistsError, NotADirectoryError, PermissionError) as exc:
        raise UsageError(f"the report cannot be written: {exc}", where=str(folder), todo="name a folder") from exc
    return folder / "replay.html"


def markdown(found: dict[str, Any]) -> str:
    """The replay as a page of Markdown: the answer and the two tables."""
    head = "| policy | ROC AUC | log loss | regret ROC AUC | releases | rejected | inconclusive | data rejected |"
    lines = [f"# Replay of {found['dataset']}: {found['from']} to {found['to']}", ""]
    lines += [f"{line}\n" for line in (*found["notes"], *found["answer"])]
    lines += [head, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for row in found["policies"]:
        figures = (row["mean"]["roc_auc"], row["mean"]["log_loss"], row["regret"]["roc_auc"])
        counts = (row["releases"], row["rejected"], row["inconclusive"], row["data_rejected"])
        lines.append(
            f"| {row['name']} | "
            + " | ".join(f"{v:.4f}" for v in figures)
            + " | "
            + " | ".join(map(str, counts))
            + " |"
        )
    lines += ["", "| month | policy | decision | what came of it |", "| --- | --- | --- | --- |"]
    for row in found["decisions"]:
        if row["outcome"] != "NotRetrained":
            lines.append(f"| {row['month']} | {row['policy']} | {row['outcome']} | {row['words']} |")
    return "\n".join(lines) + "\n"
