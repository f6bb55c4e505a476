"""Look for the evidence behind every claim of the ML Test Score, in this checkout; run the tests named, if asked to."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import yaml

from greenlight import datasets
from greenlight.core.gates import GATES
from greenlight.core.ml_test_score import Evidence, card, examine
from greenlight.errors import UsageError
from greenlight.proof.score_items import ITEMS
from greenlight.wiring import Project

Log = Callable[[str], None]
SKIPPING = {"skip", "skipif", "xfail"}


def scorecard(project: Project, *, run: bool = False, log: Log = lambda _: None) -> dict[str, Any]:
    """The score with the evidence per test; see `greenlight.core.ml_test_score.card`.

    Parameters
    ----------
    run : bool
        Also run the tests that are evidence; one that fails is none.

    Raises
    ------
    UsageError
        The checkout has no tests.
    """
    look = _Look(project)
    if not (look.root / "tests").is_dir():
        raise UsageError("there are no tests to look at", where=str(look.root / "tests"), todo="use a full checkout")
    if run:
        wanted = {one.what for item in ITEMS for claim in item.claims for one in claim.evidence if one.kind == "test"}
        look.run(sorted(node for what in wanted for node in look.nodes(what)), log)
    return card(examine(ITEMS, look.holds)) | {"ran_tests": run}


class _Look:
    """Finds pieces of evidence in one checkout."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.root = project.settings.root
        self.failed: set[str] = set()

    def holds(self, evidence: Evidence) -> bool:
        """Whether it is there; an unknown kind is a mistake in the claims."""
        look: Callable[[str], bool] = getattr(self, f"_{evidence.kind}")
        return look(evidence.what)

    def run(self, nodes: list[str], log: Log) -> None:
        """Run tests, one process each, and remember which fail."""
        for node in nodes:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-m", "not gpu", node],
                cwd=self.root,
                capture_output=True,
                text=True,
                check=False,
            )
            log(f"{'passed' if done.returncode == 0 else 'FAILED'}  {node}")
            if done.returncode:
                self.failed.add(node)

    def _test(self, what: str) -> bool:
        nodes = self.nodes(what)
        return bool(nodes) and not self.failed & set(nodes)

    def nodes(self, what: str) -> list[str]:
        """The test functions of a file by that name, or pattern, that are not skipped whatever happens."""
        path, _, name = what.partition("::")
        if not (self.root / path).is_file():
            return []
        functions = (
            node
            for node in ast.parse(self._read(path)).body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )
        return [f"{path}::{one.name}" for one in functions if fnmatchcase(one.name, name) and not _skipped(one)]

    def _gate(self, what: str) -> bool:
        return any(gate.name == what for gate in GATES)

    def _stage(self, what: str) -> bool:
        return bool(what in yaml.safe_load(self._read("dvc.yaml"))["stages"])

    def _expectations(self, what: str) -> bool:
        contract = datasets.load(self.project.params.dataset).contract.CONTRACT
        return bool(sum(one.severity == "stop" for one in contract.every) >= int(what))

    def _file(self, what: str) -> bool:
        return bool(self.project.repository.run("ls-files", "--", what))

    def _text(self, what: str) -> bool:
        path, _, words = what.partition("::")
        return (self.root / path).is_file() and words in " ".join(self._read(path).split())

    def _command(self, what: str) -> bool:
        """A command of that name in the code of the command line."""
        folder = self.root / "greenlight" / "cli"
        return any(f"def {what}(" in path.read_text(encoding="utf-8") for path in folder.glob("*.py"))

    def _read(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")


def _skipped(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a decorator skips the test whatever happens."""
    named = (node.func if isinstance(node, ast.Call) else node for node in function.decorator_list)
    return any(isinstance(node, ast.Attribute) and node.attr in SKIPPING for node in named)
