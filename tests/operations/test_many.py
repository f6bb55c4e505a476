"""Many retrains at once: each ends as it would alone, the same one is done once, and no model is left uncompared."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.adapters.dvc import lock_hashes
from greenlight.errors import ConfigError
from greenlight.operations import plan as plans
from greenlight.operations import retrain as operation
from greenlight.operations import turns
from greenlight.operations.overrides import parse
from greenlight.operations.runs import get_run, list_runs
from greenlight.operations.workspace import model_hash
from greenlight.wiring import Project

# What the flow does, without Prefect, and with the ledger in place of the edge.
ONE = """
import json, sys, time
from pathlib import Path
import retrain_kit as kit
from greenlight.operations import plan as plans, retrain as operation, turns

root, as_of, own, wait = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]
project = kit.open_at(root)
plan = plans.plan(project, as_of=as_of, overrides=own)
told = []
def tell(line):
    told.append(line)
    print("SAID", line, flush=True)
def say(run, outcome, version=""):
    print("END", json.dumps({"run": run, "outcome": outcome, "version": version, "told": told}), flush=True)
print("PLANNED", flush=True)
with turns.alone(project, plan, tell) as turn:
    if turn.joined:
        say("", "Joined " + turn.joined.name)
        sys.exit()
    while wait and not Path(wait).exists():
        time.sleep(0.05)
    run = operation.begin(project, plan)
    for stage in ("snapshot", "validate", "featurize", "train", "evaluate", "gate"):
        run.stage(stage)
    verdict = run.verdict()
    version = ""
    with turns.promotion(run, tell):
        if verdict.promoted:
            verdict = turns.challenge(run, verdict, tell)
        outcome = kit.OUTCOMES[verdict.decision]
        commit = run.record(outcome, verdict, {"trigger": "test"})
        if verdict.promoted:
            found = run.register(commit)
            version = found.name
            project.registry.assign(found)
    turn.ended(turns.End(outcome, True, run.name))
    say(run.name, outcome, version)
