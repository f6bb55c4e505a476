"""Signatures by OpenSSF model-signing: one sigstore bundle over a folder, by a key or (keyless) by an identity.

The library costs a second to import, so it is imported where something is signed or verified, and never by a server.
"""

from __future__ import annotations

import json
from pathlib import Path

from greenlight.adapters import keys, scratch
from greenlight.config import Settings
from greenlight.core import seal
from greenlight.errors import ConfigError, SigningError


def sign(folder: Path, settings: Settings, *, key: Path | None) -> str:
    """Sign every file of `folder`; returns the bundle as JSON on one line.

    Parameters
    ----------
    folder : Path
        Holds ``model/`` and ``evidence/`` as plain files.
    key : Path or None
        The private key. None: keyless, by the identity that this environment (CI) vouches for.

    Raises
    ------
    SigningError
        The key cannot be used, or sigstore gave no certificate.
    """
    from model_signing import signing

    config = signing.Config()  # type: ignore[no-untyped-call]
    with scratch.passing("sign") as work:
        written = work / "signature.json"
        try:
            if key:
                config.use_elliptic_key_signer(private_key=key)
            else:
                config.use_sigstore_signer(use_ambient_credentials=True)
            config.sign(folder, written)
        except Exception as exc:  # each of its signers raises what its parts raise
            how = f"key {key}" if key else "keyless: ambient OpenID credentials"
            todo = "see docs/provenance.md" if key else "run it in CI with an identity token (docs/provenance.md)"
            raise SigningError(f"the model could not be signed: {exc!r}", where=how, todo=todo) from exc
        return json.dumps(json.loads(written.read_text(encoding="utf-8")), separators=(",", ":"))


def problem(bundle: str, folder: Path, settings: Settings, *, public: str) -> str:
    """Why model-signing says no to the signature of `folder`; empty when it says yes.

    Parameters
    ----------
    public : str
        Public key as PEM; empty for a keyless signature, which the identity in the settings must have made.
    """
    from model_signing import verifying

    config = verifying.Config()  # type: ignore[no-untyped-call]
    with scratch.passing("verify") as work:
        signature, key = work / "signature.json", work / "key.pem"
        signature.write_text(bundle, encoding="utf-8")
        try:
            if public:
                key.write_text(public, encoding="utf-8")
                config.use_elliptic_key_verifier(public_key=key)
            else:
                config.use_sigstore_verifier(identity=settings.signer_identity, oidc_issuer=settings.signer_issuer)
            config.verify(folder, signature)
        except Exception as exc:  # noqa: BLE001 - each of its verifiers raises what its parts raise; all of it is a no
            return str(exc) or type(exc).__name__
    return ""


def files_of(bundle: str) -> seal.Bundle:
    """A bundle taken apart.

    Raises
    ------
    SigningError
        It is none.
    """
    try:
        return seal.parse(bundle)
    except ValueError as exc:
        raise SigningError(str(exc)) from exc


def key_for(settings: Settings) -> Path | None:
    """What signs: the private key's path, or None for keyless.

    Raises
    ------
    ConfigError
        Keyless without the identity and the issuer that verifying needs.
    """
    if settings.signing == "key":
        return keys.signing_key(settings)
    if not (settings.signer_identity and settings.signer_issuer):
        raise ConfigError(
            "GREENLIGHT_SIGNING is sigstore, and who signs is not said",
            where="environment",
            todo="set GREENLIGHT_SIGNER_IDENTITY and GREENLIGHT_SIGNER_ISSUER (docs/provenance.md)",
        )
    return None
