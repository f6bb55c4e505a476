"""Signing a version, and building its bento with the proof inside.

Signed is a folder laid out from the run: ``model/`` with the model folder's files, and ``evidence/`` with what the run
recorded of how the model came to be (data hashes, parameters, verdict, environment). The signature stands in the
version's tag, so nothing can be registered without one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from greenlight.adapters import bento, dvc, keys, scratch, signing
from greenlight.adapters.dvc_hash import folder_hash
from greenlight.adapters.registry import Version
from greenlight.core import seal
from greenlight.core.seal import EVIDENCE, MODEL
from greenlight.errors import SigningError
from greenlight.operations.recorded import recorded_paths
from greenlight.operations.workspace import model_of
from greenlight.wiring import Project

LOCK, PARAMS, RUN = "dvc.lock", "params.yaml", "run.json"
REQUIRED = (LOCK, PARAMS, RUN, "verdict.json")


def evidence(project: Project, commit: str) -> dict[str, bytes]:
    """What a run recorded of how its model came to be, by name; what it did not record is left out."""
    paths = recorded_paths(project, commit)
    where = {
        LOCK: dvc.LOCK,
        PARAMS: "params.yaml",
        RUN: paths.run,
        "verdict.json": paths.verdict,
        "sbom.cdx.json": paths.sbom,
    }
    contents = project.repository.read_many(f"{commit}:{path}" for path in where.values())
    return {name: content for name, content in zip(where, contents, strict=True) if content is not None}


def sign(project: Project, commit: str, model: Path) -> str:
    """Sign the model folder of a recorded run together with its evidence; returns the bundle as one line of JSON.

    Raises
    ------
    SigningError
        The key cannot be used or is not trusted, the run's record is incomplete, or the model folder is not the one
        that the run recorded.
    """
    found = evidence(project, commit)
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise SigningError(
            f"the run's record lacks {', '.join(missing)}, so there is nothing to vouch for",
            where=f"commit {commit[:10]}",
            todo="register a run that was recorded whole (greenlight runs)",
        )
    made, recorded = folder_hash(model), model_of(found[LOCK])
    if made != recorded:
        raise SigningError(
            f"the model folder hashes to {made}, and the run recorded {recorded}",
            where=str(model),
            todo="something changed it since; run greenlight retrain again",
        )
    key = signing.key_for(project.settings)
    if key:
        keys.trust(project.settings, project.repository, keys.public_of(key))
    with laid_out(project, model, found) as folder:
        return signing.sign(folder, project.settings, key=key)


@contextmanager
def laid_out(project: Project, model: Path, found: Mapping[str, bytes]) -> Iterator[Path]:
    """The signed content as a folder of plain files, for as long as it is needed."""
    with scratch.work(project.settings.home, "signed") as here:
        folder = here / project.params.dataset
        # Links into DVC's cache become files: model-signing refuses links, and so does the bento's check.
        shutil.copytree(model, folder / MODEL, copy_function=shutil.copyfile)
        write(found, folder / EVIDENCE)
        yield folder


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files into a new folder."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def carries_signature(project: Project, version: Version, found: Path) -> bool:
    """Whether a bento carries the version's signature; one of an unsigned version carries none."""
    return bento.signature(found) == project.registry.signature(version)


def build(project: Project, version: Version, workspace: Path) -> Path:
    """Build a version's bento from a folder with its code and model; everything else comes from Git.

    Returns
    -------
    Path
        The bento; the same files however often and wherever it is built.
    """
    lock = dvc.lock_hashes(project.repository.read(version.commit, dvc.LOCK))
    snapshot = next(iter(lock.get("snapshot", {}).values()), "")
    labels = {"run": version.run, "commit": version.commit, "snapshot": snapshot}
    name, home = project.params.dataset, project.settings.home
    bundle = project.registry.signature(version)
    with scratch.work(home, "sealed") as here:
        sealed = _seal(project, version, bundle, here / "sealed") if bundle else None
        return bento.build(workspace, name=name, version=version.name, labels=labels, home=home, sealed=sealed)


def _seal(project: Project, version: Version, bundle: str, folder: Path) -> Path:
    write(evidence(project, version.commit), folder / EVIDENCE)
    (folder / bento.SIGNATURE).write_text(bundle, encoding="utf-8")
    public = keys.trusted(project.settings, project.repository).get(signing.files_of(bundle).key)
    if public:
        (folder / bento.PUBLIC_KEY).write_text(public, encoding="utf-8")
    return folder


def digests(folder: Path, prefix: str = "") -> dict[str, str]:
    """SHA-256 of every file below a folder, compiled Python aside."""
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return seal.digests({prefix + path.relative_to(folder).as_posix(): path.read_bytes() for path in files})
