"""What a signature covers: the statement inside a bundle of OpenSSF model-signing, and how files differ from it.

A version's signed content is a folder with ``model/`` and ``evidence/``. The bundle (JSON, sigstore's format) holds an
in-toto statement with the SHA-256 of every file, and the signature over it. Only the statement is read here; whether
the signature holds is for the callers to find out (`greenlight.adapters.signing`, and the bento's own check).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODEL, EVIDENCE = "model", "evidence"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"


@dataclass(frozen=True)
class Bundle:
    """A signature, taken apart.

    Attributes
    ----------
    key : str
        Fingerprint of the key that is said to have signed: SHA-256 of its public half as PEM, 64 hexadecimal digits.
        Empty where a certificate stands instead (keyless).
    files : dict of str to str
        SHA-256 of every file that is signed, by its path in the folder.
    payload : bytes
        What was signed, as it was signed.
    signature : bytes
        The signature over it.
    """

    key: str
    files: dict[str, str]
    payload: bytes
    signature: bytes

    @property
    def keyless(self) -> bool:
        """Whether an identity signed through sigstore, and not a key."""
        return not self.key

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is over: DSSE's pre-authentication encoding of the payload."""
        head = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(self.payload)} "
        return head.encode() + self.payload


@dataclass(frozen=True)
class Difference:
    """One file that is not as it was signed; `problem` is ``differs``, ``is missing`` or ``was not signed``."""

    file: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file} {self.problem}"


def parse(text: str) -> Bundle:
    """Take a bundle apart.

    Raises
    ------
    ValueError
        It is none, or not one that covers whole files by their SHA-256.
    """
    try:
        bundle = json.loads(text)
        envelope = bundle["dsseEnvelope"]
        [signature] = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        statement = json.loads(payload)
        _expect("media type", bundle["mediaType"], MEDIA_TYPE)
        _expect("payload type", envelope["payloadType"], PAYLOAD_TYPE)
        _expect("statement type", statement["_type"], STATEMENT)
        _expect("predicate type", statement["predicateType"], PREDICATE)
        files = _files(statement)
        key = str(bundle["verificationMaterial"].get("publicKey", {}).get("hint") or "")
        return Bundle(key, files, payload, base64.b64decode(signature["sig"], validate=True))
    except (KeyError, TypeError, AttributeError, ValueError) as exc:
        raise ValueError(f"not a signature of model-signing: {exc!r}") from exc


def differences(signed: Mapping[str, str], found: Mapping[str, str]) -> list[Difference]:
    """Every file that is not as it was signed, by name; both map paths to SHA-256."""
    rows = []
    for name in sorted({*signed, *found}):
        if name not in found:
            rows.append(Difference(name, "is missing"))
        elif name not in signed:
            rows.append(Difference(name, "was not signed"))
        elif signed[name] != found[name]:
            rows.append(Difference(name, "differs"))
    return rows


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file's content."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def _files(statement: dict[str, Any]) -> dict[str, str]:
    predicate = statement["predicate"]
    _expect("method", predicate["serialization"]["method"], "files")
    found: dict[str, str] = {}
    for resource in predicate["resources"]:
        _expect("hash", resource["algorithm"], "sha256")
        found[str(resource["name"])] = str(resource["digest"])
    _expect("number of distinct files", len(found), len(predicate["resources"]))
    return found


def _expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise ValueError(f"{what} is {found!r}, wanted {wanted!r}")
