"""The bill of materials of the environment: CycloneDX 1.6, as JSON.

The same installed packages under the same lock give the same bytes: no time stands in it, and its serial number comes
from its content. So the bill of a thousand runs in one environment is one object in Git. Reading the metadata of 300
packages takes a second, so it is kept by the lock's hash and the names and versions that are installed.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from greenlight.adapters.desired import replace_file

VERSION = "1"  # of what stands in a bill; another one is not taken from the cache
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "greenlight/sbom")
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
LONG = 80  # characters; what is longer is a licence's text and not its name


def describe(lock: Path, home: Path) -> bytes:
    """The bill of what is installed beside this interpreter.

    Parameters
    ----------
    lock : Path
        ``requirements/all.txt`` of the run; its hash stands in the bill, and the hash of a package's file where it
        names a single one.
    home : Path
        Greenlight's work state; the bill is kept below ``sbom/``.
    """
    text = lock.read_bytes() if lock.is_file() else b""
    installed = sorted({(d.stem, d.parent.name) for folder in sys.path for d in Path(folder).glob("*.dist-info")})
    key = hashlib.sha256(repr((VERSION, sys.version_info[:3], text, installed)).encode()).hexdigest()
    kept = home / "sbom" / f"{key[:32]}.cdx.json"
    if kept.is_file():
        return kept.read_bytes()
    content = make(text.decode("utf-8", "replace"))
    replace_file(kept, content)
    return content


def make(lock: str) -> bytes:
    """The bill, made anew."""
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    hashes = _hashes(lock)
    bom = Bom()
    bom.metadata.timestamp = None  # type: ignore[assignment]
    bom.metadata.properties.add(
        Property(name="greenlight:lock:sha256", value=hashlib.sha256(lock.encode()).hexdigest())
    )
    python = ".".join(str(part) for part in sys.version_info[:3])
    bom.metadata.component = Component(
        name="greenlight", type=ComponentType.APPLICATION, bom_ref="greenlight", version=_own_version()
    )
    bom.components.add(
        Component(name="python", version=python, type=ComponentType.PLATFORM, bom_ref=f"python@{python}")
    )
    for distribution in _installed():
        bom.components.add(_component(distribution, hashes))
    bom.register_dependency(bom.metadata.component, bom.components)
    document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    document.pop("serialNumber", None)
    body = json.dumps(document, sort_keys=True)
    document["serialNumber"] = uuid.uuid5(NAMESPACE, body).urn
    return json.dumps(document, sort_keys=True, indent=1).encode() + b"\n"


def _installed() -> Iterator[Distribution]:
    """Each package once: the first on the path is the one that is imported."""
    seen = set()
    for distribution in distributions():
        name = _normal(distribution.metadata["Name"] or "")
        if name and name != "greenlight" and name not in seen:
            seen.add(name)
            yield distribution


def _own_version() -> str:
    from greenlight import __version__

    return __version__


def _component(distribution: Distribution, hashes: dict[tuple[str, str], list[str]]) -> Any:
    from cyclonedx.factory.license import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    name, number = _normal(distribution.metadata["Name"]), distribution.version
    purl = PackageURL("pypi", None, name, number)
    known = hashes.get((name, number), [])
    licence = _licence(distribution)
    return Component(
        name=name,
        version=number,
        type=ComponentType.LIBRARY,
        bom_ref=str(purl),
        purl=purl,
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
        # The lock names a hash for every platform's file; only where there is one is it known to be this one.
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=known[0])] if len(known) == 1 else [],
    )


def _licence(distribution: Distribution) -> str:
    """An SPDX expression where the package has one, else the name that it gives."""
    fields = ("License-Expression", "License", "Classifier")
    expressions, names, classifiers = (distribution.metadata.get_all(field) or [] for field in fields)
    said = [*expressions, *names, *(c.rsplit(" :: ", 1)[1] for c in classifiers if c.startswith("License :: "))]
    return next((text.strip() for text in said if text.strip() and len(text) <= LONG and "\n" not in text.strip()), "")


def _hashes(lock: str) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    here: list[str] = []
    for line in lock.splitlines():
        if pin := PINNED.match(line):
            here = found.setdefault((_normal(pin[1]), pin[2]), [])
        here += HASH.findall(line)
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
