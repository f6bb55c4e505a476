"""The response cache: same answers, fewer scored rows, bounded, counted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import serving_kit as kit

from bentos.classifier.cache import MAX_ROWS, VARIABLE, Cache, key_of, size_wanted
from bentos.classifier.scorer import Scorer
from greenlight.adapters.model_servers import response_cache
from greenlight.config import Settings

ROW = kit.DATASET.request.Row


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer.load(kit.workspace(tmp_path_factory.mktemp("cache"), kit.small_model()))


def rows(count: int, seed: int) -> list[Any]:
    return [ROW.model_validate(row) for row in kit.requests(count, seed)]


def test_answers_are_those_without_it_and_repeated_rows_are_not_scored_again(scorer: Scorer) -> None:
    asked = [rows(5, 1), rows(3, 2), rows(5, 1) + rows(3, 3), rows(3, 2)[:1]]
    scorer.cache = None
    plain = [asyncio.run(scorer.submit(some)) for some in asked]
    scorer.cache = Cache(100)

    found = [asyncio.run(scorer.submit(some)) for some in asked]

    assert found == plain
    assert (scorer.cache.hits, scorer.cache.misses, len(scorer.cache)) == (6, 11, 11)
    scorer.unseen.clear()
    strange = [ROW.model_validate({**kit.requests(1)[0], "carrier": "ZZ"})]
    asyncio.run(scorer.submit(strange))
    asyncio.run(scorer.submit(strange))
    assert scorer.unseen == {"carrier": 1}, "the second time nothing was scored"


def test_it_is_bounded_and_what_was_not_asked_longest_goes_first(scorer: Scorer) -> None:
    scorer.cache = Cache(4)
    some = rows(6, 7)
    for row in [*some[:4], some[0], *some[4:]]:
        asyncio.run(scorer.submit([row]))
    assert len(scorer.cache) == 4
    assert [scorer.cache.get(key_of(row)) is not None for row in some] == [True, False, False, True, True, True]


def test_one_request_with_more_rows_than_it_keeps_is_answered_whole(scorer: Scorer) -> None:
    some = rows(20, 8)
    scorer.cache = None
    plain = asyncio.run(scorer.submit(some))
    scorer.cache = Cache(3)
    assert asyncio.run(scorer.submit(some)) == plain
    assert asyncio.run(scorer.submit(some)) == plain


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("5", 5), ("-1", 0), ("many", 0), ("", 0), ("9" * 12, MAX_ROWS), ("9" * 5000, 0)]
)
def test_the_variable_says_how_many_rows(text: str, size: int) -> None:
    assert size_wanted({VARIABLE: text}) == size


def test_off_unless_the_setting_says_otherwise(tmp_path: Path) -> None:
    assert size_wanted({}) == 0
    assert size_wanted(response_cache(Settings(root=tmp_path))) == 0
    assert size_wanted(response_cache(Settings(root=tmp_path, response_cache_rows=50))) == 50
