"""The shadow's answers as evidence: kept predictions in the servers' own format, compared as the release goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import serving_kit as kit

from greenlight.config import Params, Settings
from greenlight.core import prediction_record
from greenlight.core.prediction_record import Answered, Privacy
from greenlight.core.release_plan import FULL, Rollout, Step
from greenlight.operations.shadow_source import EVERY_S, SETTLED_S, ShadowSource

T0 = 1_764_200_000.0
SHADOW = Step("shadow", mirror=10_000, min_requests=50)
CANARY = Step("canary", weight=500, min_requests=50)
ROLLOUT = Rollout("v2", "v1", "plan", (SHADOW, CANARY, FULL), begun=T0, since=T0, warm=True)


@pytest.fixture
def source(tmp_path: Path) -> ShadowSource:
    return ShadowSource(Settings(root=tmp_path, home=tmp_path), Params.load(kit.ROOT / "params.yaml"))


def keep(home: Path, version: str, probabilities: dict[int, float], at: float = T0 + 1) -> None:
    """Answers by request number; the candidate's are those to copies."""
    folder = home / "predictions" / version
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, probability in probabilities.items():
        headers = [(b"x-request-id", f"r{number}".encode())] + ([(b"x-shadow", b"1")] if version == "v2" else [])
        body = json.dumps({"rows": [{"n": number}]}).encode()
        at_us = int(at * 1e6) + number
        answered = Answered(
            at_us, f"{number:032x}", headers, body, [probability], [probability > 0.5], 1.5, 200
        )  # fmt: skip
        lines.append(prediction_record.encode(answered, Privacy()))
    file = folder / f"{int(at * 1e6)}-1-{len(list(folder.glob('*.jsonl')))}.jsonl"
    file.write_bytes(prediction_record.header(version, Privacy()) + b"".join(lines))


def test_answers_that_are_alike_let_the_step_be_left(tmp_path: Path, source: ShadowSource) -> None:
    keep(tmp_path, "v1", dict.fromkeys(range(1000, 1400), 0.3), at=T0 - 1)  # asked before the edge copied anything
    seen, cursor = source.look(ROLLOUT, None, T0)
    assert seen.lacks
    assert not seen.against
    keep(tmp_path, "v1", dict.fromkeys(range(400), 0.3))
    keep(tmp_path, "v2", dict.fromkeys(range(400), 0.32))
    seen, cursor = source.look(ROLLOUT, cursor, T0 + EVERY_S / 2)
    assert seen.lacks, "not compared again so soon"
    seen, cursor = source.look(ROLLOUT, json.loads(json.dumps(cursor)), T0 + 10)
    assert (seen.lacks, seen.against) == ((), ())
    assert seen.notes["shadow"] == "400 rows answered by both, 0 decisions differ: go"
    report = json.loads((tmp_path / "serving/shadow/v2.json").read_text())
    assert report["decision"] == "go"
    assert report["difference"]["p50"] == pytest.approx(0.02, abs=1e-6)


def test_answers_that_differ_end_the_release(tmp_path: Path, source: ShadowSource) -> None:
    keep(tmp_path, "v1", dict.fromkeys(range(300), 0.3))
    keep(tmp_path, "v2", {n: 0.9 if n % 2 else 0.3 for n in range(300)})
    _, cursor = source.look(ROLLOUT, None, T0)
    seen, _ = source.look(ROLLOUT, cursor, T0 + 10)
    assert any(reason.startswith("flips: ") for reason in seen.against)


def test_copies_that_were_never_answered_end_the_release(tmp_path: Path, source: ShadowSource) -> None:
    keep(tmp_path, "v1", dict.fromkeys(range(400), 0.3))
    keep(tmp_path, "v2", dict.fromkeys(range(200), 0.3))
    _, cursor = source.look(ROLLOUT, None, T0)
    seen, _ = source.look(ROLLOUT, cursor, T0 + 10)
    assert any(reason.startswith("missing: ") for reason in seen.against)
    half = replace(ROLLOUT, steps=(replace(SHADOW, mirror=5_000), FULL))
    seen, _ = source.look(half, cursor, T0 + 20)
    assert seen.against == (), "half of the requests were not copied at all"


def test_what_was_just_asked_is_not_missed_yet(tmp_path: Path, source: ShadowSource) -> None:
    keep(tmp_path, "v1", dict.fromkeys(range(400), 0.3), at=T0 + 10)
    _, cursor = source.look(ROLLOUT, None, T0)
    seen, _ = source.look(ROLLOUT, cursor, T0 + 10 + SETTLED_S / 2)
    assert (seen.against, bool(seen.lacks)) == ((), True)


def test_in_other_steps_it_says_nothing(tmp_path: Path, source: ShadowSource) -> None:
    keep(tmp_path, "v1", dict.fromkeys(range(300), 0.3))
    seen, _ = source.look(replace(ROLLOUT, step=1), None, T0 + 10)
    assert (seen.lacks, seen.against, dict(seen.notes)) == ((), (), {})
