"""Whether what is packed is what was signed: asked before a server answers anybody.

``python -m bentos.classifier.seal`` in a bento's ``src`` says so, in a process of its own: the server starts it before
its slow imports and hears of it before it serves, so it costs the server neither memory nor much time. A signature by a
key is checked with ``cryptography`` alone, in a tenth of the second that importing model-signing takes; tests hold that
both say the same. A keyless one needs model-signing itself.

With ``GREENLIGHT_TRUSTED_KEYS`` (a PEM file or a folder of them; Greenlight sets it for the servers that it starts) the
key must be one of those. Without it the packed public key counts: then the files are what that key's owner signed, and
whether to trust that key is left open, which the log says.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

from greenlight.core import seal
from greenlight.core.seal import Bundle

DATA, SIGNATURE, PUBLIC_KEY = Path("data"), "signature.json", "public_key.pem"
TRUSTED, IDENTITY, ISSUER = "GREENLIGHT_TRUSTED_KEYS", "GREENLIGHT_SIGNER_IDENTITY", "GREENLIGHT_SIGNER_ISSUER"
LISTED = 5
TIMEOUT_S = 60
HELD = False  # whether this process has heard that the seal holds


class Refused(Exception):
    """What is packed is not what was signed, or nobody says who signed it."""


def main() -> None:
    """Check the bento in whose ``src`` this runs: one line on stdout, exit status 0 or 1."""
    try:
        said, status = check(Path.cwd()), 0
    except Refused as exc:
        said, status = str(exc), 1
    sys.stdout.write(f"{said}\n")
    sys.exit(status)


def begin(sources: Path) -> subprocess.Popen[str]:
    """Start the check of the bento with these sources, and go on."""
    command = [sys.executable, "-m", "bentos.classifier.seal"]
    return subprocess.Popen(command, cwd=sources, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def require(checking: subprocess.Popen[str]) -> str:
    """Wait for a check that was begun; returns what it said.

    Raises
    ------
    Refused
        The seal does not hold, or the check itself broke.
    """
    global HELD
    try:
        said = checking.communicate(timeout=TIMEOUT_S)[0].strip()
    except subprocess.TimeoutExpired as exc:
        checking.kill()
        raise Refused(f"the check of the signature did not end within {TIMEOUT_S} s") from exc
    if checking.returncode:
        raise Refused(said or f"the check of the signature ended with status {checking.returncode}")
    HELD = True
    return said


def require_once(sources: Path) -> None:
    """Check a bento that somebody else starts (``bentoml serve``, a container), unless it was checked already."""
    if HELD or not (sources.parent / "bento.yaml").is_file():
        return
    # BentoML's own logger: the only one that is heard under `bentoml serve`.
    logging.getLogger("bentoml").warning("%s", require(begin(sources)))


def check(sources: Path) -> str:
    """Check the bento with these sources; returns a line for the log.

    Raises
    ------
    Refused
        Saying which files are not as they were signed, or what is wrong with the key.
    """
    data = sources / DATA
    bundle = _bundle(data / SIGNATURE)
    signer = _identity(data) if bundle.keyless else _key(bundle, data)
    different = seal.differences(bundle.files, _found(data))
    if different:
        raise Refused(f"altered after it was signed: {_list(different)}")
    return f"signature holds: {len(bundle.files)} files, by {signer}"


def _key(bundle: Bundle, data: Path) -> str:
    """The key that signed, in words, once its signature holds."""
    named = os.environ.get(TRUSTED, "")
    public = _trusted(Path(named)).get(bundle.key, "") if named else _text(data / PUBLIC_KEY)
    if not public:
        why = f"none of those trusted ({TRUSTED} {named})" if named else f"not packed, and {TRUSTED} is not set"
        raise Refused(f"signed by the key {bundle.key[:12]}, which is {why}")
    _require_signature(bundle, public)
    if named:
        return f"the trusted key {bundle.key[:12]}"
    return (
        f"the packed key {bundle.key[:12]}; whether that key is to be trusted was not established, set {TRUSTED} to a "
        "file of trusted keys for that"
    )


def _bundle(path: Path) -> Bundle:
    text = _text(path)
    if not text:
        raise Refused("it is not signed")
    try:
        return seal.parse(text)
    except ValueError as exc:
        raise Refused(str(exc)) from exc


def _require_signature(bundle: Bundle, public: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if _fingerprint(public) != bundle.key:
        raise Refused(f"signed by the key {bundle.key[:12]}, and the key at hand is {_fingerprint(public)[:12]}")
    try:
        key = serialization.load_pem_public_key(public.encode())
    except ValueError as exc:
        raise Refused(f"the public key cannot be read: {exc}") from exc
    kinds = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.key_size not in kinds:
        raise Refused("the public key is not on one of the curves P-256, P-384, P-521")
    try:
        key.verify(bundle.signature, bundle.signed_bytes, ec.ECDSA(kinds[key.curve.key_size]))
    except InvalidSignature:
        raise Refused("the signature is not the key's: it was altered, or the key's name was put on another") from None


def _identity(data: Path) -> str:
    """The identity that signed, once its signature holds; model-signing asks sigstore's root of trust for that."""
    identity, issuer = os.environ.get(IDENTITY, ""), os.environ.get(ISSUER, "")
    if not (identity and issuer):
        raise Refused(f"signed without a key, and {IDENTITY} and {ISSUER} do not say who must have signed it")
    try:
        from model_signing import verifying

        config = verifying.Config()  # type: ignore[no-untyped-call]
        config.use_sigstore_verifier(identity=identity, oidc_issuer=issuer)
        # The signature lies in the folder itself; what else was not signed is found by our own comparison.
        config.set_ignore_unsigned_files(True).verify(data, data / SIGNATURE)
    except Exception as exc:  # each part of it raises its own; all of it is a no
        raise Refused(f"the signature does not hold: {exc}") from exc
    return f"{identity}, as {issuer} vouches"


def _trusted(path: Path) -> dict[str, str]:
    files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
    if not all(file.is_file() for file in files):
        raise Refused(f"the trusted keys are not there ({TRUSTED} {path})")
    parts = [part for file in files for part in _text(file).split("-----BEGIN ")]
    keys = [f"-----BEGIN {part.strip()}\n" for part in parts if part.startswith("PUBLIC KEY-----")]
    return {_fingerprint(key): key for key in keys}


def _found(data: Path) -> dict[str, str]:
    """SHA-256 of every packed file but the signature and its key; a link counts as altered, whatever it leads to."""
    own = {SIGNATURE, PUBLIC_KEY}
    names = {p.relative_to(data).as_posix(): p for p in data.rglob("*") if p.is_symlink() or p.is_file()}
    plain = {name: path.read_bytes() for name, path in names.items() if name not in own and not path.is_symlink()}
    return {name: "a link" for name, path in names.items() if path.is_symlink()} | seal.digests(plain)


def _list(different: list[seal.Difference]) -> str:
    more = f" and {len(different) - LISTED} more" if len(different) > LISTED else ""
    return ", ".join(str(one) for one in different[:LISTED]) + more


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _fingerprint(public: str) -> str:
    return hashlib.sha256(public.encode()).hexdigest()


if __name__ == "__main__":
    main()
