"""Retraining again and again against one holdout is counted; the same model again is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.adapters.registry import Version
from greenlight.errors import ConfigError
from greenlight.operations.looks import compared_with, judged, overridden, settled
from greenlight.operations.plan import plan

OVERRIDE = {"gate": "min_roc_auc", "by": "Ada Example", "reason": "A month without weather", "expires": "2999-12-31"}


def _model_of(root: Path, name: str) -> str:
    """The booster's hash that the verdict of a run names."""
    verdict = json.loads(
        kit.git(
            root, "show", f"{kit.open_at(root).repository.refs('refs/exps/')[_ref(root, name)]}:reports/verdict.json"
        )
    )
    return str(next(c for c in verdict["checks"] if c["name"] == "something_new")["evidence"]["candidate"])


def _ref(root: Path, name: str) -> str:
    return next(ref for ref in kit.open_at(root).repository.refs("refs/exps/") if ref.endswith(name))


def test_the_first_candidate_of_a_month_has_nobody_before_it(recorded: Recorded) -> None:
    assert plan(recorded.project, as_of="2013-05").params.judged.earlier == []


def test_another_candidate_for_a_month_that_was_judged_is_the_second(recorded: Recorded) -> None:
    """The rejected run of the month was judged against the same champion; this one has another seed."""
    found = plan(recorded.project, as_of="2013-04", overrides={"train.seed": 7})
    assert found.params.judged.earlier == [_model_of(recorded.root, recorded.kept)]


def test_a_month_judged_against_another_champion_is_another_question(recorded: Recorded) -> None:
    """The promoted run had no champion; its month is asked against v1 for the first time."""
    assert plan(recorded.project, as_of="2013-03").params.judged.earlier == []


def test_the_count_is_written_into_the_run(recorded: Recorded, tmp_path: Path) -> None:
    from greenlight.operations import workspace

    root = kit.copy(recorded, tmp_path / "repo").root
    project = kit.open_at(root)
    made = workspace.create(project, plan(project, as_of="2013-04", overrides={"train.seed": 7}))
    text = (made.root / "params.yaml").read_text()
    assert _model_of(root, recorded.kept) in text


