"""How claims and evidence become a score."""

from __future__ import annotations

import pytest

from greenlight.core.ml_test_score import SECTIONS, Claim, Evidence, How, Item, card, examine


def item(section: str, number: int, *claims: Claim) -> Item:
    return Item(section, number, f"{section} {number}", claims)


def claim(how: How, *evidence: str) -> Claim:
    return Claim(how, f"done, {how}", tuple(Evidence("file", one) for one in evidence))


def test_the_score_is_the_smallest_section() -> None:
    items = [item(s, n, claim("automatic", "there")) for s in SECTIONS for n in range(1, 8)]
    items[-7:] = [item("monitoring", n, claim("manual", "there")) for n in range(1, 8)]
    found = card(examine(items, lambda one: True))
    assert found["sections"] == {"data": 7, "model": 7, "infrastructure": 7, "monitoring": 3.5}
    assert found["score"] == 3.5
    assert "strongly tested" in found["meaning"]


def test_a_claim_without_its_evidence_counts_nothing_and_the_next_one_is_asked() -> None:
    both = item("data", 1, claim("automatic", "there", "gone"), claim("manual", "there"))
    (finding,) = examine([both], lambda one: one.what == "there")
    assert (finding.how, finding.points, finding.missing) == ("manual", 0.5, ("file gone",))
    (nothing,) = examine([item("data", 1, claim("automatic", "gone"))], lambda one: False)
    assert (nothing.how, nothing.points) == ("none", 0)


def test_a_claim_that_names_no_evidence_counts_nothing() -> None:
    (finding,) = examine([item("data", 1, claim("automatic"))], lambda one: True)
    assert finding.points == 0


@pytest.mark.parametrize(("points", "words"), [(0, "no score"), (0.5, "serious holes"), (7, "strong levels")])
def test_the_meaning_is_the_sources(points: float, words: str) -> None:
    kinds: dict[float, list[How]] = {0: [], 0.5: ["manual"], 7: ["automatic"] * 7}
    items = [item(s, n, claim(how, "x")) for s in SECTIONS for n, how in enumerate(kinds[points])]
    assert words in card(examine(items, lambda one: True))["meaning"]
