"""The whole, from the command line: a fresh clone becomes a live service, and everything about it can be undone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import retrain_kit as kit
import serving_kit

from greenlight import datasets
from greenlight.adapters import prefect, processes
from greenlight.adapters.desired import DesiredState
from greenlight.config import Settings
from greenlight.operations import stack


@dataclass(frozen=True)
class Clone:
    """A clone, and the environment of somebody who has set nothing up: no home, no name in Git."""

    root: Path
    environment: dict[str, str]

    @property
    def settings(self) -> Settings:
        ports = {name: int(self.environment[f"GREENLIGHT_{name.upper()}"]) for name in ("edge_port", "prefect_port")}
        return Settings(root=self.root, **ports)  # type: ignore[arg-type]

    def start(self, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "greenlight.cli", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.root, env=os.environ | self.environment, stdout=pipe, stderr=pipe, text=True
        )

    def greenlight(self, *args: str, status: int = 0) -> Any:
        """The answer of a command, from JSON."""
        process = self.start(*args, *([] if args[0] == "down" else ["--json"]))
        out, err = process.communicate(timeout=400)
        assert process.returncode == status, err
        assert "Traceback" not in err
        return json.loads(out) if out else err

    def ask(self) -> dict[str, Any]:
        """The answer of the service to the example row."""
        row = datasets.load("flight_delay").request.EXAMPLE
        url, body = f"{self.settings.edge_url}/predict", json.dumps({"rows": [row]}).encode()
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            found: dict[str, Any] = json.load(reply)
        return found


# Releases as params.yaml ships them, with steps that seconds of traffic are enough for: so few trees, of one month, differ
# in more decisions than real ones do.
BY_PLAN: dict[str, Any] = {
    "release.strategy": "plan",
    "release.quiet_s": 3,
    "release.shadow.min_requests": 40,
    "release.shadow.min_seconds": 1,
    "release.shadow.max_flips": 0.9,
    "release.shadow.max_far": 0.9,
    "release.shadow.max_slice_flips": None,
    "release.canary.percent": [50, 100],
    "release.canary.min_requests": 30,
    "release.canary.min_seconds": 1,
    "release.guard.max_failures": 0.1,
    "release.guard.max_slow": 0.6,
    "release.guard.min_requests": 100,
}


@pytest.fixture
def clone(make_checkout: Callable[[], Path], tmp_path: Path) -> Iterator[Clone]:
    """Small parameters, releases at once, committed, in a folder whose name is no plain ASCII word."""
    yield from cloned(make_checkout(), tmp_path, kit.SMALL)


@pytest.fixture
def planned(make_checkout: Callable[[], Path], tmp_path: Path) -> Iterator[Clone]:
    """The same with releases by the plan."""
    yield from cloned(make_checkout(), tmp_path, kit.SMALL | BY_PLAN)


def cloned(source: Path, tmp_path: Path, params: dict[str, Any]) -> Iterator[Clone]:
    kit.change(source, params)
    kit.git(source, "commit", "-q", "-a", "-m", "Small")
    root = tmp_path / "mein Übungsordner"
    kit.git(tmp_path, "clone", "-q", str(source), str(root))
    kit.git(root, "config", "user.useConfigOnly", "true")
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PYTHONPATH": str(root),
        "GREENLIGHT_EDGE_PORT": str(serving_kit.free_port()),
        "GREENLIGHT_PREFECT_PORT": str(serving_kit.free_port()),
        "GREENLIGHT_WORKERS": "1",
    }
    found = Clone(root, environment)
    try:
        yield found
    finally:
        stack.down(found.settings)


def test_from_a_clean_clone_to_a_live_service_and_back(planned: Clone) -> None:
    """The first version serves at once; the second waits, since nobody asks, and takes all traffic when told to."""
    clone = planned
    first = clone.greenlight("retrain")
    assert (first["outcome"], first["version"], first["run"][:7]) == ("Promoted", "v1", "2013-03")
    assert Path(first["reports"]["evaluation"]).is_file()
    assert Path(first["reports"]["data docs"]).is_file()
    answer = clone.ask()["predictions"][0]
    assert answer["model_version"] == "v1"
    assert 0 < answer["probability"] < 1
    done = subprocess.run(first["example"], shell=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["predictions"][0]["probability"] == answer["probability"]

    again = clone.greenlight("reproduce", first["run"])
    assert again["verdict"] == "identical"
    assert len(again["outputs"]) == 13
    assert all(output["recorded"] == output["reproduced"] for output in again["outputs"])

    second = clone.greenlight("retrain")
    assert (second["outcome"], second["version"], second["run"][:7]) == ("Waiting", "v2", "2013-04")
    assert "v2 waits (for 0 of 40 requests to v2 in shadow 100 %" in second["reason"]
    assert "greenlight traffic" in second["next"]
    assert "greenlight release v2 --strategy full" in second["next"]
    assert clone.ask()["predictions"][0]["model_version"] == "v1"
    waits = clone.greenlight("status")
    assert (waits["live"]["version"], waits["release"]["candidate"]) == ("v1", "v2")
    taken = clone.greenlight("release", "v2", "--strategy", "full")
    assert (taken["outcome"], taken["version"], taken["previous"]) == ("promoted", "v2", "v1")
    assert clone.ask()["predictions"][0]["model_version"] == "v2"
    runs = clone.greenlight("runs")
    assert [(run["name"], run["as_of"], run["outcome"], run["version"]) for run in runs] == [
        (second["run"], "2013-04", "Promoted", "v2"),
        (first["run"], "2013-03", "Promoted", "v1"),
    ]
    assert all(run["created"] and run["metrics"]["roc_auc"] > 0.5 for run in runs)

    assert clone.greenlight("rollback")["version"] == "v1"
    assert clone.ask()["predictions"][0] | {"prediction_id": ""} == answer | {"prediction_id": ""}
    status = clone.greenlight("status")
    assert (status["up"], status["live"]["version"], status["live"]["run"]) == (True, "v1", first["run"])
    assert [entry["version"] for entry in status["history"]] == ["v1", "v2", "v1"]
    with urllib.request.urlopen(status["urls"]["prefect"], timeout=10) as page:
        assert page.status == 200

    clone.greenlight("down")
    assert not processes.marked(clone.settings.home)
    down = clone.greenlight("status")
    assert (down["up"], down["live"]["version"]) == (False, "v1")
    assert kit.git(clone.root, "status", "--porcelain") == ""
    assert list(Path(clone.environment["HOME"]).iterdir()) == []


@pytest.mark.slow
def test_the_second_merge_finds_every_version_though_the_checkout_step_deletes_tags(
    clone: Clone, tmp_path: Path
) -> None:
    """What .github/workflows/cd.yml does, twice: check out as the runner would, up, retrain, status, backup."""
    origin = tmp_path / "origin.git"
    kit.git(tmp_path, "clone", "-q", "--bare", str(clone.root), str(origin))
    kit.git(clone.root, "remote", "set-url", "origin", str(origin))
    for merge, as_of in enumerate(("2013-03", "2013-04")):
        refs = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
        if not merge:  # the first version is not pushed, as where origin takes nothing
            kit.git(clone.root, "checkout", "-q", "--detach", "HEAD")
        kit.git(clone.root, "fetch", "-q", "--prune", "origin", *refs)
        kit.git(clone.root, "checkout", "-q", "--force", "--detach", "refs/remotes/origin/main")
        if merge:
            assert kit.git(clone.root, "tag", "-l") == ""
            stack.down(clone.settings)  # the machine was restarted, too
        clone.greenlight("up")
        if merge:
            assert clone.ask()["predictions"][0]["model_version"] == "v1"
        clone.greenlight("retrain", "--as-of", as_of)
        assert clone.greenlight("status")["live"]["version"]
    runs = clone.greenlight("runs")
    assert {run["version"] for run in runs if run["version"]} >= {"v1"}
    assert "flight_delay@v1.0.0" in kit.git(clone.root, "tag", "-l")
    clone.greenlight("backup")
    pushed = kit.git(origin, "for-each-ref", "--format=%(refname)")
    assert "refs/tags/flight_delay@v1.0.0" in pushed
    assert "refs/greenlight/tags/flight_delay@v1.0.0" in pushed
    kit.git(clone.root, "fetch", "-q", "--prune", "origin", "+refs/tags/*:refs/tags/*")
    assert "flight_delay@v1.0.0" in kit.git(clone.root, "tag", "-l")


@pytest.mark.slow
def test_a_machine_that_goes_down_in_the_middle_of_a_run(clone: Clone) -> None:
    """Everything is killed at once; the same command brings all of it back and finishes the job."""
    clone.greenlight("retrain")
    following = clone.start("retrain")
    runs = clone.settings.home / "runs"
    until = time.monotonic() + 120
    while not list(runs.glob("2013-04-*/reports/validation.json")):
        assert time.monotonic() < until
        time.sleep(0.1)
    for pid in processes.marked_pids(clone.settings.home):
        psutil.Process(pid).kill()
    following.kill()
    following.communicate()

    second = clone.greenlight("retrain")

    assert (second["outcome"], second["version"]) == ("Promoted", "v2")
    assert clone.ask()["predictions"][0]["model_version"] == "v2"
    listed = [(run["as_of"], run["outcome"], run["version"]) for run in clone.greenlight("runs")]
    assert listed == [("2013-04", "Promoted", "v2"), ("2013-04", "Failed", ""), ("2013-03", "Promoted", "v1")]
    assert [entry["version"] for entry in clone.greenlight("status")["history"]] == ["v1", "v2"]


@pytest.mark.slow
def test_a_release_that_waits_goes_on_by_itself_once_somebody_asks_and_a_retrain_under_traffic_needs_nobody(
    planned: Clone,
) -> None:
    assert planned.greenlight("retrain")["version"] == "v1"
    assert planned.greenlight("retrain")["outcome"] == "Waiting"
    again = planned.greenlight("retrain")
    assert (again["outcome"], again["version"]) == ("Waiting", "v2"), "the same version, and no third one"
    traffic = planned.start("traffic", "--rate", "40", "--duration", "400", "--json")
    store = DesiredState(planned.settings.home)
    try:
        until = time.monotonic() + 180
        while store.load().live != "v2":
            assert time.monotonic() < until, store.history()[-3:]
            time.sleep(0.5)
        last = store.load().last
        assert last
        assert (last.outcome, last.stable) == ("promoted", "v1")
        third = planned.greenlight("retrain")
        assert (third["outcome"], third["version"]) == ("Promoted", "v3"), third["reason"]
        assert [
            step["reason"] for step in store.history(200) if "v3 at step 1 of 4, shadow 100 % passed" in step["reason"]
        ]
    finally:
        traffic.send_signal(signal.SIGINT)
        played = json.loads(traffic.communicate(timeout=60)[0])
    assert played["errors"] == {}
    assert set(played["versions"]) == {"v1", "v2", "v3"}
    runs = prefect.request(
        planned.settings, "POST", "/flow_runs/filter", {"flow_runs": {"tags": {"all_": ["release-watch"]}}}
    )
    assert len(runs) == 1, "one flow run, and only once somebody asked"
