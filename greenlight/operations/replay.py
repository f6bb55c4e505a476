"""Run policies month by month over history, in memory, on the functions that the stages use."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlight import datasets
from greenlight.adapters import device as devices
from greenlight.config import PERIOD, Params, share_cores
from greenlight.core import training
from greenlight.core.contract_report import headline
from greenlight.core.gates import judge
from greenlight.core.metrics import json_text
from greenlight.core.model import Model
from greenlight.core.periods import Periods, plan, shift
from greenlight.core.replay import OUTCOMES, Course, Decision, Policy, Trained, known_before, parse, shipped
from greenlight.core.replay_effects import LiveMonth
from greenlight.core.replay_report import report
from greenlight.datasets import candidate as candidates
from greenlight.datasets.candidate import Serving
from greenlight.datasets.parts import Parts, prepare
from greenlight.datasets.supply import INCOMING, Supply
from greenlight.errors import UsageError
from greenlight.operations.history import History
from greenlight.operations.overrides import apply, nested
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
    work = _Work(History(dataset, supply), log)
    work.history.advance(shift(first, -1))
    notes: list[str] = []
    courses = [Course(policy, work.first(theirs[policy.name], first, notes)) for policy in policies]
    lived: dict[str, LiveMonth] = {}
    for month in months:
        for course in courses:
            course.serve(month)
        work.history.advance(month)
        lived[month] = work.live(courses, month)
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


@dataclass(frozen=True, eq=False)
class _Made:
    """A candidate with what it was made from."""

    model: Model
    parts: Parts
    trained: Trained


class _Work:
    """Training and scoring, each thing once, however many policies ask for it."""

    def __init__(self, history: History, log: Log) -> None:
        self.history = history
        self.log = log
        self.models: dict[str, Model] = {}
        self._made: dict[str, _Made] = {}
        self._parts: dict[tuple[str, ...], Parts] = {}

    def first(self, params: Params, month: str, notes: list[str]) -> Trained:
        """What serves from `month` on: the model of the month before, with as much of its window as the data has."""
        as_of, window = shift(month, -1), params.data.window_months
        oldest = self.history.supply.periods()[0]
        while window > 1 and plan(as_of, window).all[0] < oldest:
            window -= 1
        made = self.make(_at(params, as_of, window))
        if window < params.data.window_months:
            notes.append(
                f"The first model, of {as_of}, was trained on {window} months instead of {params.data.window_months}: "
                f"the data begins with {oldest}."
            )
        verdict = self.verdict(made, _at(params, as_of, window), None)
        if verdict["decision"] != "promote":
            notes.append(f"The first model, of {as_of}, serves although the gates say: {verdict['summary']}")
        return made.trained

    def make(self, params: Params) -> _Made:
        """The candidate of a run."""
        periods = plan(params.data.as_of, params.data.window_months)
        key = json.dumps(
            [self.history.supply.fingerprint(periods.all), periods.all, params.train.model_dump()], sort_keys=True
        )
        if key not in self._made:
            parts = self.parts(periods)
            model = candidates.fit(params, parts, device=params.train.device)
            sha256 = candidates.sha256(model)
            self.models[sha256] = model
            trained = Trained(sha256, periods.holdout, periods.train, periods.stop, model.manifest.trees)
            self._made[key] = _Made(model, parts, trained)
            self.log(f"{periods.holdout}  trained on {periods.train[0]} to {periods.train[-1]}: {sha256[:10]}")
        return self._made[key]

    def parts(self, periods: Periods) -> Parts:
        """What a run's candidate is trained on."""
        if periods.all not in self._parts:
            frames = {period: self.history.frame(period) for period in periods.all}
            self._parts[periods.all] = prepare(self.history.dataset, periods, frames, self.history.registers())
        return self._parts[periods.all]

    def live(self, courses: Sequence[Course], month: str) -> LiveMonth:
        """The rows of a month that is over, scored by everything that could have served in it."""
        dataset, rows = self.history.dataset, self.history.frame(month)
        found = LiveMonth(rows["label"].to_numpy(), rows["day"].to_physical().to_numpy())
        columns = dataset.request.columns_of(rows)
        for sha256 in known_before(courses, month):
            found.scores[sha256] = self.models[sha256].score(columns, dataset.features.row_features).probability
        return found

    def decide(self, course: Course, params: Params, month: str) -> Decision:
        """What the policy does at the end of a month."""
        kept = course.serving
        if course.policy.mode == "never":
            return Decision(month, "NotRetrained", "this policy never retrains", None, kept)
        at = _at(params, month, params.data.window_months)
        periods = plan(month, params.data.window_months)
        lacking = [period for period in periods.all if period not in self.history.supply.periods()]
        if lacking:
            return Decision(month, "NotRetrained", f"its window needs {lacking[0]}, which the data lacks", None, kept)
        if course.policy.mode == "always":
            return Decision(month, "Deployed", "this policy deploys whatever was trained", self.make(at).trained, kept)
        contract = self.history.contract(periods)
        if not contract.passed:
            return Decision(month, "DataRejected", headline(contract), None, kept)
        made = self.make(at)
        verdict = self.verdict(made, at, Serving(self.models[kept.sha256], course.version))
        return Decision(month, OUTCOMES[verdict["decision"]], verdict["summary"], made.trained, kept, verdict)

    def verdict(self, made: _Made, params: Params, champion: Serving | None) -> dict[str, Any]:
        """What the gates say, from the same documents that the stages leave."""
        documents = candidates.documents(params, made.parts.train, made.parts.holdout, made.model, champion)
        # through their text, as between the stages: the gates see six decimals
        metrics, evaluation = (json.loads(json_text(document)) for document in documents)
        found = judge(metrics, evaluation, params.gates, champion=champion.version if champion else "")
        plain: dict[str, Any] = json.loads(found.text())
        return plain | {"summary": found.summary()}


def _at(params: Params, as_of: str, window: int) -> Params:
    raw = params.model_dump()
    raw["data"] |= {"as_of": as_of, "window_months": window}
    return Params.check(raw, where="params.yaml")


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