def test_the_day_is_filled_in_only_where_an_override_needs_it(recorded: Recorded, tmp_path: Path) -> None:
    assert plan(recorded.project).params.judged.day == ""
    root = kit.copy(recorded, tmp_path / "repo").root
    kit.change(root, {"gates.overrides": [OVERRIDE]})
    assert len(plan(kit.open_at(root)).params.judged.day) == len("2013-08-01")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gate": "min_roc_auk"}, "no gate min_roc_auk to override"),
        ({"by": ""}, "gates.overrides.0.by"),
        ({"reason": "because"}, "gates.overrides.0.reason"),
        ({"expires": "never"}, "no day such as"),
    ],
)
def test_an_override_names_a_gate_somebody_a_reason_and_an_end(
    recorded: Recorded, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    kit.change(root, {"gates.overrides": [OVERRIDE | change]})
    with pytest.raises(ConfigError, match=says):
        plan(kit.open_at(root))


def test_who_overrode_what_is_read_back_from_the_record(recorded: Recorded, tmp_path: Path) -> None:
    root = kit.copy(recorded, tmp_path / "repo").root
    project = kit.open_at(root)
    commit = project.registry.get("v1").commit
    assert overridden(project, commit) == []
    verdict = json.loads(kit.git(root, "show", f"{commit}:reports/verdict.json"))
    verdict["checks"][0]["override"] = {"by": "Ada", "reason": "A known strike", "expires": "2013-12-31"}
    kit.git(root, "checkout", "-q", commit)
    (root / "reports/verdict.json").write_text(json.dumps(verdict))
    kit.git(root, "commit", "-q", "-a", "-m", "Overridden")
    found = overridden(project, kit.git(root, "rev-parse", "HEAD"))
    assert [(each["gate"], each["by"]) for each in found] == [(verdict["checks"][0]["name"], "Ada")]


# Records made by hand: cheaper than runs, and of shapes that runs here do not have


def _record(
    root: Path, name: str, *, model: str, seed: int = 2013, champion: str = "v1", outcome: str = "KeptChampion"
) -> None:
    """A run of 2013-08 in the repository, as the operation leaves it."""
    project = kit.open_at(root)
    head, params = project.repository.head(), project.params.model_dump()
    params["data"] |= {"as_of": "2013-08"}
    params["train"] |= {"seed": seed, "device": "cpu"}
    run = {"name": name, "created": name, "as_of": "2013-08", "outcome": outcome}
    run |= {"champion": {"version": champion}, "code": {"commit": head, "uncommitted_changes": False}}
    check = {"name": "something_new", "evidence": {"candidate": model} if model else {}}
    files = {"reports/run.json": run, "reports/verdict.json": {"checks": [check]}, "params.yaml": params}
    for path, content in files.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(json.dumps(content))
    kit.git(root, "add", "-f", *files)
    kit.git(root, "commit", "-q", "-m", name)
    kit.git(root, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", "HEAD")
    kit.git(root, "reset", "-q", "--hard", head)


@pytest.mark.parametrize(
    ("outcome", "champion", "done"),
    [
        ("KeptChampion", "v1", {"2013-08"}),
        ("Inconclusive", "v1", {"2013-08"}),
        ("Promoted", "v1", set()),  # its release may have broken off; asked again, it is finished
        ("DataRejected", "v1", set()),  # the data may be corrected
        ("KeptChampion", "v2", set()),  # another question
    ],
)
def test_a_month_is_settled_once_its_candidate_was_refused(
    checkout: Path, outcome: str, champion: str, done: set[str]
) -> None:
    _record(checkout, "1", model="a" * 64, outcome=outcome, champion=champion)
    assert settled(compared_with(kit.open_at(checkout), _version("v1"))) == done


def _version(name: str) -> Version:
    return Version(name=name, number=1, commit="0" * 40, run="", created=datetime.now(UTC))


def _earlier(root: Path, *, seed: int = 2013, champion: str = "v1") -> list[str]:
    project = kit.open_at(root)
    raw = project.params.model_dump()
    raw["data"]["as_of"], raw["train"]["device"], raw["train"]["seed"] = "2013-08", "cpu", seed
    return judged(project, type(project.params).model_validate(raw), _version(champion) if champion else None).earlier


def test_models_are_counted_once_each_in_the_order_in_which_they_were_judged(checkout: Path) -> None:
    for name, model, seed in (("2", "b" * 64, 2), ("1", "a" * 64, 1), ("3", "a" * 64, 3)):
        _record(checkout, name, model=model, seed=seed)
    assert _earlier(checkout, seed=9) == ["a" * 64, "b" * 64]


def test_a_run_that_is_repeated_is_told_what_it_was_told(checkout: Path) -> None:
    """Nobody was before the first; asked for again after others, it comes from the cache, with its own confidence."""
    _record(checkout, "1", model="a" * 64, seed=1)
    _record(checkout, "2", model="b" * 64, seed=2)
    assert _earlier(checkout, seed=1) == []
    (checkout / "README.md").write_text("changed")
    assert _earlier(checkout, seed=1) == ["a" * 64, "b" * 64], "uncommitted changes: it may be another model"


@pytest.mark.parametrize("other", [{"champion": "v2"}, {"champion": ""}, {"outcome": "DataRejected"}])
def test_what_was_asked_of_another_champion_or_never_judged_does_not_count(checkout: Path, other: Any) -> None:
    _record(checkout, "1", model="a" * 64, **other)
    assert _earlier(checkout, seed=9) == []


def test_a_run_of_old_that_names_no_model_counts_all_the_same(checkout: Path) -> None:
    _record(checkout, "1", model="")
    assert len(_earlier(checkout, seed=9)) == 1
