"""The read-out of an A/B test: keys as units, assigned as the edge assigns, decided by an interval and not before."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from greenlight.core.ab_readout import CLIP, read_out
from greenlight.core.ab_test import AbTest
from greenlight.core.always_valid import Mean, difference
from greenlight.core.assignment import assign, split
from greenlight.core.late_labels import COLUMNS

TEST = AbTest("v2", "v1", 5_000, "s", min_labels=100, margin=0.05)


def answers(
    rng: np.random.Generator,
    rates: dict[str, float],
    keys: int = 1_000,
    each: int = 3,
    labelled: float = 1.0,
    test: AbTest = TEST,
) -> pl.DataFrame:
    """Answers of each key from the version that it is assigned to, right at the version's rate."""
    rows = []
    for k in range(keys):
        version = assign(f"k{k}", test.salt, split(test.candidate, test.weight, test.stable))
        for i in range(each):
            rows.append(
                row(f"k{k}", version, k * each + i, bool(rng.random() < rates[version]), rng.random() < labelled)
            )
    return frame(rows)


def row(key: str, version: str, number: int, right: bool, labelled: bool = True, **more: Any) -> dict[str, Any]:
    made = {
        "at": number, "request_id": f"r{number}", "row": 0, "prediction_id": f"{number:032x}-0", "version": version,
        "key": key, "decision": right, "probability": 0.8, "label": 1 if labelled else None, "ms": 1.0, "shadow": False,
        "row_json": None, "labelled_at": None,
    }  # fmt: skip
    return made | more


def frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


@pytest.mark.parametrize(
    ("rates", "decision"),
    [
        ({"v2": 0.9, "v1": 0.6}, "better"),
        ({"v2": 0.6, "v1": 0.9}, "worse"),
        ({"v2": 0.98, "v1": 0.98}, "not_worse"),
        ({"v2": 0.66, "v1": 0.7}, "undecided"),
    ],
)
def test_decisions(rates: dict[str, float], decision: str) -> None:
    found = read_out(answers(np.random.default_rng(1), rates), TEST)
    assert found.decision == decision, found.reasons
    assert not found.mismatch
    assert found.arms["v1"].labelled_keys + found.arms["v2"].labelled_keys == 1_000
    assert f"advantage {found.advantage.estimate:+.4f}" in found.reasons[0]
    assert json.loads(json.dumps(found.to_json(TEST)))["decision"] == decision


def test_the_interval_is_that_of_the_keys_means() -> None:
    rng = np.random.default_rng(2)
    its = answers(rng, {"v2": 0.8, "v1": 0.7}, labelled=0.6)
    found = read_out(its.sample(fraction=1, shuffle=True, seed=2), TEST)
    by_key: dict[str, dict[str, list[float]]] = {"v1": {}, "v2": {}}
    for one in its.iter_rows(named=True):
        if one["label"] is not None:
            by_key[one["version"]].setdefault(one["key"], []).append(float(one["decision"]))
    means = {version: Mean.of([np.mean(v) for v in keys.values()]) for version, keys in by_key.items()}
    expected = difference(means["v2"], means["v1"], alpha=1 - TEST.confidence, tuned_for=400, least=100)
    assert found.advantage.low == pytest.approx(expected.low, abs=1e-12)
    assert found.advantage.high == pytest.approx(expected.high, abs=1e-12)
    assert found.arms["v1"].labelled == sum(len(v) for v in by_key["v1"].values())


def test_a_key_that_asks_a_thousand_times_weighs_as_much_as_any_other() -> None:
    its = answers(np.random.default_rng(3), {"v2": 0.8, "v1": 0.8}, each=1)
    bad = next(f"k{k}" for k in range(100) if TEST.assigned(f"k{k}") == "v2")
    hammered = pl.concat([its, frame([row(bad, "v2", 10_000 + n, False) for n in range(5_000)])])
    a, b = read_out(its, TEST), read_out(hammered, TEST)
    assert abs(a.advantage.estimate - b.advantage.estimate) <= 1.01 / a.arms["v2"].labelled_keys


