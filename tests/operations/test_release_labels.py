"""Late truth decides a release: real rows of a month are played, and what became of them is posted a second later."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import serving_kit as kit
import yaml
from stack_kit import Stack

from greenlight.adapters import bento, processes
from greenlight.adapters.prediction_log import PredictionLog
from greenlight.adapters.waiting import wait_until
from greenlight.core.assignment import assign, split
from greenlight.core.late_labels import Window
from greenlight.operations import stack
from greenlight.operations.evidence import EvidenceFile
from greenlight.operations.label_source import report_path
from greenlight.operations.release import ReleaseReport
from greenlight.operations.traffic import TrafficReport, Wish, play

QUICK: dict[str, Any] = {
    "look_s": 0.3, "patience_s": 60, "longest_s": 120, "drain_s": 1,
    # Only labels end this canary.
    "canary": {"percent": [50], "min_requests": 1_000_000, "min_seconds": 1},
    "ab": {"percent": 50, "min_requests": 50, "days": 1 / 86_400, "min_labels": 60, "hypothesis": "saying no is better"},
    "guard": {"max_failures": 0.03, "max_slow": 0.5, "min_requests": 150},
}  # fmt: skip
# A flight of September 2013 is late in one case of eight: who says no to everybody is rarely wrong, who says yes often.
SAYS = """        word = __import__('pathlib').Path({flag!r})
        if word.exists():
            late = word.read_text() == 'yes'
            return Scored([0.9 if late else 0.1] * len(rows), [late] * len(rows))
"""


class Answering(Stack):
    """A stack whose versions say the same to every row, from the moment on at which a test wants it."""

    def prepare(self, *versions: str) -> None:
        """A bento that passes its preflight as it was built."""
        for version in versions:
            code = bento.path_of("flight_delay", version, self.settings.home) / "src/bentos/classifier/scorer.py"
            text, at = code.read_text(), 'in this turn of the event loop."""\n'
            assert at in text
            code.write_text(text.replace(at, at + SAYS.format(flag=str(self.flag(version))), 1))

    def flag(self, version: str) -> Path:
        return self.settings.home / f"{version}.says"

    def says(self, **words: str) -> None:
        for version, word in words.items():
            self.flag(version).write_text(word)

    def release_that_says(self, version: str, word: str, strategy: str) -> ReleaseReport:
        """Release a version that passes its preflight as it was built, and says `word` as soon as it is a candidate."""
        self.flag(version).unlink(missing_ok=True)

        def turn() -> None:
            assert wait_until(lambda: self.serving.desired.load().candidate == version, 120, 0.1)
            self.says(**{version: word})

        turning = threading.Thread(target=turn)
        turning.start()
        try:
            return self.release(version, strategy=strategy)
        finally:
            turning.join(1)

    def set(self, **release: Any) -> None:
        params = yaml.safe_load(self.settings.params_file.read_text())
        params["release"] |= release
        self.settings.params_file.write_text(yaml.safe_dump(params))

    @contextmanager
    def traffic(self, labels_after_s: float | None, duration_s: float = 40) -> Iterator[list[TrafficReport]]:
        """Rows of the month, all the while; the report is there at the end."""
        found: list[TrafficReport] = []
        wish = Wish(period="2013-09", rate=40, duration_s=duration_s, labels_after_s=labels_after_s, key="tailnum")
        thread = threading.Thread(target=lambda: found.append(play(self.settings, wish)))
        thread.start()
        try:
            yield found
        finally:
            thread.join(duration_s + 60)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answering]:
    """v1 live, v2 and v3 built."""
    made = Answering(kit.project(tmp_path_factory.mktemp("labels") / "project", 3))
    made.set(**QUICK)
    made.prepare("v1", "v2", "v3")
    try:
        made.up()
        assert made.release("v1", strategy="full").outcome == "promoted"
        yield made
    finally:
        made.serving.supervisor.stop()
        assert not processes.marked(made.settings.home)


@pytest.mark.slow
def test_a_candidate_that_is_fast_healthy_and_wrong_is_rolled_back_by_labels(up: Answering) -> None:
    up.says(v1="no")
    with up.traffic(labels_after_s=1) as played:
        report = up.release_that_says("v2", "yes", "canary")
    assert played[0].errors == {}
    assert (report.outcome, report.version, up.version()) == ("rolled_back", "v1", "v1"), report
    assert report.reason.startswith("wrong: more than 1.1 times as often as in the stable version"), report.reason
    assert "answers of v2 have a label" in report.notes()["labels"]
    assert "have a label" in report.markdown()
    failures = report.evidence["findings"][0]
    assert failures.startswith("failures: 0 in "), "nothing else spoke against it"


@pytest.mark.slow
def test_an_ab_test_waits_for_labels_then_the_winner_is_promoted_and_every_key_met_its_version(up: Answering) -> None:
    up.says(v1="yes")
    up.set(longest_s=12)
    with up.traffic(labels_after_s=None, duration_s=25) as played:
        waits = up.release_that_says("v3", "no", "ab")
    assert played[0].errors == {}
    assert (waits.outcome, waits.version) == ("waiting", "v1")
    assert "A/B: keys with a label are missing: 60 more of v3 and 60 more of v1" in waits.reason
    shown = stack.status(up.settings).release
    assert shown["hypothesis"] == "saying no is better"
    assert "0 of " in shown["evidence"]["notes"]["labels"]
    salt = up.serving.desired.load().rollout.salt  # type: ignore[union-attr]
    up.set(longest_s=120)
    with up.traffic(labels_after_s=1) as played:
        report = up.release("v3")
    assert played[0].errors == {}
    assert (report.outcome, report.version, up.champion(), up.version()) == ("promoted", "v3", "v3", "v3"), report
    ended = up.serving.desired.load().last
    assert ended
    assert "v3 is better" in ended.reason
    assert "advantage +" in report.markdown()
    found = json.loads(report_path(up.settings.home, "v3").read_text())
    assert (found["decision"], found["sample_ratio_mismatch"], found["elsewhere"]) == ("better", False, 0)
    assert found["test"]["hypothesis"] == "saying no is better"
    assert 0 < found["advantage"]["low"] < found["advantage"]["high"]
    cursor = EvidenceFile(up.settings.home).read()["cursors"]["labels"]
    sent = pl.any_horizontal(Window(**window).sent() for window in cursor["windows"])
    kept = PredictionLog(up.settings.home).scan().filter(sent & (pl.col("key") != "")).collect()
    assert kept.height > 300
    recomputed = [assign(key, salt, split("v3", 5_000, "v1")) for key in kept["key"]]
    assert recomputed == kept["version"].to_list()
    assert set(recomputed) == {"v1", "v3"}


@pytest.mark.slow
def test_an_ab_test_that_the_candidate_loses_ends_with_the_stable_version(up: Answering) -> None:
    live = up.serving.desired.load().live
    up.says(**{live: "no"})
    with up.traffic(labels_after_s=1):
        report = up.release_that_says("v2", "yes", "ab")
    assert (report.outcome, report.version) == ("rolled_back", live), report
    assert "A/B: accuracy of v2" in report.reason
    assert report.reason.endswith("v2 is worse")
    assert json.loads(report_path(up.settings.home, "v2").read_text())["advantage"]["high"] < 0
    assert up.version() == live
