"""A release to come, written down for Kubernetes step by step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import retrain_kit as kit
import yaml

from greenlight.adapters.desired import DesiredState
from greenlight.adapters.git import Repository
from greenlight.adapters.kubernetes import Cluster
from greenlight.adapters.registry import Registry
from greenlight.config import Params, Settings
from greenlight.core.release import Desired
from greenlight.errors import NotFound, UsageError
from greenlight.operations.render import render, write
from greenlight.wiring import Project

CLUSTER = Cluster("registry.example/flight-delay:{version}")
PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two versions, the first of which serves."""
    root = tmp_path_factory.mktemp("render") / "repo"
    root.mkdir()
    kit.git(root, "init", "-q")
    shutil.copy(PARAMS, root)
    repository = Repository(root)
    registry = Registry(repository, "flight_delay")
    for name in ("v1", "v2"):
        (root / "a").write_text(name)
        repository.run("add", ".")
        repository.run("commit", "-q", "-m", name)
        registry.register(repository.run("rev-parse", "HEAD").strip(), f"run-of-{name}")
    settings = Settings(root=root, home=root.parent / "home")
    with DesiredState(settings.home).changing("test"):
        DesiredState(settings.home).save(Desired(generation=1, live="v1"), "test")
    return Project(settings, Params.load(root / "params.yaml"), repository, registry)


def weights(content: str) -> dict[str, int]:
    """Of `/predict`, by Service."""
    (route,) = yaml.safe_load_all(content)
    (rule,) = [
        rule for rule in route["spec"]["rules"] if {"path": {"type": "Exact", "value": "/predict"}} in rule["matches"]
    ]
    return {one["name"]: one.get("weight", 1) for one in rule["backendRefs"]}


def test_every_step_of_the_plan_is_a_route_and_so_is_the_way_back(project: Project) -> None:
    made = render(project, CLUSTER, version="v2", strategy="shadow,canary")
    names = list(made)
    assert names == [
        "workloads", "1-shadow-100", "2-canary-1", "3-canary-5", "4-canary-25", "5-canary-50", "6-canary-100", "7-full",
        "back",
    ]  # fmt: skip
    assert [weights(made[name]) for name in names[1:]] == [
        {"flight-delay-v1": 1},
        {"flight-delay-v2": 100, "flight-delay-v1": 9_900},
        {"flight-delay-v2": 500, "flight-delay-v1": 9_500},
        {"flight-delay-v2": 2_500, "flight-delay-v1": 7_500},
        {"flight-delay-v2": 5_000, "flight-delay-v1": 5_000},
        {"flight-delay-v2": 10_000, "flight-delay-v1": 0},
        {"flight-delay-v2": 1},
        {"flight-delay-v1": 1},
    ]
    objects: list[dict[str, Any]] = list(yaml.safe_load_all(made["workloads"]))
    runs = {
        one["metadata"]["name"]: one["metadata"]["annotations"]["greenlight/run"]
        for one in objects
        if one["kind"] == "Deployment"
    }
    assert runs == {"flight-delay-v1": "run-of-v1", "flight-delay-v2": "run-of-v2"}
    assert json.loads(json.dumps(objects)) == objects, "no tuples, no anchors"
    assert "&id" not in made["workloads"]
    budget = project.params.preflight
    (container,) = objects[0]["spec"]["template"]["spec"]["containers"]
    assert container["startupProbe"]["failureThreshold"] == budget.max_start_s
    assert container["resources"]["limits"]["memory"] == f"{budget.max_memory_mb:g}Mi"


def test_without_a_version_it_is_what_serves(project: Project) -> None:
    made = render(project, CLUSTER)
    assert list(made) == ["workloads", "1-full"]
    assert weights(made["1-full"]) == {"flight-delay-v1": 1}


def test_files_are_whole_and_beside_no_other_yaml(project: Project, tmp_path: Path) -> None:
    made = render(project, CLUSTER, version="v2", strategy="full")
    files = write(made, tmp_path / "out")
    assert [path.read_text() for path in files] == list(made.values())
    assert write(made, tmp_path / "out") == files, "again into the same folder"
    (tmp_path / "out" / "other.yml").write_text("a: 1")
    with pytest.raises(UsageError, match=r"other YAML in it: other\.yml"):
        write(made, tmp_path / "out")


def test_what_cannot_be_rendered_says_why(project: Project) -> None:
    with pytest.raises(UsageError, match="v1 serves already"):
        render(project, CLUSTER, version="v1")
    with pytest.raises(NotFound, match="v9"):
        render(project, CLUSTER, version="v9")
    with pytest.raises(UsageError, match="split by key"):
        render(project, CLUSTER, version="v2", strategy="ab")
    assert list(render(project, CLUSTER, version="v1", stable="v2", strategy="canary"))[-1] == "back"
