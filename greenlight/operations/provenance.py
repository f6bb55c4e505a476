"""Proof of where a version comes from: whether it is what was signed, and what is not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from greenlight.adapters import bento, keys, signing
from greenlight.adapters.registry import Version
from greenlight.core import seal
from greenlight.core.seal import EVIDENCE, MODEL, Bundle
from greenlight.errors import AdapterError, SigningError
from greenlight.operations.recorded import recorded_paths
from greenlight.operations.sealing import RUN, digests, evidence, laid_out, sign
from greenlight.operations.workspace import materialize
from greenlight.wiring import Project

CODE = ("bentos", "greenlight")
TODO = {
    "signature": "if it is from before signing: greenlight sign {version}; else find out who made its tag",
    "key": "if the key is one of yours, have it trusted, else greenlight sign {version} (docs/provenance.md, Keys)",
    MODEL: "do not serve it; the copy in the DVC remote or cache is damaged or was changed, bring back the signed one",
    EVIDENCE: "do not serve it; the tag stands on another commit than the signed one: git tag -v, git log --all",
    "run": "do not serve it; the tag's message and the commit's record name different runs",
    "bento": "delete the bento's folder; the next release builds it again from the run",
    "code": "delete the bento's folder; the next release builds it again from the run",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        ``signature``, ``key``, ``model``, ``evidence``, ``run``, ``bento`` or ``code``.
    passed : bool
    found : str
        In a sentence.
    files : tuple of str
        Every file that is not as it was signed, with what is wrong with it.
    """

    name: str
    passed: bool
    found: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verification:
    """What verifying a version found; it passed only if every finding did."""

    version: str
    run: str
    commit: str
    key: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether the version is what was signed, by somebody who is trusted."""
        return bool(self.findings) and all(finding.passed for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 when it passed, else 1."""
        return 0 if self.passed else 1

    @property
    def todo(self) -> str:
        """What to do about the first thing that is wrong; empty when it passed."""
        wrong = next((finding.name for finding in self.findings if not finding.passed), "")
        return TODO.get(wrong, "").format(version=self.version)

    def summary(self) -> str:
        """One sentence."""
        wrong = [finding for finding in self.findings if not finding.passed]
        if not wrong:
            return f"{self.version} is what was signed"
        return f"{self.version} is not verified: " + "; ".join(f"{f.name}: {f.found}" for f in wrong)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"passed": self.passed, "summary": self.summary(), "todo": self.todo} | asdict(self)


def verify(project: Project, version: str) -> Verification:
    """Find out whether a version is what was signed: in Git, in DVC and, where it is built here, in its bento.

    Needs neither the run's folder nor the bento: the model comes from DVC's cache or remote.

    Parameters
    ----------
    version : str
        Such as ``v2``.

    Raises
    ------
    NotFound
        There is no such version.
    """
    target = project.registry.get(version)
    bundle, findings = "", []
    signed: Bundle | None = None
    try:
        bundle = project.registry.signature(target)
        signed = signing.files_of(bundle) if bundle else None
        found = f"over {len(signed.files)} files" if signed else "there is none, in the version's tag or beside it"
        findings.append(Finding("signature", signed is not None, found))
    except SigningError as exc:
        findings.append(Finding("signature", False, str(exc)))
    if signed:
        findings += _findings(project, target, bundle, signed)
    return Verification(target.name, target.run, target.commit, signed.key if signed else "", tuple(findings))


def sign_again(project: Project, version: str) -> Verification:
    """Sign a version with the present key: one from before signing, or one whose key is no longer trusted.

    Raises
    ------
    SigningError
        The version is signed, and what DVC and Git hold is not what was: a new signature would cover that up.
    """
    before = verify(project, version)
    altered = [f for f in before.findings if f.name in (MODEL, EVIDENCE, "run") and not f.passed]
    if altered:
        raise SigningError(
            f"{before.version} is not what was signed before: " + "; ".join(f"{f.name}: {f.found}" for f in altered),
            todo=f"greenlight verify {before.version}",
        )
    target = project.registry.get(version)
    path = recorded_paths(project, target.commit).model
    with materialize(project.settings, target.commit, [path]) as root:
        project.registry.sign_again(target, sign(project, target.commit, root / path))
    return verify(project, version)


