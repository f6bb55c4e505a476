"""Late labels as evidence: kept predictions in the servers' own format, a real book of labels, looked at as a release."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import serving_kit as kit

from greenlight.adapters.label_book import LabelBook
from greenlight.adapters.prediction_log import PredictionLog
from greenlight.config import Params, Settings
from greenlight.core import prediction_record
from greenlight.core.assignment import assign, split
from greenlight.core.prediction_record import Answered, Privacy
from greenlight.core.release_evidence import Evidence, Seen
from greenlight.core.release_plan import FULL, Rollout, Step
from greenlight.operations import evidence as known
from greenlight.operations.label_source import LabelSource, NoLabels, report_path

# Labels are dated by the clock, so that the release has to begin about now.
T0 = round(time.time()) - 200.0
CANARY = Rollout("v2", "v1", "canary", (Step("canary", weight=5_000, min_requests=10), FULL), T0, T0, warm=True)
AB = Rollout(
    "v2", "v1", "ab", (Step("ab", weight=5_000, sticky=True, min_requests=10, hypothesis="it is better"), FULL), T0, T0,
    warm=True, salt="s",
)  # fmt: skip
SHADOW = Rollout("v2", "v1", "shadow", (Step("shadow", mirror=10_000, min_requests=10), FULL), T0, T0, warm=True)


def params(**release: Any) -> Params:
    loaded = Params.load(kit.ROOT / "params.yaml")
    asked = loaded.release
    changes = {name: getattr(asked, name).model_copy(update=changed) for name, changed in release.items()}
    return loaded.model_copy(update={"release": asked.model_copy(update=changes)})


class Place:
    """A home with kept predictions, and a release that is looked at."""

    def __init__(self, home: Path, rollout: Rollout, **release: Any) -> None:
        self.home, self.rollout, self.params = home, rollout, params(**release)
        self.evidence = Evidence(rollout.id, known.limits(self.params, rollout), 50)
        self.source, self.now, self.well, self.part = self.driver(), T0, True, 0
        self.look(0)
        self.look(50)

    def driver(self) -> LabelSource:
        """What a new process has."""
        return LabelSource(Settings(root=self.home, home=self.home), self.params, lambda _: self.well)

    def look(self, seconds: float = 1_000) -> None:
        """So much later that nothing is put off, however busy this machine is."""
        self.now += seconds
        known.look([self.source], self.rollout, self.evidence, self.now)
        self.evidence = Evidence.from_json(json.loads(json.dumps(self.evidence.to_json())), self.evidence.limits)

    def keep(
        self,
        number: int,
        version: str,
        decision: bool = True,
        *,
        key: str = "",
        shadow: bool = False,
        at: float = T0 + 20,
        **more: str,
    ) -> str:
        """One answer; returns the name of its prediction."""
        folder = self.home / "predictions" / version
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{version[1:]}{number:031x}"
        headers = {"x-request-id": f"r{number}", "x-greenlight-key": key, "x-shadow": "1" if shadow else "", **more}
        sent = [(k.encode(), v.encode()) for k, v in headers.items() if v]
        body = json.dumps({"rows": [{"n": number}]}).encode()
        answered = Answered(int(at * 1e6) + number, name, sent, body, [0.8 if decision else 0.2], [decision], 1.5, 200)
        file = folder / f"{int(T0 * 1e6)}-1-{self.part}.jsonl"
        if not file.exists():
            file.write_bytes(prediction_record.header(version, Privacy()))
        with file.open("ab") as out:
            out.write(prediction_record.encode(answered, Privacy()))
        return f"{name}-0"

    def label(self, names: list[str], truth: bool = True) -> None:
        LabelBook(self.home).take([(name, truth) for name in names])

    def comparison(self, name: str = "wrong") -> tuple[int, int, int]:
        its = self.evidence.guard.comparisons[name]
        return its.candidate_failures, its.failures, self.evidence.guard.judged[name]


def test_wrong_decisions_of_a_canary_roll_it_back_once_their_labels_come(tmp_path: Path) -> None:
    place = Place(tmp_path, CANARY)
    mine = [place.keep(2 * n, "v2", decision=n % 2 == 0) for n in range(200)]
    its = [place.keep(2 * n + 1, "v1", decision=n % 10 != 0) for n in range(200)]
    place.keep(5_000, "v2", False, **{"x-model-pin": "v2"})
    place.look()
    assert place.comparison() == (0, 0, 0)
    assert place.evidence.notes["labels"] == "0 of 200 answers of v1 have a label; 0 of 200 answers of v2 have a label"
    place.label(mine[:10] + its[:10])
    place.look()
    assert place.comparison() == (5, 6, 10)
    assert place.evidence.judge(place.rollout).move == "hold"
    place.label(mine + its)
    place.label(mine + its)
    place.label(mine, truth=False)
    place.look()
    assert place.comparison() == (100, 120, 200), "twice, or contradicted, it counts once"
    judged = place.evidence.judge(place.rollout)
    assert judged.move == "roll_back"
    assert judged.reasons[0].startswith("wrong: more than 1.1 times as often as in the stable version (100 of 120")
    assert "wrong: more than" in known.shown(place.evidence.to_json())["findings"][2]


def test_a_driver_that_is_killed_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    place = Place(tmp_path, CANARY)
    names = [place.keep(n, "v2" if n % 2 else "v1", decision=n % 7 != 0) for n in range(300)]
    early = LabelBook(tmp_path)
    early.take([("f" * 32 + "-0", True)])  # of a prediction that nobody knows
    place.label(names[:100])
    place.look()
    before = place.comparison()
    left = Evidence.from_json(json.loads(json.dumps(place.evidence.to_json())), place.evidence.limits)
    place.label(names[100:200])
    place.look()
    PredictionLog(tmp_path).compact(1024)
    place.part += 1
    place.evidence, place.source = left, place.driver()  # the last look was not written
    place.label(names[200:])
    place.look(1_000)
    wrong = [n for n in range(300) if n % 7 == 0]
    assert place.comparison() == (sum(n % 2 for n in wrong), len(wrong), 150)
    assert before[1] == sum(n < 100 for n in wrong)
    place.keep(9_001, "v2", False, at=T0 + 900)
    place.label(["2" + f"{9_001:031x}-0"])
    place.look()
    assert place.comparison()[2] == 151, "while nobody drove the edge went on as before"
    place.well = False
    place.look()
    place.keep(9_002, "v2", False, at=place.now + 3)
    place.look(5)
    place.label(["2" + f"{9_002:031x}-0"])
    place.look()
    assert place.comparison()[2] == 151, "what the edge did while the candidate was out is not known"


def test_labels_are_waited_for_only_where_it_is_asked(tmp_path: Path) -> None:
    asked = Place(tmp_path / "asked", CANARY, guard={"min_labels": 20, "min_requests": 10})
    free = Place(tmp_path / "free", CANARY, guard={"min_requests": 10})
    for place in (asked, free):
        place.evidence.add("edge", Seen(5_000, 5_000, {}, 0.5), {}, place.now)
    assert free.evidence.judge(CANARY).move == "promote"
    assert asked.evidence.judge(CANARY).reasons == (
        "wrong: 0 of at least 20 labelled answers judged",
        "wrong: no labelled answers yet",
    )
    mine = [asked.keep(2 * n, "v2", decision=n % 4 != 0) for n in range(800)]
    its = [asked.keep(2 * n + 1, "v1", decision=n % 4 != 0) for n in range(800)]
    asked.label(mine + its)
    asked.look()
    assert asked.evidence.judge(CANARY).move == "promote"
    assert not any(
        measure.needed for name, measure in known.limits(asked.params, AB).guard().measures.items() if name == "wrong"
    )


def test_a_shadow_is_told_by_pairs_and_may_wait_for_them(tmp_path: Path) -> None:
    place = Place(tmp_path, SHADOW, shadow={"min_labels": 100})
    names = []
    for n in range(150):
        names.append(place.keep(n, "v1", True))
        place.keep(n, "v2", n % 3 != 0, shadow=True)
    place.label(names[:60])
    place.look()
    assert place.comparison("wrong_pairs") == (20, 20, 60)
    assert "60 of 100 labelled pairs of both versions' answers" in place.evidence.lacks["labels"]
    assert place.evidence.judge(SHADOW).move == "roll_back"


def test_an_ab_test_waits_for_labels_and_is_decided_by_them(tmp_path: Path) -> None:
    place = Place(tmp_path, AB, ab={"min_labels": 60, "margin": 0.05}, guard={"min_requests": 10})
    place.evidence.add("edge", Seen(5_000, 5_000, {}, 0.5), {}, place.now)
    names = {"v1": [], "v2": []}
    for n in range(400):
        version = assign(f"k{n % 200}", "s", split("v2", 5_000, "v1"))
        names[version].append(place.keep(n, version, version == "v2" or n % 3 != 0, key=f"k{n % 200}"))
    place.look()
    judged = place.evidence.judge(AB)
    assert judged.move == "hold"
    assert judged.reasons == (
        "A/B: keys with a label are missing: 60 more of v2 and 60 more of v1 (at least 60 of each version)",
    )
    place.label(names["v1"] + names["v2"])
    place.look()
    judged = place.evidence.judge(AB)
    assert judged.move == "promote", judged
    assert "v2 is better" in judged.reasons[0]
    report = json.loads(report_path(tmp_path, "v2").read_text())
    assert (report["release"], report["decision"], report["test"]["hypothesis"]) == (AB.id, "better", "it is better")
    assert report["advantage"]["low"] > 0
    assert (report["elsewhere"], report["sample_ratio_mismatch"]) == (0, False)
    assert known.shown(place.evidence.to_json())["notes"]["ab"] == judged.reasons[0]


def test_an_ab_test_that_goes_against_the_candidate_ends_it_at_once(tmp_path: Path) -> None:
    place = Place(tmp_path, replace(AB, steps=(replace(AB.steps[0], min_seconds=1e6), FULL)), ab={"min_labels": 60})
    names = []
    for n in range(200):
        version = assign(f"k{n}", "s", split("v2", 5_000, "v1"))
        names.append(place.keep(n, version, version == "v1" or n % 2 == 0, key=f"k{n}"))
    place.label(names)
    place.look()
    judged = place.evidence.judge(place.rollout)
    assert (judged.move, judged.reasons[0].endswith("v2 is worse")) == ("roll_back", True)


def test_without_kept_predictions_an_ab_test_says_what_it_waits_for() -> None:
    seen, _ = NoLabels(params()).look(AB, None, T0)
    assert "GREENLIGHT_PREDICTION_LOG_MB=0" in seen.lacks[0]
    assert NoLabels(params(ab={"min_labels": 0})).look(AB, None, T0)[0].lacks == ()
    assert NoLabels(params()).look(CANARY, None, T0)[0].lacks == ()


@pytest.mark.parametrize(
    "wrong", [{"ab": {"min_labels": 3}}, {"guard": {"wrong_margin": 2.0}}, {"ab": {"metric": "auc"}}]
)
def test_params_that_cannot_be_meant_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    import yaml

    from greenlight.errors import ConfigError

    raw = yaml.safe_load((kit.ROOT / "params.yaml").read_text())
    for section, values in wrong.items():
        raw["release"][section] |= values
    with pytest.raises(ConfigError, match=next(iter(next(iter(wrong.values()))))):
        Params.check(raw, where="params.yaml")
