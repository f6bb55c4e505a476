"""What late labels say: whose wrong decisions count, once each, under the routing of their request."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from greenlight.core.late_labels import BEGINS_S, COLUMNS, Window, coverage, watch, within, wrong, wrong_pairs
from greenlight.core.release_plan import FULL, Rollout, Step

T0 = 1_000.0
CANARY = Window("canary", 2_500, False, T0, T0 + 100)
STICKY = Window("canary", 2_500, True, T0, T0 + 100)
SHADOW = Window("shadow", 0, False, T0, T0 + 100)


def answer(number: int, version: str = "v1", right: bool | None = True, **more: Any) -> dict[str, Any]:
    """One answer ten seconds into the window; `right` None: no label yet."""
    row = {
        "at": int((T0 + 10) * 1e6) + number, "ms": 2.0, "request_id": f"r{number}", "row": 0,
        "prediction_id": f"{version}{number:030x}-0", "version": version, "shadow": False, "key": "", "decision": True,
        "probability": 0.7, "row_json": f'{{"n":{number}}}', "label": None if right is None else int(right),
        "labelled_at": None if right is None else int((T0 + 50) * 1e6) + number,
    }  # fmt: skip
    return row | more


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=COLUMNS, orient="row")


def test_wrong_decisions_count_by_arm_in_the_order_of_their_labels_with_the_routing_of_their_request() -> None:
    later = Window("canary", 5_000, False, T0 + 20, T0 + 40)
    earlier = Window("canary", 500, False, T0, T0 + 15)
    found = wrong(
        frame(
            answer(1, "v2", right=False, labelled_at=900),
            answer(2, "v1", right=False, labelled_at=300),
            answer(3, "v2", right=True),
            answer(4, "v1", right=None),
            answer(5, "v2", right=False, labelled_at=600, at=int((T0 + 30) * 1e6)),
            answer(6, "v1", right=False, at=int((T0 + 17) * 1e6)),  # between two looks that differ
            answer(7, "v2", right=False, at=int((T0 + 20.5) * 1e6), ms=900.0),  # asked before the weight was known
        ),
        [earlier, later],
        "v2",
    )
    assert found.mine.tolist() == [False, True, True]
    assert found.routing.tolist() == [0.05, 0.5, 0.05]
    assert found.judged == 3


def test_rows_of_one_request_are_one_event() -> None:
    rows = [
        answer(1, "v2", right=i != 1, row=i, prediction_id=f"{'a' * 32}-{i}", labelled_at=100 + i) for i in range(5)
    ]
    assert wrong(frame(*rows), [CANARY], "v2").mine.tolist() == [], "the row that was known first was right"
    rows[1]["labelled_at"] = 50
    found = wrong(frame(*rows), [CANARY], "v2")
    assert (found.mine.tolist(), found.judged) == ([True], 1)


def test_under_a_sticky_split_a_key_counts_once_however_often_it_asks() -> None:
    hammering = [answer(n, "v2", right=False, key="bad") for n in range(500)]
    others = [answer(1_000 + n, "v1", right=n > 2, key=f"k{n}") for n in range(50)]
    found = wrong(frame(*hammering, *others), [STICKY], "v2")
    assert (int(found.mine.sum()), found.mine.size, found.judged) == (1, 4, 1)
    assert int(wrong(frame(*hammering, *others), [CANARY], "v2").mine.sum()) == 500, "by chance each is a draw"


def test_the_second_try_of_a_request_is_no_draw_and_request_ids_of_clients_are_no_proof() -> None:
    slow = [answer(1, "v2", right=False, request_id="x"), answer(2, "v1", right=False, request_id="x")]
    assert wrong(frame(*slow), [CANARY], "v2").mine.tolist() == [True]
    same = [answer(n, "v2" if n % 4 else "v1", right=False, request_id="always this") for n in range(40)]
    assert wrong(frame(*same), [CANARY], "v2").mine.size == 40


def test_a_shadow_counts_pairs_that_only_one_got_right_whichever_id_has_the_label() -> None:
    def pair(number: int, mine: bool, its: bool, *, labelled: str = "v1", **more: Any) -> list[dict[str, Any]]:
        label = {"label": 1, "labelled_at": 100 + number}
        none = {"label": None, "labelled_at": None}
        return [
            answer(number, "v1", decision=its, **{**(label if labelled == "v1" else none), **more}),
            answer(number, "v2", decision=mine, shadow=True, **{**(label if labelled == "v2" else none), **more}),
        ]  # fmt: skip

    rows = [*pair(1, True, False), *pair(2, False, True, labelled="v2"), *pair(3, True, True), *pair(4, False, False)]
    found = wrong_pairs(frame(*rows), [SHADOW], "v2")
    assert (found.mine.tolist(), found.routing.tolist(), found.judged) == ([False, True], [0.5, 0.5], 4)
    again = [row for n in range(10, 60) for row in pair(n, False, True, key="bad")]
    again += [row for n in range(60, 90) for row in pair(n, False, True, row_json='{"n":"poison"}')]
    found = wrong_pairs(frame(*rows, *again), [SHADOW], "v2")
    assert found.mine.tolist() == [False, True, True, True], "one of the key, one of the row"
    twice = [*pair(1, False, True), answer(9, "v1", request_id="r1")]
    assert wrong_pairs(frame(*twice), [SHADOW], "v2").judged == 0
    both = [answer(1, "v1", label=1), answer(1, "v2", label=0, shadow=True)]
    assert wrong_pairs(frame(*both), [SHADOW], "v2").judged == 0, "two labels that differ"
    unlabelled = [answer(1, "v1", None), answer(1, "v2", None, shadow=True)]
    assert wrong_pairs(frame(*unlabelled), [SHADOW], "v2").judged == 0


def test_a_label_more_or_the_same_again_changes_only_what_it_says() -> None:
    rng = np.random.default_rng(4)
    rows = [
        answer(n, "v2" if rng.random() < 0.25 else "v1", right=bool(rng.random() < 0.7), key=f"k{rng.integers(60)}")
        for n in range(400)
    ]
    whole = wrong(frame(*rows), [STICKY], "v2")
    shuffled = wrong(frame(*rows).sample(fraction=1, shuffle=True, seed=1), [STICKY], "v2")
    assert shuffled.mine.tolist() == whole.mine.tolist()
    earlier = frame(*rows).with_columns(
        pl.when(pl.col("labelled_at") < int((T0 + 50) * 1e6) + 200).then("label").alias("label")
    )
    before = wrong(earlier, [STICKY], "v2").mine.tolist()
    assert 0 < len(before) < whole.mine.size
    assert whole.mine.tolist()[: len(before)] == before, "what was counted stays as it was"


def test_coverage_and_what_was_answered_in_a_kind_of_step() -> None:
    ab = Window("ab", 5_000, True, T0, T0 + 100)
    rows = [answer(1), answer(2, right=None), answer(3, "v2"), answer(4, "v2", shadow=True), answer(5, at=1)]
    assert coverage(frame(*rows), [ab]) == {"v1": (2, 1), "v2": (2, 2)}
    assert within(frame(*rows), [ab], "ab").height == 3
    assert within(frame(*rows), [CANARY], "ab").height == 0
    assert coverage(frame(), []) == {}


@pytest.mark.parametrize("dead_s", [1.0, 5_000.0])
def test_windows_hold_what_the_edge_is_known_to_have_done(dead_s: float) -> None:
    canary = (Step("canary", weight=500, min_requests=1), Step("canary", weight=5_000, min_requests=1), FULL)
    rollout = Rollout("v2", "v1", "canary", canary, warm=True)
    windows = watch([], rollout, T0, goes_on=False, drawn=True)
    windows = watch(windows, rollout, T0 + dead_s, goes_on=True, drawn=True)
    assert windows == [Window("canary", 500, False, T0 + BEGINS_S, T0 + dead_s)], "with or without a driver"
    assert watch(windows, rollout, T0 + 9_000, goes_on=True, drawn=False) == windows, "it was taken out at some time"
    on = Rollout("v2", "v1", "canary", canary, warm=True, step=1)
    after = watch(windows, on, T0 + 9_001, goes_on=False, drawn=True)
    assert after[0] == windows[0]
    assert (after[1].begins, after[1].weight) == (T0 + 9_001 + BEGINS_S, 5_000)
