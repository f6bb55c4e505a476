"""params.yaml and the environment: every mistake in one message, nothing unknown passes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from greenlight.config import Params, Settings, find_root
from greenlight.core.release_plan import parse
from greenlight.errors import ConfigError
from greenlight.release_params import ReleaseParams

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def write(tmp_path: Path):
    def _write(**changes: object) -> Path:
        raw = yaml.safe_load((ROOT / "params.yaml").read_text())
        for key, value in changes.items():
            target = raw
            *path, last = key.split("__")
            for part in path:
                target = target[part]
            target[last] = value
        file = tmp_path / "params.yaml"
        file.write_text(yaml.safe_dump(raw))
        return file

    return _write


def test_shipped_file_is_valid() -> None:
    assert Params.load(ROOT / "params.yaml").data.as_of == "next"


def test_a_release_goes_by_steps_unless_somebody_says_otherwise() -> None:
    release = Params.load(ROOT / "params.yaml").release
    assert parse(release.strategy, release.plan) == ("shadow", "canary", "full")
    assert release.quiet_s < release.patience_s
    assert ReleaseParams(drain_s=1).strategy == release.strategy


def test_all_mistakes_come_in_one_message(write) -> None:
    file = write(data__window_months="five", train__sed=1, gates__min_rows=-1, surprise={})

    with pytest.raises(ConfigError) as caught:
        Params.load(file)

    text = str(caught.value)
    assert "4 mistakes" in text
    for part in (
        "data.window_months",
        "'five'",
        "train.sed: unknown key, did you mean seed?",
        "gates.min_rows",
        "surprise",
    ):
        assert part in text


@pytest.mark.parametrize("as_of", ["2013-13", "July", "2013-7", "", "2013-07-01"])
def test_as_of_is_a_month_or_next(write, as_of: str) -> None:
    with pytest.raises(ConfigError, match="neither a month"):
        Params.load(write(data__as_of=as_of))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.5, "0.5", True])
def test_limits_are_finite_numbers_in_their_range(write, value: object) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        Params.load(write(decision__threshold=value))


@pytest.mark.parametrize("text", ["", "- a list", "a: [", "\t: x"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)

    with pytest.raises(ConfigError):
        Params.load(tmp_path / "params.yaml")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params.yaml is missing"):
        Params.load(tmp_path / "params.yaml")


def test_booster_may_not_override_what_greenlight_sets(write) -> None:
    with pytest.raises(ConfigError, match="device, nthread: set by Greenlight"):
        Params.load(write(train__booster={"nthread": 4, "device": "cuda"}))


def test_wrong_and_unknown_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLIGHT_EDGE_PORT", "99999")
    with pytest.raises(ConfigError, match=r"GREENLIGHT_EDGE_PORT.*99999"):
        Settings.load()

    monkeypatch.setenv("GREENLIGHT_EDGE_PORT", "8701")
    monkeypatch.setenv("GREENLIGHT_EGDE_PORT", "8702")
    with pytest.raises(ConfigError, match=r"GREENLIGHT_EGDE_PORT.*GREENLIGHT_EDGE_PORT"):
        Settings.load()


@pytest.mark.parametrize("host", ["nowhere.example", "", "127.0.0.1:8700", "http://127.0.0.1", "256.0.0.1", "::1::"])
def test_host_is_an_address(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLIGHT_HOST", host)
    with pytest.raises(ConfigError, match=f"GREENLIGHT_HOST: .*IP address.*got {host!r}"):
        Settings.load()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "http://127.0.0.1:8700"),
        ("127.0.0.1", "http://127.0.0.1:8700"),
        ("0.0.0.0", "http://0.0.0.0:8700"),
        ("::1", "http://[::1]:8700"),
    ],
)
def test_localhost_and_both_kinds_of_address_will_do(host: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLIGHT_HOST", host)
    assert Settings.load().edge_url == url
    assert Settings.load().prefect_api_url == url.replace("8700", "4200/api")


def test_home_follows_the_root_and_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(root=tmp_path).home == tmp_path / ".greenlight"

    monkeypatch.setenv("GREENLIGHT_HOME", str(tmp_path / "state"))
    assert Settings(root=tmp_path).home == tmp_path / "state"


def test_root_is_found_from_a_folder_below(tmp_path: Path) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)

    assert find_root(deep) == tmp_path


def test_a_file_from_before_the_bounds_is_still_understood(tmp_path: Path) -> None:
    """Sections and keys that gates came with later have defaults: a run of old is read with today's schema."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    del raw["judged"]
    for key in ("min_clusters", "confidence", "resamples", "behaviour", "fairness", "size", "overrides"):
        del raw["gates"][key]
    for section, key in (("minimum", "calibration_gap"), ("champion", "detectable_roc_auc"), ("slices", "search")):
        del raw["gates"][section][key]
    del raw["paths"]["model_card"], raw["paths"]["model_card_page"]
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(raw))
    assert Params.load(file) == Params.load(ROOT / "params.yaml")


def test_one_gate_is_overridden_once(write) -> None:
    override = {"gate": "size", "by": "Ada", "reason": "A reason long enough", "expires": "2030-01-01"}
    with pytest.raises(ConfigError, match="a gate is overridden twice"):
        Params.load(write(gates__overrides=[override, override]))
