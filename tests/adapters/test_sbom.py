"""The bill of materials: what is installed, the same bytes each time, and valid by CycloneDX's own schema."""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from greenlight.adapters import sbom

LOCK = Path(__file__).resolve().parents[2] / "requirements" / "all.txt"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def bill(home: Path) -> bytes:
    return sbom.describe(LOCK, home)


def components(bill: bytes) -> dict[str, Any]:
    return {component["name"]: component for component in json.loads(bill)["components"]}


def test_it_is_valid(bill: bytes) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.decode()) is None
    wrong = (
        '{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": [{"type": "book", "name": "x"}]}'
    )
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(wrong)


def test_it_names_every_package_with_version_address_and_licence(bill: bytes) -> None:
    found = components(bill)

    assert {"xgboost", "numpy", "bentoml", "dvc", "python"} <= set(found)
    numpy = found["numpy"]
    assert numpy["version"] == version("numpy")
    assert numpy["purl"] == f"pkg:pypi/numpy@{version('numpy')}"
    assert found["xgboost"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    licensed = [name for name, component in found.items() if component.get("licenses")]
    assert len(licensed) > 0.9 * len(found)
    assert not [c for c in found.values() for lic in c.get("licenses", ()) if len(json.dumps(lic)) > 200]


def test_a_hash_stands_where_the_lock_leaves_no_choice() -> None:
    one, two = "a" * 64, "b" * 64
    number, other = version("numpy"), version("xgboost")
    lock = f"numpy=={number} \\\n    --hash=sha256:{one}\nxgboost=={other} \\\n    --hash=sha256:{one} \\\n    --hash=sha256:{two}\n"

    found = components(sbom.make(lock))

    assert found["numpy"]["hashes"] == [{"alg": "SHA-256", "content": one}]
    assert "hashes" not in found["xgboost"]


def test_the_same_environment_gives_the_same_bytes_and_the_second_time_it_is_read(home: Path, bill: bytes) -> None:
    begun = time.perf_counter()
    assert sbom.describe(LOCK, home) == bill
    read = time.perf_counter() - begun
    begun = time.perf_counter()
    assert sbom.make(LOCK.read_text()) == bill
    assert read < (time.perf_counter() - begun) / 5


def test_what_is_installed_meanwhile_is_in_the_next_bill(
    home: Path, bill: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "new_thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: new.thing\nVersion: 1.0\nLicense: MIT\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert components(sbom.describe(LOCK, home))["new-thing"]["purl"] == "pkg:pypi/new-thing@1.0"


def test_without_a_lock_there_is_a_bill_too_and_it_is_another_one(tmp_path: Path, bill: bytes) -> None:
    other = sbom.describe(tmp_path / "none", tmp_path)
    assert "numpy" in components(other)
    assert json.loads(other)["serialNumber"] != json.loads(bill)["serialNumber"]
    assert "timestamp" not in json.loads(other)["metadata"]
