"""Runs come back: byte by byte, within the tolerance, or with the name of what did not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.errors import DvcError, NotFound
from greenlight.operations.reproduce import ReproduceReport, reproduce
from greenlight.operations.runs import find_run
from greenlight.wiring import Project

STAGES = {
    "snapshot": ["data/snapshot"],
    "validate": ["reports/data_docs", "reports/validation.json"],
    "featurize": ["data/features"],
    "train": ["data/model"],
    "evaluate": ["reports/evaluation", "reports/metrics.json"],
    "gate": ["reports/evaluation.html", "reports/verdict.json", "reports/verdict.md"],
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


def test_a_promoted_run_comes_back_from_its_name_and_the_remote_alone(recorded: Recorded, tmp_path: Path) -> None:
    """In another clone, without any cache, with the source made unusable for whoever would ask it."""
    shutil.copytree(recorded.root / ".greenlight" / "remote", tmp_path / "remote")
    clone = tmp_path / "clone"
    kit.git(tmp_path, "clone", "-q", str(recorded.root), str(clone))
    kit.git(clone, "fetch", "-q", "origin", "refs/exps/*:refs/exps/*")
    kit.remote(clone, str(tmp_path / "remote"))
    lines: list[str] = []

    report = reproduce(kit.open_at(clone), recorded.promoted, log=lines.append)

    assert (report.verdict, report.exit_code) == ("identical", 0)
    assert outputs(report) == STAGES
    assert all(output.same and output.recorded == output.reproduced for output in report.outputs)
    assert [line.split(":")[0] for line in lines] == list(STAGES)
    assert lines[0] == "snapshot: fetched data/snapshot as recorded"
    assert not list((clone / ".greenlight" / "tmp").iterdir())


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
    assert "libraries and machine are those of the run" in report.explanation


def test_a_model_with_other_answers_is_different_and_the_first_output_is_named(
    recorded: Recorded, tmp_path: Path
) -> None:
    project = edited(
        recorded,
        tmp_path,
        "train",
        "seed=params.train.seed,\n        max",
        "seed=__import__('time').time_ns() % 2**31,\n        max",
    )
    run = kit.retrain(project).name

    report = reproduce(project, run)

    assert (report.verdict, report.exit_code) == ("different", 1)
    assert "the first is data/model (stage train)" in report.explanation
    assert "tolerance 1e-05" in report.explanation
    assert "**different**" in report.markdown()


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


def test_a_snapshot_that_the_remote_lost_is_an_error_and_not_fetched_again(recorded: Recorded, tmp_path: Path) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    shutil.rmtree(root / ".greenlight" / "cache")
    shutil.rmtree(root / ".greenlight" / "remote")

    with pytest.raises(DvcError, match="neither the cache nor the remote holds it"):
        reproduce(kit.open_at(root), recorded.promoted)


def test_an_unknown_run_is_named(recorded: Recorded) -> None:
    with pytest.raises(NotFound, match="no run 2012-01"):
        reproduce(recorded.project, "2012-01")
