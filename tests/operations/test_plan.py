"""What a retrain would do, and every mistake that is found before any work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.config import Params
from greenlight.errors import ConfigError, DvcError, UsageError
from greenlight.operations.plan import plan


def test_the_first_run_takes_the_first_month_with_a_full_window(checkout: Path) -> None:
    found = plan(kit.open_at(checkout))

    assert found.params.data.as_of == "2013-07"
    assert found.champion is None
    assert "train 2013-01 to 2013-05, stop on 2013-06, hold out 2013-07" in found.describe()
    assert found.run.startswith("2013-07-")
    assert found.params.train.device in {"cpu", "cuda"}
    assert len(found.params.data.source) == 64
    assert not (checkout / ".greenlight").exists()


def test_after_a_champion_next_is_the_first_month_on_which_none_was_refused(recorded: Recorded) -> None:
    """The champion's is March; April's candidate was judged and refused, so that `next` would stay there for ever."""
    found = plan(recorded.project)

    assert found.params.data.as_of == "2013-05"
    assert found.champion is not None
    assert (found.params.champion.version, found.params.champion.run) == ("v1", recorded.promoted)


def test_two_plans_never_share_a_name(recorded: Recorded) -> None:
    assert plan(recorded.project).run != plan(recorded.project).run


def test_a_month_that_is_not_there_yet_is_nothing_new_and_no_error(recorded: Recorded, tmp_path: Path) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    kit.champion_of(root, "2013-12")

    found = plan(kit.open_at(root))

    assert "2014-01 is not there yet" in found.nothing_new
    assert "2013-12" in found.nothing_new


def test_a_month_handed_in_is_new(recorded: Recorded, tmp_path: Path) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    kit.champion_of(root, "2013-12")
    kit.hand_in(root, "flights", "2014-01", kit.month("flights", "2013-01"))

    found = plan(kit.open_at(root))

    assert (found.nothing_new, found.params.data.as_of) == ("", "2014-01")


def test_a_corrected_month_is_another_source(recorded: Recorded, tmp_path: Path) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    before = plan(kit.open_at(root)).params.data.source
    kit.hand_in(root, "flights", "2013-04", kit.month("flights", "2013-04").head(20_000))

    assert plan(kit.open_at(root)).params.data.source != before


@pytest.mark.parametrize("as_of", ["2013-01", "2012-06", "2031-01"])
def test_a_month_outside_the_data_names_what_is_missing_and_what_there_is(recorded: Recorded, as_of: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(recorded.project, as_of=as_of)

    assert as_of in caught.value.what
    assert "2013-01 to 2013-12" in caught.value.where
    assert caught.value.todo == "an as_of from 2013-03 to 2013-12"


@pytest.mark.parametrize("as_of", ["August", "2013-13", "2013-8", "2013"])
def test_a_month_is_written_as_year_and_month(recorded: Recorded, as_of: str) -> None:
    with pytest.raises(ConfigError, match=as_of):
        plan(recorded.project, as_of=as_of)


def test_a_demand_for_a_gpu_where_there_is_none_is_an_error_before_any_work(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    from greenlight.adapters import device

    if device.resolve("auto").kind == "cuda":
        pytest.skip("this machine's GPU cannot be hidden")
    root = kit.copy(recorded, tmp_path / "repo").root
    before = sorted((root / ".greenlight" / "runs").iterdir())

    with pytest.raises(ConfigError, match="no GPU can be used"):
        plan(kit.open_at(root), device="cuda")
    assert sorted((root / ".greenlight" / "runs").iterdir()) == before


def test_the_device_asked_for_wins_over_params(recorded: Recorded) -> None:
    with pytest.raises(ConfigError, match="gpu"):
        plan(recorded.project, device="gpu")
    assert plan(recorded.project, device="cpu").params.train.device == "cpu"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  window_months:", "  window_month:", "did you mean window_months"),
        ("  seed: 2013", "  seed: zero", "train.seed"),
        ("  seed: 2013", "  seed: 2013\n  seed: 2014", "line 21: the key seed is there twice"),
        ("dataset: flight_delay", "dataset: flight_delays", "flight_delay"),
    ],
)
def test_a_mistake_in_params_is_named(recorded: Recorded, tmp_path: Path, old: str, new: str, said: str) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    text = (root / "params.yaml").read_text()
    assert old in text
    (root / "params.yaml").write_text(text.replace(old, new))

    with pytest.raises(ConfigError) as caught:
        plan(kit.open_at(root))
    assert said in str(caught.value)


def test_without_a_dvc_remote_it_says_how_to_add_one(recorded: Recorded, tmp_path: Path) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")

    with pytest.raises(DvcError, match="dvc remote add --default"):
        plan(kit.open_at(root))


def test_a_remote_that_dvc_has_no_driver_for_is_found_before_the_work_and_not_at_the_push(
    recorded: Recorded, tmp_path: Path
) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    kit.remote(root, "ssh://host/folder")

    with pytest.raises(DvcError, match=r"requires 'dvc-ssh'.*pyproject"):
        plan(kit.open_at(root))


def test_outside_git_it_says_how_to_start(recorded: Recorded, tmp_path: Path) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    shutil.rmtree(root / ".git")

    with pytest.raises(UsageError, match="git init"):
        kit.open_at(root)


def test_untracked_code_is_warned_of_and_other_files_are_not(recorded: Recorded, tmp_path: Path) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    assert plan(kit.open_at(root)).warnings == ()
    (root / "notes.md").write_text("mine")
    (root / "greenlight" / "core" / "forgotten.py").write_text("")

    (warning,) = plan(kit.open_at(root)).warnings

    assert "greenlight/core/forgotten.py" in warning
    assert "git add" in warning
    assert "notes.md" not in warning


def test_the_plan_leaves_params_yaml_of_the_checkout_alone(recorded: Recorded) -> None:
    before = (recorded.root / "params.yaml").read_bytes()
    plan(recorded.project)
    assert (recorded.root / "params.yaml").read_bytes() == before
    assert Params.load(recorded.root / "params.yaml").data.as_of == "next"


def test_a_window_that_reaches_behind_the_data_is_an_error_and_not_nothing_new(
    recorded: Recorded, tmp_path: Path
) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    kit.change(root, {"data.window_months": 50})

    with pytest.raises(UsageError, match=r"data.window_months 50.*at most 10"):
        plan(kit.open_at(root))


def test_a_first_run_without_enough_months_says_how_many_it_needs(checkout: Path) -> None:
    kit.change(checkout, {"data.window_months": 50})

    assert "data.window_months, 50, and two more" in plan(kit.open_at(checkout)).nothing_new


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"train.booster": {"max_dpeth": 6}}, "XGBoost does not know max_dpeth"),
        ({"train.booster": {"max_depth": -6}}, "XGBoost refused"),
        ({"gates.slices.columns": ["carier"]}, "no column carier to slice by"),
    ],
)
def test_names_that_only_a_late_stage_would_meet_are_found_before_any_work(
    checkout: Path, change: dict[str, object], named: str
) -> None:
    kit.change(checkout, change)

    with pytest.raises(ConfigError, match=named):
        plan(kit.open_at(checkout))
