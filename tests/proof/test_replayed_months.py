"""A replay on real months: the numbers of real retrains, and nothing read before its time."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
from retrain_kit import Recorded, hand_in, open_at
from retrain_kit import copy as copy_recorded
from rich.console import Console
from typer.testing import CliRunner

from greenlight import datasets
from greenlight.cli.app import app
from greenlight.cli.proof_views import replay_views
from greenlight.datasets.supply import INCOMING, Supply
from greenlight.errors import ConfigError, UsageError
from greenlight.proof import bench
from greenlight.proof import replay as operation
from greenlight.proof.replay import _Work

LIKE_KEPT = "gates.minimum.roc_auc=0.99"  # what the recorded run that was kept had


@pytest.fixture(scope="module")
def replayed(recorded: Recorded) -> dict[str, Any]:
    return operation.replay(recorded.project, "2013-04", "2013-05", [LIKE_KEPT])


def decisions(found: dict[str, Any], policy: str) -> list[dict[str, Any]]:
    return [row for row in found["decisions"] if row["policy"] == policy]


def evaluation(recorded: Recorded, run: str) -> dict[str, Any]:
    text = (recorded.root / ".greenlight" / "runs" / run / "reports" / "evaluation" / "evaluation.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_replayed_month_has_the_models_and_the_verdict_of_a_real_retrain(
    recorded: Recorded, replayed: dict[str, Any]
) -> None:
    real = evaluation(recorded, recorded.kept)
    first, kept = replayed["policies"][0]["months"][0], decisions(replayed, LIKE_KEPT)[0]
    assert first["model"]["sha256"] == real["models"]["champion"]["sha256"]
    assert kept["candidate"] == real["models"]["candidate"]["sha256"]
    folder = recorded.root / ".greenlight" / "runs" / recorded.kept
    assert kept["verdict"] == json.loads((folder / "reports" / "verdict.json").read_text())
    assert (kept["month"], kept["outcome"]) == ("2013-04", "KeptChampion")


def test_what_served_is_what_was_decided_the_month_before(replayed: dict[str, Any]) -> None:
    served = {policy["name"]: [m["version"] for m in policy["months"]] for policy in replayed["policies"]}
    assert served == {
        "never retrain": ["v1", "v1"],
        "always deploy": ["v1", "v2"],
        "gated": ["v1", "v2" if decisions(replayed, "gated")[0]["outcome"] == "Promoted" else "v1"],
        LIKE_KEPT: ["v1", "v1"],
    }
    always = decisions(replayed, "always deploy")[0]
    assert always["outcome"] == "Deployed"
    assert always["candidate"] == decisions(replayed, LIKE_KEPT)[0]["candidate"]  # trained once, for both


def test_nothing_is_read_before_its_time(recorded: Recorded, tmp_path: Path, replayed: dict[str, Any]) -> None:
    """Later months that nobody can read change nothing, since nobody reads them."""
    copied = copy_recorded(recorded, tmp_path / "later")
    for table in ("flights", "weather"):
        for month in ("2013-05", "2013-06"):
            hand_in(copied.root, table, month, b"no parquet")
    found = operation.replay(copied.project, "2013-04", "2013-04", [LIKE_KEPT])
    same = decisions(found, LIKE_KEPT)[0]
    assert same["candidate"] == decisions(replayed, LIKE_KEPT)[0]["candidate"]
    assert same["verdict"] == decisions(replayed, LIKE_KEPT)[0]["verdict"]


def test_a_month_that_is_not_over_cannot_be_asked_for(recorded: Recorded, tmp_path: Path) -> None:
    dataset = datasets.load("flight_delay")
    work = _Work(dataset, Supply(dataset.source, tmp_path / "none"), tmp_path, lambda _: None)
    work.advance("2013-04")
    params = recorded.project.params
    with pytest.raises(ValueError, match="2013-05 is asked for at the end of 2013-04"):
        work.live(params, [], "2013-05")
    with pytest.raises(ValueError, match="2013-05 is asked for"):
        work.data(bench.as_of(params, "2013-05", 1))


def test_a_month_that_breaks_its_contract_is_rejected_and_the_champion_serves_on(
    recorded: Recorded, tmp_path: Path
) -> None:
    from retrain_kit import month

    copied = copy_recorded(recorded, tmp_path / "bad")
    flights = month("flights", "2013-04")
    hand_in(copied.root, "flights", "2013-04", flights.vstack(flights.head(500)))
    found = operation.replay(copied.project, "2013-04", "2013-04")
    assert decisions(found, "gated")[0]["outcome"] == "DataRejected"
    assert decisions(found, "gated")[0]["candidate"] == ""
    assert decisions(found, "always deploy")[0]["outcome"] == "Deployed"  # it asks nobody
    assert [policy["data_rejected"] for policy in found["policies"]] == [0, 0, 1]
    assert (copied.root / INCOMING).is_dir()


@pytest.mark.parametrize(
    ("first", "last", "own", "said"),
    [
        ("2013-07", "2013-05", [], "--from 2013-07 is after"),
        ("2013-13", "2013-12", [], "not a month"),
        ("2013-02", "2013-05", [], "needs 2012-11 to 2013-05"),
        ("2013-11", "2014-03", [], "2014-01, 2014-02, 2014-03"),
        ("2013-04", "2013-05", ["data.as_of=2013-04"], "every month in turn"),
        ("2013-04", "2013-05", ["train.sed=7"], "did you mean seed"),
        ("2013-04", "2013-05", ["train.booster.max_dept=3"], "XGBoost does not know max_dept"),
    ],
)
def test_a_wrong_wish_is_told_before_any_work(
    recorded: Recorded, first: str, last: str, own: list[str], said: str
) -> None:
    with pytest.raises((UsageError, ConfigError), match=said):
        operation.replay(recorded.project, first, last, own)


def test_the_command_writes_the_page_and_answers_in_json(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENLIGHT_ROOT", str(recorded.root))
    command = ["replay", "--from", "2013-04", "--to", "2013-04", "--out", str(tmp_path / "out"), "--json"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert [policy["name"] for policy in answer["policies"]] == ["never retrain", "always deploy", "gated"]
    page = Path(answer["report"]).read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "decide little" in page
    kept = json.loads((tmp_path / "out" / "replay.json").read_text())
    assert kept == {key: value for key, value in answer.items() if key != "report"}


def test_every_figure_of_every_policy_is_legible_at_80_columns(replayed: dict[str, Any]) -> None:
    found = copy.deepcopy(replayed)
    more = [copy.deepcopy(found["policies"][-1]) | {"name": f"always: data.window_months={n}"} for n in (3, 4, 5)]
    found["policies"] += more
    written = io.StringIO()
    shown = Console(file=written, width=80)
    for part in replay_views(found):
        shown.print(part)
    text = written.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for policy in found["policies"]:
        assert policy["name"].split(".")[0] in text
        for month in policy["months"]:
            assert f"{month['roc_auc']:.4f}     {month['log_loss']:.4f}" in text
    assert all(f"{policy['regret']['roc_auc']:.4f}" in text for policy in found["policies"])


def test_a_file_where_the_report_should_go_is_told(
    recorded: Recorded, tmp_path: Path, replayed: dict[str, Any]
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        operation.write(open_at(recorded.root), replayed, tmp_path / "out")
