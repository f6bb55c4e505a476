"""What is signed, and that `verify` names everything that is not as it was signed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import retrain_kit
import serving_kit as kit
from retrain_kit import Recorded

from greenlight.adapters import bento, keys, signing
from greenlight.config import Settings
from greenlight.core import seal
from greenlight.errors import ConfigError, GitError, GreenlightError, SigningError
from greenlight.operations import sealing
from greenlight.operations.provenance import Verification, sign_again, verify
from greenlight.operations.runs import find_run, get_run
from greenlight.wiring import Project, open_project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two signed versions with their bentos; to be copied, not changed."""
    return kit.project(tmp_path_factory.mktemp("provenance") / "project", 2)


@pytest.fixture
def project(made: Settings, tmp_path: Path) -> Project:
    return open_project(kit.project(tmp_path / "project", 2, bentos=made.home))


def wrong(found: Verification) -> dict[str, tuple[str, ...]]:
    return {finding.name: finding.files for finding in found.findings if not finding.passed}


def packed(project: Project, version: str = "v1") -> Path:
    return bento.path_of("flight_delay", version, project.settings.home) / "src"


def retag(project: Project, version: str, commit: str, message: str) -> None:
    project.repository.run("tag", "-f", "-a", "-m", message, f"flight_delay@{version}.0.0", commit)


def test_a_promoted_run_is_signed_with_its_version(recorded: Recorded) -> None:
    project = recorded.project
    [version] = project.registry.versions()

    assert (version.name, version.run) == ("v1", recorded.promoted)
    signed = seal.parse(project.registry.signature(version)).files
    evidence = {"dvc.lock", "params.yaml", "run.json", "verdict.json", "sbom.cdx.json"}
    assert {name for name in signed if not name.startswith("model/")} == {f"evidence/{name}" for name in evidence}
    assert {"model/model.ubj", "model/model.json", "model/golden.json"} <= set(signed)
    shown = get_run(project, "v1")
    assert shown["sbom"] == "reports/sbom.cdx.json"
    text = project.repository.read(version.commit, shown["sbom"])
    assert b"pkg:pypi/xgboost@" in (text or b"")
    others = [find_run(project, run) for run in (recorded.kept, recorded.rejected)]
    assert {project.repository.read(commit, shown["sbom"]) for commit in others} == {text}, "one object in Git"
    found = verify(project, "v1")
    assert found.passed, found.summary()
    assert [f.name for f in found.findings] == ["signature", "key", "model", "evidence", "run", "bento"]
    assert found.findings[-1].found == "not built on this machine"


def test_another_clone_with_the_refs_and_the_remote_verifies(recorded: Recorded, tmp_path: Path) -> None:
    """Neither the run's folder, nor the cache, nor the private key is there."""
    there = tmp_path / "clone"
    retrain_kit.git(tmp_path, "clone", "-q", str(recorded.root), str(there))
    retrain_kit.git(there, "fetch", "-q", "origin", "refs/greenlight/*:refs/greenlight/*")
    shutil.copytree(recorded.root / ".greenlight/remote", there / ".greenlight/remote")

    assert verify(retrain_kit.open_at(there), "v1").passed
    retrain_kit.git(there, "update-ref", "-d", f"{keys.REFS}{verify(retrain_kit.open_at(there), 'v1').key}")
    assert set(wrong(verify(retrain_kit.open_at(there), "v1"))) == {"key"}


def test_what_is_as_signed_passes_with_its_bento(project: Project) -> None:
    found = verify(project, "2")

    assert found.passed
    assert found.exit_code == 0
    assert [f.name for f in found.findings] == ["signature", "key", "model", "evidence", "run", "bento", "code"]
    assert found.todo == ""
    assert found.summary() == "v2 is what was signed"


@pytest.mark.parametrize(
    ("change", "finding", "file"),
    [
        (lambda at: (at / "data/model/golden.json").write_text("{}"), "bento", "model/golden.json differs"),
        (lambda at: (at / "data/model/model.ubj").unlink(), "bento", "model/model.ubj is missing"),
        (lambda at: (at / "data/evidence/more").write_text(""), "bento", "evidence/more was not signed"),
        (lambda at: (at / "data/more").write_text(""), "bento", "more was not signed"),
        (lambda at: (at / "greenlight/core/model.py").write_text(""), "code", "greenlight/core/model.py differs"),
        (lambda at: (at / "bentos/more.py").write_text(""), "code", "bentos/more.py was not signed"),
    ],
)
def test_every_altered_file_of_a_bento_is_named(
    project: Project, change: Callable[[Path], object], finding: str, file: str
) -> None:
    change(packed(project))

    assert wrong(verify(project, "v1")) == {finding: (file,)}


def test_a_bento_with_the_files_and_the_signature_of_another_version_is_told(project: Project) -> None:
    shutil.rmtree(packed(project) / "data")
    shutil.copytree(packed(project, "v2") / "data", packed(project) / "data")

    found = verify(project, "v1")

    assert set(wrong(found)) == {"bento"}
    assert "another signature" in found.summary()
    assert not sealing.carries_signature(project, project.registry.get("v1"), packed(project).parent)