def _findings(project: Project, version: Version, bundle: str, signed: Bundle) -> Iterator[Finding]:
    trusted = keys.trusted(project.settings, project.repository)
    public = trusted.get(signed.key, "")
    recorded = evidence(project, version.commit)
    paths = recorded_paths(project, version.commit)
    model: dict[str, str] | None = None
    try:
        with (
            materialize(project.settings, version.commit, [paths.model]) as root,
            laid_out(project, root / paths.model, recorded) as folder,
        ):
            said = signing.problem(bundle, folder, project.settings, public=public) if public or signed.keyless else ""
            model = {name: digest for name, digest in digests(folder).items() if name.startswith(f"{MODEL}/")}
    except AdapterError as exc:
        yield Finding(MODEL, False, f"it could not be fetched: {exc}")
        said = ""
    yield _key(project, signed, public, said)
    if model is not None:
        yield _compared(MODEL, "in DVC as dvc.lock names it", _part(signed, MODEL), model)
    held = {f"{EVIDENCE}/{name}": digest for name, digest in seal.digests(recorded).items()}
    yield _compared(EVIDENCE, f"at the tagged commit {version.commit[:10]}", _part(signed, EVIDENCE), held)
    name = _name_of(recorded.get(RUN, b""))
    yield Finding("run", name == version.run, f"the record is of {name or 'no run'}, the tag says {version.run}")
    yield from _bento(project, version, bundle, signed)


def _key(project: Project, signed: Bundle, public: str, said: str) -> Finding:
    settings = project.settings
    where = f"GREENLIGHT_TRUSTED_KEYS {settings.trusted_keys}" if settings.trusted_keys else keys.REFS
    # Files that differ are told by the findings that follow; a signature that does not hold is told here.
    wrong = "" if said.startswith("Signature mismatch") else said
    if signed.keyless:
        who = f"{settings.signer_identity or 'nobody named'} as {settings.signer_issuer or 'nobody'} vouches"
        return Finding("key", not wrong, wrong or f"signed without a key, by {who}")
    if not public:
        return Finding("key", False, f"signed by {signed.key}, which is none of those trusted ({where})")
    if wrong:
        return Finding("key", False, f"the signature is not that of {signed.key}: {wrong}")
    return Finding("key", True, f"signed by {signed.key}, trusted by {where}")


def _bento(project: Project, version: Version, bundle: str, signed: Bundle) -> Iterator[Finding]:
    """What this machine would serve: the signed files, the version's signature, and the code of its commit."""
    found = bento.find(project.params.dataset, version.name, project.settings.home)
    if not found:
        yield Finding("bento", True, "not built on this machine")
        return
    sources = found / bento.SOURCES
    own = (bento.SIGNATURE, bento.PUBLIC_KEY)
    packed = {name: digest for name, digest in digests(sources / bento.DATA).items() if name not in own}
    if bento.signature(found) == bundle:
        yield _compared("bento", f"packed in {found}", signed.files, packed)
    else:
        other = tuple(str(one) for one in seal.differences(signed.files, packed))
        yield Finding("bento", False, f"it carries another signature than the tag, or none: {found}", other)
    there = {name: digest for part in CODE for name, digest in digests(sources / part, f"{part}/").items()}
    contents = project.repository.read_many(f"{version.commit}:{name}" for name in there)
    recorded = seal.digests({name: c for name, c in zip(there, contents, strict=True) if c is not None})
    yield _compared("code", f"packed, against commit {version.commit[:10]}", recorded, there)


def _compared(name: str, where: str, signed: Mapping[str, str], found: Mapping[str, str]) -> Finding:
    different = tuple(str(one) for one in seal.differences(signed, found))
    said = f"{len(different)} of {len({*signed, *found})} files" if different else f"{len(found)} files as signed"
    return Finding(name, not different, f"{said}, {where}", different)


def _part(signed: Bundle, part: str) -> dict[str, str]:
    return {name: digest for name, digest in signed.files.items() if name.startswith(f"{part}/")}


def _name_of(run: bytes) -> str:
    try:
        return str(json.loads(run).get("name", ""))
    except (ValueError, AttributeError):
        return ""
