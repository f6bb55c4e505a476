"""What is left of a run, and that a run which cannot be recorded leaves nothing but word of its end."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
import retrain_kit as kit
import yaml
from retrain_kit import Recorded

from greenlight.adapters import dvc
from greenlight.adapters.environment import describe as describe_environment
from greenlight.errors import DvcError
from greenlight.operations import retrain as operation
from greenlight.operations.plan import plan
from greenlight.operations.runs import find_run, list_runs
from greenlight.wiring import Project

ON_A_FULL_DISK = """
import sys
from pathlib import Path
import retrain_kit as kit
from greenlight.errors import DvcError
project = kit.open_at(Path(sys.argv[1]))
try:
    kit.retrain(project)
except DvcError as exc:
    print("SAID", exc)
"""


@pytest.fixture
def project(recorded: Recorded, tmp_path: Path) -> Project:
    return kit.copy(recorded, tmp_path / "repo").project


def facts_of(project: Project, run: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(project.repository.read(find_run(project, run), "reports/run.json") or b"")
    return found


def test_a_run_records_who_what_when_and_on_what(recorded: Recorded) -> None:
    facts = facts_of(recorded.project, recorded.promoted)

    assert facts["name"] == recorded.promoted
    assert (facts["as_of"], facts["outcome"], facts["trigger"]) == ("2013-03", "Promoted", "test")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", str(facts["created"]))
    assert facts["champion"] == {"version": "", "run": ""}
    assert facts["code"] == {"commit": recorded.project.repository.head(), "uncommitted_changes": False}
    assert facts["device"]["kind"] == "cpu"  # type: ignore[index]
    assert {"python", "platform", "cpus", "lock_sha256", "libraries"} <= set(facts["environment"])  # type: ignore[call-overload]
    stages = facts["stages"]
    assert [s["stage"] for s in stages] == ["snapshot", "validate", "featurize", "train", "evaluate", "gate"]  # type: ignore[attr-defined]
    assert all(s["executed"] and s["seconds"] > 0 and s["summary"] for s in stages)  # type: ignore[attr-defined]
    assert str(recorded.root) not in json.dumps(facts)


def test_dvc_itself_knows_every_run(recorded: Recorded) -> None:
    """The promise is that `dvc exp show` is the list of runs, whatever wrote the refs."""
    command = [sys.executable, "-m", "dvc", "exp", "show", "--all-commits", "--json"]
    done = subprocess.run(command, cwd=recorded.root, capture_output=True, text=True, check=True)
    runs = {}
    for commit in json.loads(done.stdout):
        for experiment in commit["experiments"] or []:
            for rev in experiment["revs"]:
                runs[rev["name"]] = rev["data"]
    assert {recorded.promoted, recorded.kept, recorded.rejected} == set(runs)
    metrics = runs[recorded.promoted]["metrics"]["reports/metrics.json"]["data"]
    assert metrics["candidate"]["roc_auc"] > 0.5
    params = runs[recorded.promoted]["params"]["params.yaml"]["data"]
    assert params["data"]["as_of"] == "2013-03"


def test_a_run_holds_the_users_uncommitted_files_and_moves_no_branch(recorded: Recorded) -> None:
    project = recorded.project
    commit = find_run(project, recorded.kept)
    assert project.repository.read(commit, "greenlight/cli/new.py") == b'"""New, in the index, not committed."""\n'
    assert project.repository.run("rev-parse", f"{commit}^") == project.repository.head()
    assert project.repository.run("branch", "--list", "--format=%(refname:short)") == "main"


def test_the_environment_of_a_run_is_what_its_stages_used(recorded: Recorded) -> None:
    import numpy
    import polars
    import xgboost

    environment: dict[str, Any] = facts_of(recorded.project, recorded.promoted)["environment"]  # type: ignore[assignment]

    used = {"numpy": numpy.__version__, "polars": polars.__version__, "xgboost": xgboost.__version__}
    assert {name: environment["imported"].get(name) for name in used} == used
    assert "great-expectations" in environment["imported"]  # by validate alone
    assert "prefect" not in environment["imported"]  # installed, and imported by no stage
    assert "prefect" in environment["libraries"]
    assert environment["imported"].keys() <= {_name(found.name) for found in distributions() if found.name}
    cores = len(os.sched_getaffinity(0))
    assert environment["threads"]["train"]["cores"] == cores
    assert 1 <= environment["threads"]["train"]["openmp"] <= cores
    assert set(environment["threads"]) == {"snapshot", "validate", "featurize", "train", "evaluate", "gate"}
    assert (environment["from_cache"], environment["seed"]) == ([], 2013)
    lock = (recorded.root / "requirements" / "all.txt").read_bytes()
    assert environment["lock_sha256"] == hashlib.sha256(lock).hexdigest()
    for fact in ("python", "implementation", "build", "platform", "libc", "machine", "processor", "cpus"):
        assert environment[fact], fact
    assert "cuda_runtime" in environment


def test_a_stage_from_the_cache_imported_nothing_and_says_so(recorded: Recorded) -> None:
    cached = dvc.StageRun("train", executed=False, seconds=0.1, summary="")
    ran = dvc.StageRun("gate", executed=True, seconds=0.1, summary="", process={"modules": ["yaml"], "threads": {}})

    described = describe_environment(recorded.root, [cached, ran])

    assert (described["from_cache"], set(described["imported"]), described["threads"]) == (
        ["train"],
        {"pyyaml"},
        {"gate": {}},
    )


def test_only_variables_that_are_named_are_recorded(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-a")
    monkeypatch.setenv("OMP_SECRET_TOKEN", "hush-b")

    described = describe_environment(recorded.root)

    assert described["variables"]["OMP_NUM_THREADS"] == "3"
    assert "hush" not in json.dumps(described)


@pytest.mark.slow
def test_with_another_lock_nothing_is_up_to_date(recorded: Recorded, tmp_path: Path) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    project = kit.open_at(root)

    def executed() -> list[bool]:
        run = operation.begin(project, plan(project))
        for stage in ("snapshot", "validate"):
            run.stage(stage)
        run.pipeline.close()
        return [stage.executed for stage in run.stages]

    assert executed() == [False, False]
    lock = root / "requirements" / "all.txt"
    lock.write_text(lock.read_text() + "# another version\n")
    assert executed() == [True, True]


def _name(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_the_commit_of_a_run_holds_everything_that_makes_it(recorded: Recorded) -> None:
    project = recorded.project
    commit = find_run(project, recorded.promoted)
    files = project.repository.run("diff", "--name-only", f"{commit}~1", commit).splitlines()

    assert {"dvc.lock", "params.yaml", "data/champion.dvc", "reports/run.json", "reports/verdict.json"} <= set(files)
    assert {"reports/metrics.json", "reports/validation.json"} <= set(files)
    assert not [name for name in files if name.startswith(("data/model", "data/snapshot", "reports/evaluation"))]
    assert project.repository.run("rev-parse", f"{commit}~1") == project.repository.head()
    params = yaml.safe_load(project.repository.read(commit, "params.yaml") or b"")
    assert params["data"]["as_of"] == "2013-03"
    assert len(params["data"]["source"]) == 64
    assert not [name for name in files if name.startswith("model-")]


def test_everything_that_a_lock_names_is_in_the_remote(recorded: Recorded) -> None:
    project = recorded.project
    for run in (recorded.promoted, recorded.kept, recorded.rejected):
        lock = dvc.lock_hashes(project.repository.read(find_run(project, run), dvc.LOCK))
        cached = [h for outs in lock.values() for path, h in outs.items() if not path.endswith(".json")]
        assert len(cached) >= 2
        for digest in cached:
            assert (recorded.root / ".greenlight/remote/files/md5" / digest[:2] / digest[2:]).is_file(), (run, lock)


def test_uncommitted_changes_are_part_of_the_run_and_not_of_the_branch(recorded: Recorded) -> None:
    project = recorded.project
    commit = find_run(project, recorded.kept)

    assert facts_of(project, recorded.kept)["code"] == {
        "commit": project.repository.head(),
        "uncommitted_changes": True,
    }
    assert b"roc_auc: 0.99" in (project.repository.read(commit, "params.yaml") or b"")
    assert project.repository.read(commit, "greenlight/cli/new.py") is not None, "a file that is only in the index"
    assert project.repository.read(project.repository.head(), "greenlight/cli/new.py") is None


def test_rejected_data_is_recorded_with_what_was_wrong(recorded: Recorded) -> None:
    project = recorded.project
    commit = find_run(project, recorded.rejected)
    validation = json.loads(project.repository.read(commit, "reports/validation.json") or b"")

    assert validation["passed"] is False
    assert facts_of(project, recorded.rejected)["outcome"] == "DataRejected"
    assert set(dvc.lock_hashes(project.repository.read(commit, dvc.LOCK))) == {"snapshot", "validate"}
    assert project.repository.read(commit, "reports/verdict.json") is None


def test_nothing_of_a_run_shows_up_in_the_users_checkout(recorded: Recorded) -> None:
    repository = recorded.project.repository
    assert repository.run("status", "--porcelain") == ""
    assert repository.run("branch", "--format=%(refname:short)").splitlines() == ["main"]
    assert repository.run("log", "--format=%s").splitlines() == ["Small", "Start"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("../in-the-way/remote", "Not a directory", marks=pytest.mark.slow),
        pytest.param("/sys/greenlight", r"not allowed: .*/sys/greenlight", marks=pytest.mark.slow),
        ("http://127.0.0.1:1/away", r"files failed to upload: Cannot connect to host 127\.0\.0\.1:1"),
    ],
)
def test_a_remote_out_of_reach_is_one_message_with_the_reason_and_records_nothing(
    recorded: Recorded, tmp_path: Path, url: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    (root / "in-the-way").write_text("a file where the remote's folder should be")
    kit.remote(root, url)
    project = kit.open_at(root)
    before = kit.memory(project)

    with pytest.raises(DvcError, match=rf"(?s)dvc push failed: .*{said}") as caught:
        kit.retrain(project)

    assert kit.memory(project) == before
    assert caught.value.retryable is url.startswith("http")
    assert "failed to transfer" not in "".join(capfd.readouterr())
    failed = list_runs(project)[0]
    assert (failed.outcome, failed.commit) == ("Failed", "")
    assert "dvc push failed" in failed.reason


@pytest.mark.slow
def test_a_disk_that_fills_up_during_the_push_records_nothing(recorded: Recorded, tmp_path: Path) -> None:
    """The remote lies on a file system of one megabyte that only the process under test sees."""
    root = kit.copy(recorded, tmp_path / "repo").root
    small = tmp_path / "small"
    small.mkdir()
    probe = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount -t tmpfs -o size=1m tmpfs "$0"'
    if subprocess.run([*probe, mount, str(small)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    kit.remote(root, str(small / "remote"))
    project = kit.open_at(root)
    before = kit.memory(project)

    paths = os.pathsep.join([str(Path(kit.__file__).parent), str(Path(kit.__file__).parents[1])])
    done = subprocess.run(
        [*probe, f'{mount} && exec "$@"', str(small), sys.executable, "-c", ON_A_FULL_DISK, str(root)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )

    assert "SAID dvc push failed: the disk is full: " in done.stdout, done.stderr
    assert "free space (df -h)" in done.stdout
    assert "Traceback" not in done.stderr
    assert kit.memory(project) == before
    assert "the disk is full" in list_runs(project)[0].reason


def test_a_model_that_is_a_version_already_keeps_it(project: Project) -> None:
    done = kit.retrain(project, as_of="2013-03")
    before = kit.git(project.repository.root, "tag", "--list")

    version = done.run.register(done.commit)

    assert version.name == "v1"
    assert kit.git(project.repository.root, "tag", "--list") == before


@pytest.mark.slow
def test_a_run_broken_off_before_its_version_ends_with_it_when_run_again(project: Project) -> None:
    """And one broken off after it does not get a second."""
    broken_off = kit.retrain(project)
    assert broken_off.outcome == "Promoted"
    again = kit.retrain(project)
    assert again.run.register(again.commit).name == "v2"
    assert [v.name for v in project.registry.versions()] == ["v1", "v2"]
    third = kit.retrain(project)
    assert third.run.register(third.commit).name == "v2"
    assert broken_off.name in {run.name for run in list_runs(project)}
