"""The repository agrees with itself: dvc.yaml with the code, the code with its layers, the README with both."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
import yaml

from bentos.classifier.build import PACKED
from greenlight.config import INTERNAL, Params, Settings
from greenlight.stages.__main__ import STAGES

ROOT = Path(__file__).resolve().parents[1]
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = Params.load(ROOT / "params.yaml")


def modules_of(stage: str) -> set[str]:
    """Files of the package that the stage imports, however deep, and the dataset's own."""
    graph = grimp.build_graph("greenlight", cache_dir=None)
    names = {f"greenlight.stages.{stage}", "greenlight.stages.__main__"}
    for name in list(names):
        names |= graph.find_upstream_modules(name)
    files = set()
    for name in names:
        path = ROOT / name.replace(".", "/")
        files.add(f"{path.relative_to(ROOT)}/__init__.py" if path.is_dir() else f"{path.relative_to(ROOT)}.py")
    return files


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_that_a_stage_imports_is_among_its_dependencies(stage: str) -> None:
    deps = [Path(dep) for dep in DVC[stage]["deps"] if "$" not in dep]
    missing = {
        file
        for file in modules_of(stage)
        if not any(dep == Path(file) or dep in Path(file).parents for dep in deps) and Path(file).name != "__init__.py"
    }

    assert missing == set()


def test_a_bento_packs_every_module_that_the_packed_ones_import() -> None:
    def packed(name: str) -> bool:
        path = Path(name.replace(".", "/"))
        files = (path.with_suffix(".py"), path / "__init__.py")
        return any(Path(one) in (file, *file.parents) for one in PACKED for file in files if (ROOT / file).is_file())

    graph = grimp.build_graph("greenlight", "bentos", cache_dir=None)
    inside = {name for name in graph.modules if packed(name)}
    missing = {
        wanted for name in inside for wanted in graph.find_modules_directly_imported_by(name) if wanted not in inside
    }

    assert {"greenlight.core.gates", "bentos.classifier.api"} <= inside
    assert missing == set()


@pytest.mark.parametrize("stage", STAGES)
def test_the_lock_is_a_dependency_of_every_stage(stage: str) -> None:
    assert "requirements/all.txt" in DVC[stage]["deps"]


def test_stages_are_those_of_the_package_in_the_order_of_dvc_yaml() -> None:
    assert tuple(DVC) == STAGES
    for stage in STAGES:
        assert DVC[stage]["cmd"] == f"python -m greenlight.stages {stage}"
        assert (ROOT / "greenlight" / "stages" / f"{stage}.py").is_file()


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_that_a_stage_reads_is_declared(stage: str) -> None:
    """``params.<section>`` in the stage's own code, against the sections that DVC watches."""
    tree = ast.parse((ROOT / "greenlight" / "stages" / f"{stage}.py").read_text())
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"
    }
    declared = {name.split(".")[0] for name in DVC[stage]["params"]}

    assert read - {"paths"} <= declared


def test_no_stage_depends_on_a_file_that_is_not_there() -> None:
    for body in DVC.values():
        for dep in body["deps"]:
            assert "$" in dep or (ROOT / dep).exists(), dep


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("flow", ["retrain", "release", "rollback", "reproduce"])
def test_readme_names_every_flow(flow: str) -> None:
    assert flow in (ROOT / "README.md").read_text()


def test_readme_names_every_setting_end_state_and_stage() -> None:
    readme = (ROOT / "README.md").read_text()
    settings = {f"GREENLIGHT_{name.upper()}" for name in Settings.model_fields} - INTERNAL
    ends = {"Promoted", "KeptChampion", "Inconclusive", "NothingNew", "DataRejected", "Failed"}

    assert {word for word in settings | ends | set(STAGES) if word not in readme} == set()


def test_lock_names_no_host_and_has_hashes() -> None:
    text = (ROOT / "requirements" / "all.txt").read_text()

    assert "://" not in text
    assert text.count("--hash=sha256:") > text.count("==")


def test_no_module_takes_the_underscored_names_of_another() -> None:
    taken = {
        f"{path.relative_to(ROOT)}:{node.lineno} {alias.name}"
        for folder in ("greenlight", "flows", "bentos", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    }

    assert taken == set()


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports them by name alone, and refuses the second one."""
    names = [path.name for path in sorted((ROOT / "tests").rglob("*.py"))]
    assert sorted(set(names)) == sorted(names)


def test_every_reading_of_a_table_takes_its_path_literally() -> None:
    """Polars reads a path as a pattern unless it is told not to: 'a[1].parquet' would be the file a1.parquet."""
    readers = {"read_parquet", "scan_parquet", "read_csv", "scan_csv", "read_ipc", "scan_ipc", "read_ndjson"}
    readers |= {"scan_ndjson", "read_csv_batched", "read_parquet_schema", "read_parquet_metadata", "read_excel"}
    found, loose = 0, []
    for folder in ("greenlight", "bentos", "flows"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                if node.func.attr not in readers:
                    continue
                found += 1
                said = {key.arg: key.value for key in node.keywords}.get("glob")
                if not (isinstance(said, ast.Constant) and said.value is False):
                    loose.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found > 10
    assert not loose