def test_log_loss_is_turned_so_that_more_is_better() -> None:
    its = answers(np.random.default_rng(4), {"v2": 0.5, "v1": 0.5}, each=1).with_columns(
        probability=pl.when(pl.col("version") == "v2")
        .then(0.9)
        .otherwise(pl.when(pl.col("key").str.ends_with("7")).then(0.0).otherwise(0.6))
    )
    found = read_out(its, replace(TEST, metric="log_loss"))
    assert found.arms["v2"].mean == pytest.approx(-math.log(0.9), abs=1e-6)
    assert found.arms["v1"].mean <= -math.log(CLIP)
    assert found.decision == "better"


def test_too_few_labels_decide_nothing_and_are_counted() -> None:
    its = answers(np.random.default_rng(5), {"v2": 0.0, "v1": 1.0}, keys=150, each=1)
    found = read_out(its, TEST)
    lacking = {v: 100 - arm.labelled_keys for v, arm in found.arms.items()}
    assert found.decision == "undecided"
    assert found.reasons[0].startswith(f"A/B: keys with a label are missing: {lacking['v2']} more of v2 and")
    assert read_out(frame([]), TEST).reasons[0].startswith("A/B: keys with a label are missing: 100 more of v2 and 100")


def test_how_many_more_keys_would_tell_is_about_right() -> None:
    rng = np.random.default_rng(6)
    found = read_out(answers(rng, {"v2": 0.7, "v1": 0.72}, keys=600, each=1), TEST)
    assert found.more_keys
    assert f"about {found.more_keys} more keys" in found.reasons[0]
    grown = {
        v: Mean(
            round(a.labelled_keys * (1 + found.more_keys / 600)),
            a.mean,
            a.labelled_keys * (1 + found.more_keys / 600) * a.mean * (1 - a.mean),
        )
        for v, a in found.arms.items()
    }
    its = difference(grown["v2"], grown["v1"], alpha=0.05, tuned_for=400, least=100)
    assert its.low > -0.05 or its.high < 0
    assert min(abs(its.low + 0.05), abs(its.high)) < 0.002


def test_a_split_that_is_not_the_planned_one_stops_it_from_deciding() -> None:
    its = answers(np.random.default_rng(7), {"v2": 0.9, "v1": 0.5})
    failing = its.with_columns(version=pl.when(pl.col("at") % 2 == 0).then(pl.lit("v1")).otherwise("version"))
    found = read_out(failing, TEST)
    assert (found.decision, found.mismatch) == ("undecided", True)
    assert "not shared as planned" in found.reasons[0]
    assert found.elsewhere > 400
    unlike = its.with_columns(
        label=pl.when((pl.col("version") == "v2") & (pl.col("at") % 9 > 2)).then(None).otherwise("label")
    )
    found = read_out(unlike, TEST)
    assert "keys with a label are not shared" in found.reasons[0]


def test_a_key_counts_for_the_version_it_was_given_whichever_answered() -> None:
    mine = next(f"k{k}" for k in range(100) if TEST.assigned(f"k{k}") == "v2")
    retried = [row(mine, "v1", 1, True, request_id="x"), row(mine, "v2", 2, False, request_id="x")]
    alone = [row(mine, "v1", 3, True, request_id="y")]
    found = read_out(frame([*retried, *alone]), TEST)
    assert (found.arms["v2"].labelled, found.arms["v2"].mean, found.arms["v1"].labelled) == (2, 0.5, 0)
    assert found.elsewhere == 2
    keyless = read_out(frame([row("", "v2", 1, True), row("x" * 200, "v1", 2, True)]), TEST)
    assert (keyless.unassigned, keyless.elsewhere) == (2, 0)


def test_keys_are_assigned_by_the_bytes_that_were_sent() -> None:
    sent = "Zürich"
    kept = sent.encode().decode("latin-1")
    assert TEST.assigned(kept) == assign(sent, "s", split("v2", 5_000, "v1"))
    assert TEST.assigned("\xff") == ""
