"""Bentos: built by BentoML in a process of its own, put into the store whole or not at all.

BentoML copies a new bento into its store file by file; a crash leaves half of one there, and the next build
of that version is refused. So we build into a folder of our own and move the finished bento with one rename.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from greenlight.adapters import scratch
from greenlight.errors import BentoError, disk_fault

MODEL = Path("data/model")
DATA = Path("data")
SIGNATURE = "signature.json"
PUBLIC_KEY = "public_key.pem"
SOURCES = "src"
SCRATCH = ".build-"
BUILD_TIMEOUT_S = 600
QUIET = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"}


def store(home: Path) -> Path:
    """BentoML's home folder; ``BENTOML_HOME=<this> bentoml list`` shows what is in it."""
    return home / "bentoml"


def path_of(name: str, version: str, home: Path) -> Path:
    """Where the bento `name`:`version` belongs, whether or not it is there."""
    return store(home) / "bentos" / name / version


def find(name: str, version: str, home: Path) -> Path | None:
    """The bento `name`:`version`, or None if it is missing or incomplete."""
    bento = path_of(name, version, home)
    complete = (bento / "bento.yaml").is_file() and (bento / SOURCES / MODEL / "model.json").is_file()
    return bento if complete else None


@dataclass(frozen=True)
class Built:
    """What a built bento says of itself.

    Attributes
    ----------
    version, run, commit : str
        Empty where it does not say.
    folder : Path
    """

    version: str
    run: str
    commit: str
    folder: Path


def built(name: str, home: Path) -> list[Built]:
    """Every whole bento of `name`, by what its labels say; one that cannot be read is left out."""
    found = []
    for folder in sorted(path_of(name, "v0", home).parent.glob("v*")):
        try:
            document = yaml.safe_load(read_text(folder / "bento.yaml"))
            labels = {key: str(value) for key, value in document["labels"].items()}
        except (yaml.YAMLError, KeyError, TypeError, AttributeError):
            continue
        found.append(Built(folder.name, labels.get("run", ""), labels.get("commit", ""), folder))
    return found


def model_hash(folder: Path) -> str:
    """Digest of a model folder's names and bytes: 64 hexadecimal digits.

    Raises
    ------
    BentoError
        The folder is missing or empty.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else []
    if not files:
        raise BentoError("there is no model to pack", where=str(folder), todo="run greenlight retrain")
    digest = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def signature(bento: Path) -> str:
    """The signature that a bento carries; empty where it carries none."""
    return read_text(bento / SOURCES / DATA / SIGNATURE)


def read_text(path: Path) -> str:
    """Content of a file, empty where there is none."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def build(
    workspace: Path, *, name: str, version: str, labels: Mapping[str, str], home: Path, sealed: Path | None = None
) -> Path:
    """Build the bento `name`:`version` from the code and the model of `workspace`.

    An existing bento of the same model under the same signature is returned as it is; any other, or half of one, is
    replaced.

    Parameters
    ----------
    workspace : Path
        A clone at the run's commit, with ``data/model``.
    labels : mapping of str to str
        Kept in the bento (run, commit, snapshot); the model's digest is added as ``model``.
    sealed : Path, optional
        Folder with ``evidence/``, ``signature.json`` and, for a signature by a key, ``public_key.pem``: packed beside
        the model. A server refuses a bento without them.

    Returns
    -------
    Path
        The bento's folder.

    Raises
    ------
    BentoError
        The model is missing, or BentoML failed; its last lines are in the message.
    """
    digest = model_hash(workspace / MODEL)
    existing = find(name, version, home)
    same = signature(existing) == (read_text(sealed / SIGNATURE) if sealed else "") if existing else False
    if existing and same and model_hash(existing / SOURCES / MODEL) == digest:
        return existing
    target = path_of(name, version, home)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _scratch(home) as here:
            more = ["--sealed", str(sealed)] if sealed else []
            built = _run_build(workspace, name, version, {**labels, "model": digest}, here, more)
            _replace(built, target, here)
        # What `bentoml serve <name>:latest` reads.
        (target.parent / "latest").write_text(version, encoding="utf-8")
    except OSError as exc:
        raise BentoError(
            f"the bento {name}:{version} could not be stored: {exc.strerror or exc}",
            where=str(exc.filename or target),
            todo="free space or correct the folder's rights, then repeat",
        ) from exc
    return target


def _run_build(workspace: Path, name: str, version: str, labels: dict[str, str], here: Path, more: list[str]) -> Path:
    command = [sys.executable, "-m", "bentos.classifier.build", "--name", name, "--version", version]
    command += ["--labels", json.dumps(labels), *more]
    environment = {**os.environ, **QUIET, "BENTOML_HOME": str(here), "TMPDIR": str(here)}
    environment.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(
            command,
            cwd=workspace,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise BentoError(f"building took more than {BUILD_TIMEOUT_S} s", where=str(workspace)) from exc
    if done.returncode:
        full = disk_fault(OSError(done.stderr))
        if full:
            raise BentoError(
                f"the bento {name}:{version} could not be built: {full.what}", where=str(here), todo=full.todo
            )
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise BentoError(f"the bento {name}:{version} could not be built:\n{last}", where=str(workspace))
    return Path(json.loads(done.stdout.strip().splitlines()[-1])["bento"])


def _replace(built: Path, target: Path, here: Path) -> None:
    """Move `built` to `target`; whatever stood there before goes with `here`."""
    if target.exists():
        target.rename(here / "replaced")
    built.rename(target)


def leftover_builds(folder: Path) -> list[Path]:
    """Scratch folders that builds which were killed left in BentoML's home folder."""
    return list(folder.glob(f"{SCRATCH}*"))


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A folder in the store, on the same disk as what becomes of it; those of builds that were killed are removed.

    Only those: another version may be under construction at the same time, for a roll back.
    """
    scratch.sweep(store(home), SCRATCH)
    folder = store(home) / scratch.name(SCRATCH)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
