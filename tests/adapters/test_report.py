"""The evaluation report: complete, self-contained, the same bytes again, safe with any text in the data."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from evaluations import LIMITS, documents

from greenlight.adapters.pictures import INK, draw
from greenlight.adapters.report import render
from greenlight.adapters.strips import EDGE, WIDTH, strip
from greenlight.config import JudgedParams
from greenlight.core.gates import judge
from greenlight.limits import Override

METRICS, EVALUATION = documents()
VERDICT = judge(METRICS, EVALUATION, LIMITS)
PAGE = render(VERDICT, METRICS, EVALUATION)


class _Page(HTMLParser):
    """Tags, ids and text of a page, and whether every element is closed."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_asks_nothing_of_the_network() -> None:
    page = _Page(PAGE)
    assert not {"script", "link", "img", "iframe", "object", "image"} & set(page.tags)
    for name, value in page.attributes:
        if name in {"src", "href", "xlink:href", "data", "action"}:
            assert value.startswith("#"), (name, value)
    styles = re.sub(r"url\(#[^)]*\)", "", PAGE)
    assert "url(" not in styles
    assert "@import" not in styles


def test_it_holds_the_summary_every_check_the_pictures_and_every_slice() -> None:
    page = _Page(PAGE)
    text = " ".join(page.text.split())
    assert VERDICT.summary() in text
    for check in VERDICT.checks:
        assert check.name in text
        assert check.question in text
        assert check.explanation in text
    assert page.tags.count("figure") == 4
    assert all(
        f'aria-label="{check.name}: value, bounds and limit"' in PAGE
        for check in VERDICT.checks
        if check.evidence.get("low")
    )
    for row in EVALUATION["slices"]:
        assert f"{row['rows']:,}" in text
    assert "too small to test" in text


@pytest.mark.parametrize(("gap", "se", "passed"), [(0.02, 0.01, True), (-0.02, 0.06, None), (-0.4, 0.01, False)])
def test_a_gap_on_either_side_is_drawn_with_its_bounds_between_both_limits(
    gap: float, se: float, passed: bool | None
) -> None:
    metrics, evaluation = copy.deepcopy(METRICS), copy.deepcopy(EVALUATION)
    metrics["candidate"]["calibration_gap"] = gap
    evaluation["uncertainty"]["models"]["candidate"]["calibration_gap"]["se"] = se
    check = judge(metrics, evaluation, LIMITS).check("calibration_gap")
    bounds, limit = (check.evidence["low"], check.evidence["high"]), check.limit
    assert check.passed is passed
    assert sum(bounds) / 2 == pytest.approx(gap)
    assert limit is not None
    first, last = min(*bounds, -limit), max(*bounds, limit)

    drawn = str(strip(check))
    lines = [tuple(map(float, found)) for found in re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)"', drawn)]
    (dot,) = re.findall(r'<circle cx="([\d.]+)"', drawn)

    def at(value: float) -> float:
        return EDGE + (WIDTH - 2 * EDGE) * (value - first) / (last - first)

    ticks, (bar,) = lines[:2], lines[2:]
    assert [x for x, _ in ticks] == pytest.approx([at(-limit), at(limit)], abs=0.06)
    assert bar == pytest.approx(tuple(at(value) for value in bounds), abs=0.06)
    assert float(dot) == pytest.approx(at(gap), abs=0.06)


def test_the_page_says_who_overrode_a_gate_and_what_it_had_said() -> None:
    metrics = copy.deepcopy(METRICS)
    metrics["candidate"]["calibration_error"] = 0.9
    given = {"by": "Ada <b>", "reason": "Known since the strike", "expires": "2013-09-30"}
    limits = LIMITS.model_copy(update={"overrides": [Override(gate="max_calibration_error", **given)]})
    verdict = judge(metrics, EVALUATION, limits, judged=JudgedParams(day="2013-09-30"))
    page = render(verdict, metrics, EVALUATION)
    text = " ".join(_Page(page).text.split())
    assert verdict.decision == "promote"
    assert "Overridden by Ada <b> until 2013-09-30: Known since the strike" in text
    assert verdict.check("max_calibration_error").explanation in text
    assert "✕ failed" in text


def test_ids_are_unique_and_what_refers_to_them_finds_them() -> None:
    ids = [value for name, value in _Page(PAGE).attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', PAGE)) <= set(ids)


def test_the_same_evaluation_gives_the_same_bytes() -> None:
    assert render(VERDICT, copy.deepcopy(METRICS), copy.deepcopy(EVALUATION)) == PAGE


def test_pictures_have_the_page_colours_and_both_models() -> None:
    found = draw(EVALUATION, METRICS)
    assert set(found) == {"roc", "precision_recall", "calibration", "importance"}
    for name, svg in found.items():
        assert svg.startswith("<svg"), name
        assert not any(drawn in svg for drawn in INK)
        assert "<metadata" not in svg
        assert "DejaVu" not in svg
    for name in ("roc", "precision_recall", "calibration"):
        assert "var(--candidate)" in found[name]
        assert "var(--champion)" in found[name]


def test_without_a_champion_only_the_candidate_is_drawn() -> None:
    metrics, evaluation = documents(champion=False)
    page = render(judge(metrics, evaluation, LIMITS), metrics, evaluation)
    assert "var(--champion)" not in page.split("</style>")[1]
    assert "There is no champion to compare with" in page


def test_an_evaluation_without_curves_still_has_a_report() -> None:
    metrics, evaluation = copy.deepcopy(METRICS), copy.deepcopy(EVALUATION)
    evaluation["curves"] = {"candidate": None, "champion": None}
    metrics["candidate"] = dict.fromkeys(metrics["candidate"])
    metrics["holdout"]["base_rate"] = None
    verdict = judge(metrics, evaluation, LIMITS)
    page = _Page(render(verdict, metrics, evaluation))
    assert page.tags.count("figure") == 1
    assert verdict.decision == "inconclusive"  # not known is not bad, and does not pass either


@pytest.mark.parametrize("place", ["value", "feature", "version"])
def test_text_from_the_data_stays_text(place: str) -> None:
    metrics, evaluation = copy.deepcopy(METRICS), copy.deepcopy(EVALUATION)
    evil: Any = "<script>alert(1)</script>"
    if place == "value":
        evaluation["slices"][0]["value"] = evil
    elif place == "feature":
        evaluation["features"][0]["name"] = evil
    else:
        evaluation["models"]["champion"]["version"] = evil
    page = render(judge(metrics, evaluation, LIMITS), metrics, evaluation)
    assert "<script" not in page
    assert evil in _Page(page).text


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [("2013-07", "Neither model had seen it in training."), ("2013-08", "The champion was stopped on it.")],
)
def test_it_says_who_had_seen_the_holdout(seen: str, sentence: str) -> None:
    metrics, evaluation = copy.deepcopy(METRICS), copy.deepcopy(EVALUATION)
    evaluation["models"]["champion"]["stopped_on"] = seen
    assert sentence in render(judge(metrics, evaluation, LIMITS), metrics, evaluation)