def test_a_model_that_was_changed_in_dvc_is_told(project: Project) -> None:
    golden = kit.keep((packed(project) / "data/model/golden.json").read_bytes(), project.settings.home / "elsewhere")
    object_ = project.settings.home / "cache/files/md5" / golden[:2] / golden[2:]
    object_.chmod(0o644)
    object_.write_text("{}")
    # DVC trusts what is read-only in its cache without looking; Greenlight reads what it lays out.
    object_.chmod(0o444)

    found = verify(project, "v1")

    assert set(wrong(found)) == {"model"}
    assert "data/model/golden.json is damaged" in found.summary()


def test_a_moved_tag_is_refused_before_anything_is_read(project: Project) -> None:
    one, two = project.registry.versions()
    signature = project.registry.signature(one)
    retag(project, "v1", two.commit, f"run run-v1\n\n{signature}")

    with pytest.raises(GitError, match="somebody moved"):
        verify(project, "v1")


def test_a_tag_without_a_signature_or_with_something_else_in_its_place_is_told(project: Project) -> None:
    one = project.registry.get("v1")
    for body, said in (("", "there is none"), ("\n\nnothing", "not a signature"), ("\n\n{}", "not a signature")):
        retag(project, "v1", one.commit, f"run run-v1{body}")
        found = verify(project, "v1")
        assert wrong(found) == {"signature": ()}
        assert said in found.summary()
        assert found.exit_code == 1
        assert found.todo


def test_a_forged_signature_is_told(project: Project) -> None:
    """The content and its list changed together: only the signature itself can tell."""
    one = project.registry.get("v1")
    bundle = json.loads(project.registry.signature(one))
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    digest = seal.parse(json.dumps(bundle)).files["model/golden.json"]
    other = payload.replace(digest.encode(), b"0" * 64)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(other).decode()
    retag(project, "v1", one.commit, f"run run-v1\n\n{json.dumps(bundle)}")

    found = verify(project, "v1")

    assert "key" in wrong(found)
    assert "the signature is not that of" in found.summary()


def test_only_the_keys_in_trusted_keys_count_where_it_is_set(project: Project, tmp_path: Path) -> None:
    other = keys.public_of(keys.signing_key(Settings(root=tmp_path, home=tmp_path / "other")))
    own = keys.public_of(keys.signing_key(project.settings))
    folder = tmp_path / "trusted"
    folder.mkdir()
    (folder / "other.pem").write_text(other)
    settings = project.settings.model_copy(update={"trusted_keys": folder})
    found = verify(open_project(settings), "v1")
    assert set(wrong(found)) == {"key"}
    assert "none of those trusted (GREENLIGHT_TRUSTED_KEYS" in found.summary()

    (folder / "own.pem").write_text(own)
    assert verify(open_project(settings), "v1").passed
    both = tmp_path / "both.pem"
    both.write_text(other + own)
    assert verify(open_project(settings.model_copy(update={"trusted_keys": both})), "v1").passed
    both.write_text("nothing")
    with pytest.raises(ConfigError, match="no public key"):
        verify(open_project(settings.model_copy(update={"trusted_keys": both})), "v1")


def test_a_trusted_key_that_was_replaced_in_git_is_told(project: Project, tmp_path: Path) -> None:
    other = keys.public_of(keys.signing_key(Settings(root=tmp_path, home=tmp_path / "other")))
    [ref] = project.repository.refs(keys.REFS)
    blob = project.repository.run("hash-object", "-w", "--stdin", stdin=other.encode())
    project.repository.run("update-ref", ref, blob)

    with pytest.raises(GreenlightError, match="not the one that its ref names"):
        verify(project, "v1")


def test_the_key_is_made_once_whoever_comes_first_and_is_nobody_elses(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: keys.public_of(keys.signing_key(settings)), range(16)))

    assert len(made) == 1
    assert stat.S_IMODE(os.stat(settings.home / keys.PRIVATE).st_mode) == 0o600
    assert stat.S_IMODE(os.stat((settings.home / keys.PRIVATE).parent).st_mode) == 0o700
    assert [path.name for path in (settings.home / "keys").iterdir()] == ["signing.pem"]


@pytest.mark.parametrize("trusted", [True, False])
def test_the_organisations_key_signs_and_must_be_trusted(project: Project, tmp_path: Path, trusted: bool) -> None:
    private = keys.signing_key(Settings(root=tmp_path, home=tmp_path / "organisation"))
    others = keys.signing_key(Settings(root=tmp_path, home=tmp_path / "others"))
    named = tmp_path / "trusted.pem"
    named.write_text(keys.public_of(private if trusted else others))
    settings = project.settings.model_copy(update={"signing_key": private, "trusted_keys": named})
    theirs = open_project(settings)
    before = retrain_kit.memory(theirs)["tags"]

    if trusted:
        version = kit.register(theirs, kit.small_model(3), "run-v3", tmp_path / "made")
        assert verify(theirs, version.name).passed
        assert seal.parse(theirs.registry.signature(version)).key == keys.fingerprint(named.read_text())
        assert len(theirs.repository.refs(keys.REFS)) == 1, "nothing is added to what the repository trusts"
        return
    with pytest.raises(SigningError, match="not among the trusted ones"):
        kit.register(theirs, kit.small_model(3), "run-v3", tmp_path / "made")
    assert retrain_kit.memory(theirs)["tags"] == before


