"""One retrain, step by step; the flow decides the order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from greenlight.adapters.desired import DesiredState
from greenlight.adapters.dvc import LOCK, Pipeline, StageRun
from greenlight.adapters.registry import Version
from greenlight.core.contract_report import ContractReport, headline
from greenlight.core.release import standing
from greenlight.core.verdict import Verdict
from greenlight.operations import clock, sealing
from greenlight.operations import record as records
from greenlight.operations.plan import Plan
from greenlight.operations.workspace import Workspace, configured, create, model_of, versions_of
from greenlight.wiring import Project

STOPPED = ("rolled_back", "aborted")  # ends of a release that only a person undoes


@dataclass
class Run:
    """A retrain under way: its folder, its pipeline, and how its stages went so far."""

    project: Project
    plan: Plan
    workspace: Workspace
    pipeline: Pipeline
    stages: list[StageRun] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.workspace.run

    @property
    def compared_with(self) -> str:
        """The champion that the candidate was judged against in the end; empty where there was none."""
        return self.plan.params.champion.version

    def where(self) -> str:
        """One line: the run, its folder and its commit."""
        dirty = " with your uncommitted changes" if self.workspace.dirty else ""
        return f"run {self.name} in {self.workspace.root} at {self.workspace.commit[:10]}{dirty}"

    def stage(self, name: str) -> str:
        """Bring a stage up to date; returns its line for the log.

        Raises
        ------
        GreenlightError
            What the stage or DVC raised; the run is noted as failed.
        """
        with self.workspace.noting_failure():
            done = self.pipeline.run_stage(name)
        # A second time after another champion took the traffic: what is recorded is how it went against that one.
        self.stages = [*(stage for stage in self.stages if stage.stage != name), done]
        how = done.summary if done.executed else "unchanged, from the cache"
        return f"{name}: {how} ({done.seconds:.1f} s)"

    def contract(self) -> ContractReport:
        """What `validate` found."""
        return ContractReport.from_json(json.loads(self.workspace.path("validation").read_text(encoding="utf-8")))

    def verdict(self) -> Verdict:
        """What `gate` decided."""
        return Verdict.from_json(self.workspace.path("verdict").read_text(encoding="utf-8"))

    def links(self, path: str) -> str:
        """A line of Markdown that says where a report lies."""
        return f"\n\nFull report: `{self.workspace.path(path)}` (run `{self.name}`)\n"

    def withdrawn(self) -> str:
        """Why a candidate that passed its gates is not released by itself; empty where nothing stands against it.

        Neither is one whose own release was rolled back by the evidence, or aborted by a person.

        A version that a roll back took off the stack of the ledger was rolled back from, by a person with a reason;
        one that a later version superseded was not. After a roll back `next` is that version's month again, so the
        same candidate comes back to the byte.
        """
        registry = self.project.registry
        served = [row.version for row in registry.history()]
        left = set(served) - set(standing(served))
        made = model_of((self.workspace.root / LOCK).read_bytes())
        for version in versions_of(self.project, made):
            if version.name in left:
                return (
                    f"the candidate is {version.name} again, which served and was rolled back from; "
                    f"to put it back: greenlight rollback --to {version.name}"
                )
            last = DesiredState(self.project.settings.home).last_of(version.name)
            if last and last.outcome in STOPPED:
                how = last.outcome.replace("_", " ")
                return (
                    f"the candidate is {version.name} again, whose release was {how}: {last.reason}; "
                    f"to release it all the same: greenlight release {version.name}"
                )
        return ""

    def record(self, outcome: str, why: ContractReport | Verdict | str, started_by: Mapping[str, str]) -> str:
        """Save the run; returns its commit."""
        reason = why if isinstance(why, str) else headline(why) if isinstance(why, ContractReport) else why.summary()
        with self.workspace.noting_failure():
            facts = records.describe(
                self.project, self.plan, self.workspace, outcome=outcome, reason=reason, stages=self.stages
            )
            records.bill(self.project, self.workspace)
            moment = clock.next_moment(self.project.repository)
            return records.record(self.workspace, self.pipeline, facts | dict(started_by), moment)

    def register(self, commit: str) -> Version:
        """Give the run its version."""
        return records.register(self.project, commit, self.name, self.workspace.path("model"))

    def build(self, version: Version) -> str:
        """Build the version's bento from this folder; returns a line for the log."""
        path = sealing.build(self.project, version, self.workspace.root)
        return f"bento {self.project.params.dataset}:{version.name} in {path}"


def begin(project: Project, plan: Plan) -> Run:
    """Lay out the run's folder."""
    workspace = create(project, plan)
    return Run(project, plan, workspace, configured(project.settings, workspace.root))