"""


# So few trees lean on one feature, some of them so much that a gate would say no.
WIDE: dict[str, Any] = {"gates.leak.max_single_feature_share": 2}


@pytest.fixture
def project(recorded: Recorded, tmp_path: Path) -> Project:
    return kit.copy(recorded, tmp_path / "repo").project


def started(root: Path, as_of: str, own: dict[str, Any] | None = None, wait: str = "") -> subprocess.Popen[str]:
    tests = Path(kit.__file__).parent
    env = os.environ | {"PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    command = [sys.executable, "-c", ONE, str(root), as_of, json.dumps(own or {}), wait]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until_said(process: subprocess.Popen[str], beginning: str) -> str:
    assert process.stdout
    for line in process.stdout:
        if line.startswith(beginning):
            return line
    raise AssertionError(process.communicate()[1])


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=560)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(next(line[4:] for line in out.splitlines() if line.startswith("END ")))
    return found


def lock_of(project: Project, commit: str) -> dict[str, dict[str, str]]:
    return lock_hashes(project.repository.read(commit, "dvc.lock"))


def compared_with_every_champion(project: Project) -> None:
    """Each version names, in its record and in its verdict, the one that it took the traffic from."""
    served = [entry.version for entry in project.registry.history()]
    for before, version in itertools.pairwise(served):
        run = get_run(project, version)
        assert run["champion"]["version"] == before, served
        assert run["verdict"]["champion"] == before
        assert run["evaluation"]["champion"], "its scores are there"
        assert run["params"]["champion"]["version"] == before


@pytest.mark.slow
def test_three_at_once_end_as_alone_and_each_is_compared_with_the_one_it_replaces(project: Project) -> None:
    root = project.settings.root
    wanted = [("2013-04", WIDE | {"train.seed": 1}), ("2013-04", WIDE | {"train.seed": 2}), ("2013-05", WIDE)]
    ends = [ended(process) for process in [started(root, as_of, own) for as_of, own in wanted]]

    assert [end["outcome"] for end in ends] == ["Promoted"] * 3, ends
    assert sorted(end["version"] for end in ends) == ["v2", "v3", "v4"]
    assert [entry.version for entry in project.registry.history()] == ["v1", "v2", "v3", "v4"]
    compared_with_every_champion(project)
    hashes = {model_hash(project, project.registry.get(end["version"])) for end in ends}
    assert len(hashes) == 3
    runs = {record.name: record for record in list_runs(project)}
    for end, (as_of, own) in zip(ends, wanted, strict=True):
        assert runs[end["run"]].as_of == as_of
        recorded = get_run(project, end["run"])["params"]["train"]["seed"]
        assert recorded == own.get("train.seed", project.params.train.seed)
    assert not project.repository.run("status", "--porcelain")


def test_the_same_retrain_is_done_once_and_the_other_joins(project: Project, tmp_path: Path) -> None:
    root, go = project.settings.root, tmp_path / "go"
    before = len(list_runs(project))
    first = started(root, "2013-04", wait=str(go))
    until_said(first, "PLANNED")
    time.sleep(0.5)
    second = started(root, "2013-04")
    assert "waiting for the same retrain, 2013-04-" in until_said(second, "SAID")
    go.touch()

    assert ended(first)["version"] == "v2"
    assert ended(second)["outcome"] == "Joined Promoted"
    assert len(list_runs(project)) == before + 1


def test_if_the_first_of_two_dies_the_second_does_the_work(project: Project) -> None:
    root = project.settings.root
    first = started(root, "2013-04", wait="/never")
    until_said(first, "PLANNED")
    time.sleep(0.5)
    second = started(root, "2013-04")
    until_said(second, "SAID waiting")
    first.kill()
    first.communicate()

    assert ended(second)["version"] == "v2"


@pytest.mark.slow
def test_a_champion_that_has_seen_the_holdout_is_not_replaced(project: Project) -> None:
    """The candidate of 2013-04 passed against v1; meanwhile v2 was released, which was trained on 2013-04."""
    late = operation.begin(project, plans.plan(project, as_of="2013-04"))
    for stage in ("snapshot", "validate", "featurize", "train", "evaluate", "gate"):
        late.stage(stage)
    assert late.verdict().promoted
    newer = kit.retrain(project, as_of="2013-06")
    project.registry.assign(newer.run.register(newer.commit))

    told: list[str] = []
    verdict = turns.challenge(late, late.verdict(), told.append)

    assert told[0] == "v2 serves since this run began (it knew v1): comparing with it"
    assert (verdict.decision, verdict.champion) == ("inconclusive", "v2")
    assert "Champion v2 was trained on the holdout" in verdict.summary() + verdict.markdown()
    commit = late.record("Inconclusive", verdict, {})
    assert get_run(project, late.name)["champion"]["version"] == "v2"
    assert [s["stage"] for s in get_run(project, late.name)["stages"]][-2:] == ["evaluate", "gate"]
    assert "evaluate" in lock_of(project, commit)


@pytest.fixture
def fresh(checkout: Path) -> Project:
    """A repository without a run."""
    kit.change(checkout, kit.SMALL)
    return kit.open_at(checkout)


def test_parameters_of_one_run_are_checked_like_the_file(fresh: Project) -> None:
    own = parse(["train.seed=7", "gates.minimum.roc_auc=0.55", "gates.slices.columns=[origin]"])
    found = plans.plan(fresh, as_of="2013-04", overrides=own)
    assert found.params.train.seed == 7
    assert found.params.gates.minimum.roc_auc == 0.55
    assert found.params.gates.minimum.calibration_error == fresh.params.gates.minimum.calibration_error
    assert found.params.gates.slices.columns == ["origin"]
    assert turns.fingerprint(fresh, found) != turns.fingerprint(fresh, plans.plan(fresh, as_of="2013-04"))
    again = plans.plan(fresh, as_of="2013-04", overrides=own)
    assert turns.fingerprint(fresh, found) == turns.fingerprint(fresh, again)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("train.seeds=7", "did you mean seed"),
        ("train.seed=many", "train.seed"),
        ("gates.minimum.roc_auc=2", "gates.minimum.roc_auc"),
        ("paths.model=elsewhere", "cannot be set for one run"),
        ("release.drain_s=1", "cannot be set for one run"),
        ("data.source=x", "cannot be set for one run"),
        ("train=1", "cannot be set for one run"),
        ("train.seed", "not of the form"),
    ],
)
def test_a_wrong_parameter_of_one_run_is_refused_before_any_work(fresh: Project, item: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plans.plan(fresh, as_of="2013-04", overrides=parse([item]))
    assert says in str(caught.value)


@pytest.mark.slow
def test_eight_at_once(project: Project) -> None:
    root = project.settings.root
    wanted = [("2013-04", WIDE | {"train.seed": seed}) for seed in range(4)]
    wanted += [(f"2013-0{month}", WIDE | {"train.max_rounds": 10 + month}) for month in (5, 6, 7, 8)]
    ends = [ended(process) for process in [started(root, as_of, own) for as_of, own in wanted]]

    versions = [end["version"] for end in ends if end["version"]]
    assert sorted(versions, key=lambda name: int(name[1:])) == [f"v{n}" for n in range(2, 2 + len(versions))]
    assert {end["outcome"] for end in ends} <= {"Promoted", "KeptChampion", "Inconclusive"}
    compared_with_every_champion(project)
    for end, (as_of, own) in zip(ends, wanted, strict=True):
        run = get_run(project, end["run"])
        alone = kit.open_at(root)
        assert run["as_of"] == as_of
        assert alone.repository.read(run["commit"], "dvc.lock")
        assert all(run["params"]["train"][key.removeprefix("train.")] == own[key] for key in own.keys() - WIDE.keys())
        # As alone: the model is a function of the run's own parameters, whoever ran beside it.
        again = operation.begin(project, plans.plan(project, as_of=as_of, overrides=own))
        for stage in ("snapshot", "validate", "featurize"):
            again.stage(stage)
        again.pipeline.run_stage("train", force=True)
        here = lock_hashes((again.workspace.root / "dvc.lock").read_bytes())
        assert here["train"] == lock_of(project, run["commit"])["train"]
