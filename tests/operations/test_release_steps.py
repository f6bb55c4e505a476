"""Releases by steps with the real edge, supervisor and bentos, under load that never stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serving_kit as kit
import yaml
from stack_kit import Load, Stack

from greenlight.adapters import bento, processes
from greenlight.adapters.edge import wait_until
from greenlight.operations import rollout as rollouts
from greenlight.operations import stack
from greenlight.operations.rollback import rollback

QUICK: dict[str, Any] = {
    "strategy": "plan", "plan": ["shadow", "canary", "full"], "look_s": 0.2, "patience_s": 30, "drain_s": 2,
    # Models of other seeds differ in far more decisions than a retrained one does.
    "shadow": {"min_requests": 50, "min_seconds": 1, "max_flips": 0.95, "max_far": 0.95, "max_slice_flips": None},
    "canary": {"percent": [5, 50, 100], "min_requests": 30, "min_seconds": 1},
    "guard": {"max_failures": 0.02, "max_slow": 0.2, "min_requests": 200},
}  # fmt: skip
RELEASE = (
    "import sys; from greenlight.config import Settings; from greenlight.operations.release import release\n"
    "print(release(Settings(root=sys.argv[1], edge_port=int(sys.argv[2]), workers=2), sys.argv[3]).outcome)"
)
# Each is a line put into a bento's own code that does nothing while its preflight is made: what a bad version does to
# real requests.
FAULTS = {
    "returns errors": 'raise RuntimeError("spilled coffee")',
    "answers NaN": 'return Scored([float("nan")] * len(rows), [False] * len(rows))',
    "hangs": "await asyncio.sleep(60)",
    "is much slower": "await asyncio.sleep(0.4)",
    "crashes after 50 requests": "globals().update(n=globals().get('n', 0) + 1); n > 50 and __import__('os')._exit(7)",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.project(tmp_path_factory.mktemp("built") / "project", 3).home


@pytest.fixture
def up(tmp_path: Path, built: Path) -> Iterator[Stack]:
    """v1 live; releases go by a quick plan."""
    made = Stack(kit.project(tmp_path / "project", 3, bentos=built))
    params = yaml.safe_load(made.settings.params_file.read_text())
    params["release"] |= QUICK
    made.settings.params_file.write_text(yaml.safe_dump(params))
    try:
        made.up()
        assert made.release("v1").outcome == "promoted", "the first release of all goes to all traffic at once"
        yield made
    finally:
        made.serving.supervisor.stop()
        assert not processes.marked(made.settings.home)


def break_after_preflight(up: Stack, version: str, fault: str) -> None:
    """A bento whose server does wrong from the moment on at which a file is there; its preflight passes without."""
    flag = up.settings.home / f"{version}.broken"
    code = bento.path_of("flight_delay", version, up.settings.home) / "src/bentos/classifier/scorer.py"
    text, at = code.read_text(), 'in this turn of the event loop."""\n'
    assert at in text
    line = f"        if __import__('os').path.exists({str(flag)!r}):\n            {FAULTS[fault]}\n"
    code.write_text(text.replace(at, at + line, 1))


