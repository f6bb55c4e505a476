"""Retraining again and again against one holdout is counted; the same model again is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import retrain_kit as kit
from retrain_kit import Recorded

from greenlight.errors import ConfigError
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
    from greenlight.operations.looks import overridden

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
