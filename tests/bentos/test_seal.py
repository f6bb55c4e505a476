"""The bento's own check of its signature: it says what model-signing says, and a server that hears no does not serve."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import serving_kit as kit

from bentos.classifier import seal as packed_seal
from greenlight.adapters import bento, keys, model_servers, signing
from greenlight.config import Settings


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one signed bento."""
    home = tmp_path_factory.mktemp("home")
    kit.build(tmp_path_factory.mktemp("work"), home, "v1", seed=1)
    return home


@pytest.fixture
def folder(home: Path, tmp_path: Path) -> Path:
    """The bento, to be changed."""
    return shutil.copytree(bento.path_of("flight_delay", "v1", home), tmp_path / "bento")


def asked(folder: Path, trusted: Path | str = "") -> tuple[int, str]:
    environment = {key: value for key, value in os.environ.items() if key != packed_seal.TRUSTED}
    environment |= {"PYTHONPATH": "", **({packed_seal.TRUSTED: str(trusted)} if trusted else {})}
    command = [sys.executable, "-m", "bentos.classifier.seal"]
    done = subprocess.run(command, cwd=folder / "src", env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


def resign(data: Path, change: Callable[[dict[str, object]], object]) -> None:
    path = data / "signature.json"
    document = json.loads(path.read_text())
    change(document["dsseEnvelope"])
    path.write_text(json.dumps(document))


def swap_digest(envelope: dict[str, object]) -> None:
    payload = base64.b64decode(str(envelope["payload"])).replace(b'"sha256"', b'"sha512"', 1)
    envelope["payload"] = base64.b64encode(payload).decode()


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda data: None,
    "differs": lambda data: (data / "model/golden.json").write_text("{}"),
    "missing": lambda data: (data / "model/model.ubj").unlink(),
    "more": lambda data: (data / "model/more").write_text(""),
    "evidence": lambda data: (data / "evidence/run.json").write_text("{}"),
    "signature of nothing": lambda data: resign(data, lambda e: e.update(signatures=[{"sig": "AAAA", "keyid": ""}])),
    "payload": lambda data: resign(data, swap_digest),
    "other payload type": lambda data: resign(data, lambda e: e.update(payloadType="text/plain")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_says_what_model_signing_says(home: Path, folder: Path, tmp_path: Path, change: str) -> None:
    data = folder / "src/data"
    CHANGES[change](data)
    status, said = asked(folder, home / keys.TRUSTED)

    bundle = (data / "signature.json").read_text()
    plain = tmp_path / "plain"
    for part in ("model", "evidence"):
        shutil.copytree(data / part, plain / part)
    public = (data / "public_key.pem").read_text()
    theirs = signing.problem(bundle, plain, Settings(root=tmp_path), public=public)

    assert (status == 0) is (theirs == "") is (change == "nothing"), (said, theirs)
    assert "Traceback" not in said


def test_the_command_line_of_model_signing_says_yes_to_the_bento_as_documented(folder: Path) -> None:
    data = "src/data"
    arguments = ["--signature", f"{data}/signature.json", "--public_key", f"{data}/public_key.pem"]
    arguments += ["--ignore-paths", f"{data}/signature.json", "--ignore-paths", f"{data}/public_key.pem"]
    command = [str(Path(sys.executable).with_name("model_signing")), "verify", "key", data, *arguments]
    assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 0
    page = " ".join((kit.ROOT / "docs/provenance.md").read_text().replace("\\\n", " ").split())
    assert " ".join(["model_signing", *command[1:]]).replace(f"{data}/public_key.pem --i", "key.pub.pem --i") in page
    (folder / data / "model/golden.json").write_text("{}")
    assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 1


def test_a_link_counts_as_altered_also_to_the_same_content(folder: Path, home: Path, tmp_path: Path) -> None:
    golden = folder / "src/data/model/golden.json"
    golden.rename(tmp_path / "golden.json")
    golden.symlink_to(tmp_path / "golden.json")

    assert asked(folder, home / keys.TRUSTED) == (
        1,
        "altered after it was signed: model/golden.json differs",
    )


def test_without_trusted_keys_the_packed_one_counts_and_the_log_says_so(folder: Path, tmp_path: Path) -> None:
    status, said = asked(folder)
    assert status == 0
    assert "trusted was not established" in said
    (folder / "src/data/public_key.pem").unlink()
    status, said = asked(folder)
    assert (status, "not packed" in said) == (1, True)


def test_a_key_that_is_not_trusted_is_refused_whatever_is_packed(folder: Path, home: Path, tmp_path: Path) -> None:
    other = keys.public_of(keys.signing_key(Settings(root=tmp_path, home=tmp_path / "other")))
    (tmp_path / "other.pem").write_text(other)
    for trusted in (tmp_path / "other.pem", tmp_path):
        status, said = asked(folder, trusted)
        assert (status, "none of those trusted" in said) == (1, True)
    (tmp_path / "own.pem").write_text((home / keys.TRUSTED).read_text())
    assert asked(folder, tmp_path)[0] == 0
    assert asked(folder, tmp_path / "none.pem") == (
        1,
        f"the trusted keys are not there ({packed_seal.TRUSTED} {tmp_path / 'none.pem'})",
    )
    (folder / "src/data/public_key.pem").write_text(other)
    status, said = asked(folder)
    assert (status, "the key at hand is" in said) == (1, True)


def test_a_signature_without_a_key_needs_to_know_who_must_have_signed(folder: Path) -> None:
    path = folder / "src/data/signature.json"
    document = json.loads(path.read_text())
    document["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}, "tlogEntries": []}
    path.write_text(json.dumps(document))

    status, said = asked(folder)

    assert status == 1
    assert "GREENLIGHT_SIGNER_IDENTITY" in said


@pytest.mark.parametrize("change", ["unsigned", "altered"])
def test_a_server_that_is_refused_ends_with_one_message(folder: Path, home: Path, tmp_path: Path, change: str) -> None:
    data = folder / "src/data"
    (data / "signature.json").unlink() if change == "unsigned" else (data / "model/model.ubj").write_bytes(b"")
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    done = subprocess.run(
        model_servers.command(tmp_path / "s.sock", with_parent=True),
        cwd=folder / "src",
        env={**os.environ, **model_servers.environment(home, metrics)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    why = "it is not signed" if change == "unsigned" else "altered after it was signed: model/model.ubj differs"
    assert f"refused to serve v1: {why}; `greenlight verify v1` explains" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s.sock").exists()


def test_bentoml_serve_refuses_an_altered_bento_too(folder: Path, home: Path) -> None:
    (folder / "src/data/model/golden.json").write_text("{}")
    port = kit.free_port()
    command = [str(Path(sys.executable).with_name("bentoml")), "serve", str(folder), "--host", "127.0.0.1"]
    environment = {**os.environ, **bento.QUIET, "BENTOML_HOME": str(bento.store(home))}
    server = subprocess.Popen(
        [*command, "--port", str(port)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert server.stdout
        seen = ""
        until = time.monotonic() + 60
        while "altered after it was signed" not in seen and time.monotonic() < until:
            seen += server.stdout.readline()
        assert "model/golden.json differs" in seen
        with pytest.raises(OSError):  # noqa: PT011 - refused, or 503
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5)
    finally:
        server.terminate()
        server.communicate(timeout=20)