@pytest.mark.slow
def test_a_healthy_version_takes_every_step_to_all_traffic(up: Stack) -> None:
    with Load(up.settings) as load:
        report = up.release("v2")
        moved = time.time()
        time.sleep(0.5)
    assert load.failures == []
    assert (report.outcome, report.version, report.previous, up.champion()) == ("promoted", "v2", "v1", "v2")
    assert all(version == "v2" for at, version in load.answers if at > moved)
    assert up.models() == {"v1", "v2"}
    assert report.evidence["requests"] >= 200
    assert report.evidence["notes"]["shadow"].endswith(": go")
    assert json.loads((up.settings.home / "serving/shadow/v2.json").read_text())["counts"]["rows"] >= 50
    reasons = [line["reason"] for line in up.serving.desired.history()]
    passed = [reason for reason in reasons if "passed" in reason and "step" in reason]
    assert passed[0].startswith("v2 at step 1 of 5, shadow 100 %"), passed
    assert rollback(up.settings).version == "v1" == up.version(), "and back it goes like any other"


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_version_that_does_wrong_is_rolled_back_and_nobody_notices(up: Stack, fault: str) -> None:
    break_after_preflight(up, "v2", fault)
    flag = up.settings.home / "v2.broken"
    with Load(up.settings) as load:
        process = subprocess.Popen(
            [sys.executable, "-c", RELEASE, str(up.settings.root), str(up.settings.edge_port), "v2"],
            cwd=kit.ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert wait_until(lambda: up.serving.desired.load().candidate == "v2", 60, 0.1), up.serving.desired.history()
        flag.touch()
        outcome = process.communicate(timeout=120)[0].strip()
        time.sleep(0.5)
    assert load.failures == []
    assert outcome == "rolled_back", up.serving.desired.load().last
    assert (up.version(), up.champion(), up.models()) == ("v1", "v1", {"v1"})


@pytest.mark.slow
def test_a_release_that_is_killed_goes_on_and_a_newer_one_waits_or_supersedes(up: Stack) -> None:
    """kill -9 of the driver, then of the edge; status tells; `up` keeps the step; then v3 in the place of v2."""
    with Load(up.settings) as load:
        process = subprocess.Popen(
            [sys.executable, "-c", RELEASE, str(up.settings.root), str(up.settings.edge_port), "v2"], cwd=kit.ROOT
        )

        def canary() -> bool:
            rollout = up.serving.desired.load().rollout
            return bool(rollout and rollout.current.kind == "canary")

        assert wait_until(canary, 60, 0.05), up.serving.desired.load().last
        process.kill()
        process.wait()
        shown = stack.status(up.settings).release
        assert shown["candidate"] == "v2"
        assert "canary" in shown["where"]
        queued = up.release("v3")
        assert (queued.outcome, queued.version) == ("waiting", "v1")
        assert "v2 at step" in queued.reason
        up.up()
        assert canary()
        assert up.models() == {"v1", "v2"}
        assert up.serving.edge.follows(rollouts.steps.traffic(up.serving.desired.load()))
        report = up.release("v2")
    assert load.failures == []
    assert report.outcome == "promoted"
    assert (up.version(), up.champion()) == ("v3", "v3"), up.lines
    state = up.serving.desired.load()
    assert (state.next, state.rollout, state.standby) == (None, None, ("v2",))


@pytest.mark.slow
def test_a_roll_back_ends_a_release_and_a_newer_version_supersedes_it(up: Stack) -> None:
    params = yaml.safe_load(up.settings.params_file.read_text())
    params["release"] |= {"patience_s": 1.0}
    up.settings.params_file.write_text(yaml.safe_dump(params))
    waits = up.release("v2", strategy="canary")
    assert (waits.outcome, waits.version) == ("waiting", "v1")
    assert "0 of 30 requests to v2" in waits.reason
    assert up.models() == {"v1", "v2"}
    assert up.version() == "v1"
    back = rollback(up.settings)
    assert (back.outcome, back.asked, back.version) == ("aborted", "v2", "v1")
    assert up.models() == {"v1"}
    assert up.release("v2", strategy="canary").outcome == "waiting"
    newer = up.release("v3", strategy="full", supersede=True)
    assert (newer.outcome, newer.version, up.version(), up.champion()) == ("promoted", "v3", "v3", "v3")
    assert up.models() == {"v1", "v3"}
    history = (up.settings.home / "serving" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["last"]["outcome"] for line in history if "superseded" in line][:1] == ["superseded"]
    pid = up.serving.supervisor.state("edge").pid
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: up.serving.edge.is_up() and up.serving.supervisor.state("edge").pid != pid, 30, 0.05)
    up.serving.edge.wait_healthy("v3", 2)
    assert up.version() == "v3"
