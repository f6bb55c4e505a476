"""Pack the model of a workspace, and the code that scores with it, as a bento.

Run as ``python -m bentos.classifier.build`` in the workspace, so that what is packed is what that commit
holds. Packs the scoring half of the package only: nothing that fetches, trains or releases travels.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

PACKED = (
    "bentos/classifier",
    "greenlight/__init__.py",
    "greenlight/errors.py",
    "greenlight/config.py",
    "greenlight/limits.py",
    "greenlight/edge_settings.py",
    "greenlight/release_params.py",
    "greenlight/sections.py",
    "greenlight/core",
    "greenlight/datasets",
)
MODEL = "data/model"
# What the packed code imports; the versions are those that this run was made with.
REQUIRED = (
    "bentoml",
    "uvicorn",
    "uvloop",
    "httptools",
    "orjson",
    *(("backports.zstd",) if sys.version_info < (3, 14) else ()),
    "pydantic",
    "pydantic-settings",
    "pyyaml",
    "numpy",
    "polars",
    "scikit-learn",
    "xgboost",
    "cryptography",  # checks the signature
)


def main() -> None:
    """Build, and write the bento's folder as the last line."""
    parser = argparse.ArgumentParser(description="Pack the model of the working directory as a bento.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--labels", default="{}", help="JSON object of text to text")
    parser.add_argument("--sealed", type=Path, help="folder with the evidence, the signature and the public key")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="greenlight-bento-") as folder:
        stage(Path.cwd(), Path(folder))
        if args.sealed:
            shutil.copytree(args.sealed, Path(folder) / "data", dirs_exist_ok=True)
        built = _build(Path(folder), args.name, args.version, json.loads(args.labels))
    sys.stdout.write(json.dumps({"bento": built}) + "\n")


def stage(workspace: Path, folder: Path) -> None:
    """Copy what travels from `workspace` to `folder`; links into the DVC cache become files."""
    for name in (*PACKED, MODEL):
        source, target = workspace / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
        else:
            shutil.copyfile(source, target)


def _build(folder: Path, name: str, number: str, labels: dict[str, str]) -> str:
    import bentoml

    packages = [f"{package}=={version(package)}" for package in REQUIRED]
    built = bentoml.build(
        "bentos.classifier.service:Classifier",
        name=name,
        version=number,
        labels=labels,
        include=["**"],
        # Locking would ask the package index for every build; the list is exact already.
        python={"packages": packages, "lock_packages": False},
        description=f"Scores rows of {name}, version {number}. POST /predict; /docs describes it.",
        build_ctx=str(folder),
    )
    return str(built.path)


if __name__ == "__main__":
    main()