@pytest.mark.parametrize(
    ("content", "said"), [("nothing", "cannot be used"), ("rsa", "RSA"), ("phrase", "cannot be used")]
)
def test_a_key_that_cannot_sign_registers_nothing_and_says_which_would(
    project: Project, tmp_path: Path, content: str, said: str
) -> None:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    made = rsa.generate_private_key(65537, 2048) if content == "rsa" else ec.generate_private_key(ec.SECP256R1())
    how = form.BestAvailableEncryption(b"secret") if content == "phrase" else form.NoEncryption()
    pem = made.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, how)
    path = tmp_path / "key.pem"
    path.write_bytes(b"nothing" if content == "nothing" else pem)
    theirs = open_project(project.settings.model_copy(update={"signing_key": path}))
    before = retrain_kit.memory(theirs)["tags"]

    with pytest.raises(SigningError, match=rf"(?s){said}.*P-256"):
        kit.register(theirs, kit.small_model(3), "run-v3", tmp_path / "made")

    assert retrain_kit.memory(theirs)["tags"] == before


def test_a_model_that_changed_since_its_record_is_not_signed(project: Project, tmp_path: Path) -> None:
    one = project.registry.get("v1")
    folder = shutil.copytree(packed(project) / "data/model", tmp_path / "model")
    assert sealing.sign(project, one.commit, folder)
    (folder / "golden.json").write_text("{}")

    with pytest.raises(SigningError, match="the run recorded"):
        sealing.sign(project, one.commit, folder)


def test_after_a_change_of_keys_a_version_is_signed_again(project: Project) -> None:
    one = project.registry.get("v1")
    old = verify(project, "v1").key
    (project.settings.home / keys.PRIVATE).unlink()
    project.repository.run("update-ref", "-d", f"{keys.REFS}{old}")
    assert set(wrong(verify(project, "v1"))) == {"key"}

    found = sign_again(project, "v1")

    assert found.key != old
    assert set(wrong(found)) == {"bento"}, "it is built again by the next release"
    assert not sealing.carries_signature(project, one, packed(project).parent)
    shutil.rmtree(packed(project).parent)
    assert verify(project, "v1").passed
    assert project.registry.versions()[0] == one


def test_a_version_from_before_signing_can_be_signed_and_one_that_was_altered_cannot(project: Project) -> None:
    one, two = project.registry.versions()
    retag(project, "v1", one.commit, "run run-v1")
    assert set(wrong(sign_again(project, "v1"))) == {"bento"}
    retag(project, "v2", one.commit, f"run run-v2\n\n{project.registry.signature(two)}")

    with pytest.raises(SigningError, match="not what was signed before"):
        sign_again(project, "v2")


def test_keyless_needs_to_know_who_must_have_signed(project: Project, tmp_path: Path) -> None:
    theirs = open_project(project.settings.model_copy(update={"signing": "sigstore"}))

    with pytest.raises(ConfigError, match="GREENLIGHT_SIGNER_IDENTITY"):
        kit.register(theirs, kit.small_model(3), "run-v3", tmp_path / "made")


def test_without_a_network_keyless_signs_nothing_and_says_so(project: Project, tmp_path: Path) -> None:
    """Also that the call that CI makes is one that the library has."""
    update = {"signing": "sigstore", "signer_identity": "me@example.com", "signer_issuer": "https://example.com"}
    theirs = open_project(project.settings.model_copy(update=update))
    assert signing.key_for(theirs.settings) is None

    with pytest.raises(SigningError, match="could not be signed"):
        kit.register(theirs, kit.small_model(3), "run-v3", tmp_path / "made")


def test_a_rebuilt_bento_holds_the_same_files(project: Project, tmp_path: Path) -> None:
    from greenlight.operations.serving import Serving

    def content() -> dict[str, bytes]:
        return {p.relative_to(source).as_posix(): p.read_bytes() for p in sorted(source.rglob("*")) if p.is_file()}

    source = packed(project)
    before = content()
    labels = [line for line in (source.parent / "bento.yaml").read_text().splitlines() if line.startswith("  ")]
    assert any(line.strip().startswith("snapshot:") for line in labels)
    shutil.rmtree(source.parent)

    Serving(project).bento(project.registry.get("v1"))

    assert content() == before
    assert {"data/signature.json", "data/public_key.pem", "data/evidence/run.json"} <= set(before)
