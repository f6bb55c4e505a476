"""Keys: the one that signs versions, and those that are trusted.

The private key lies below ``<home>/keys`` and is made on first use, or is the organisation's own
(``GREENLIGHT_SIGNING_KEY``); it never enters Git. Public keys that are trusted are Git blobs below
``refs/greenlight/keys/``, so that they travel with the repository, or, where ``GREENLIGHT_TRUSTED_KEYS`` names a file
or a folder, those in it and no others.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from greenlight.adapters.desired import replace_file
from greenlight.adapters.git import Repository
from greenlight.config import Settings
from greenlight.errors import ConfigError, GitError, SigningError

REFS = "refs/greenlight/keys/"
PRIVATE = Path("keys/signing.pem")
TRUSTED = Path("serving/trusted_keys.pem")
BEGIN, END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
NO_REF = "0" * 40


def fingerprint(public: str) -> str:
    """SHA-256 of a public key as PEM: what a bundle names its key by."""
    return hashlib.sha256(public.encode()).hexdigest()


def signing_key(settings: Settings) -> Path:
    """The private key that signs; made on first use unless the organisation's own is set.

    Raises
    ------
    ConfigError
        ``GREENLIGHT_SIGNING_KEY`` names no file.
    SigningError
        The key could not be written.
    """
    if settings.signing_key:
        if not settings.signing_key.is_file():
            raise ConfigError(
                "GREENLIGHT_SIGNING_KEY names no file", where=str(settings.signing_key), todo="correct or unset it"
            )
        return settings.signing_key
    path = settings.home / PRIVATE
    if not path.is_file():
        _make(path)
    return path


def public_of(private: Path) -> str:
    """The public half of a private key, as PEM.

    Raises
    ------
    SigningError
        It cannot be read, or is no private key on one of the curves that model-signing takes.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    todo = "it must be an elliptic-curve key (P-256, P-384 or P-521) in PEM, without a pass phrase"
    try:
        key = serialization.load_pem_private_key(private.read_bytes(), None)
    except OSError as exc:
        raise SigningError(f"the signing key cannot be read: {exc.strerror}", where=str(private)) from exc
    except (ValueError, TypeError) as exc:
        raise SigningError(f"the signing key cannot be used: {exc}", where=str(private), todo=todo) from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.key_size not in (256, 384, 521):
        raise SigningError(f"the signing key is a {type(key).__name__}", where=str(private), todo=todo)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def trusted(settings: Settings, repository: Repository) -> dict[str, str]:
    """Public keys that are trusted, as PEM, by fingerprint.

    Raises
    ------
    ConfigError
        ``GREENLIGHT_TRUSTED_KEYS`` names nothing, or a file without a public key.
    GitError
        A key in the repository is not the one that its name says.
    """
    if settings.trusted_keys:
        return _from_files(settings.trusted_keys)
    refs = repository.refs(REFS)
    contents = repository.read_many(refs.values())
    found = {}
    for ref, content in zip(refs, contents, strict=True):
        text = (content or b"").decode("utf-8", "replace")
        if fingerprint(text) != ref.removeprefix(REFS):
            raise GitError(
                "a trusted key is not the one that its ref names",
                where=ref,
                todo=f"find out who changed it, then: git update-ref -d {ref}",
            )
        found[fingerprint(text)] = text
    return found


def trust(settings: Settings, repository: Repository, public: str) -> None:
    """Have the key that signs be a trusted one, before anything is signed with it.

    Raises
    ------
    SigningError
        The trusted keys are set from outside and it is not among them: every server would refuse what it signs.
    """
    name = fingerprint(public)
    if name in trusted(settings, repository):
        return
    if settings.trusted_keys:
        raise SigningError(
            f"the key that signs ({name[:12]}) is not among the trusted ones, so what it signs would be refused",
            where=f"GREENLIGHT_TRUSTED_KEYS {settings.trusted_keys}",
            todo="add its public half there, or set GREENLIGHT_SIGNING_KEY to a key that is trusted",
        )
    blob = repository.run("hash-object", "-w", "--stdin", stdin=public.encode())
    try:
        # Nobody else's ref is overwritten: it must not exist yet.
        repository.run("update-ref", f"{REFS}{name}", blob, NO_REF)
    except GitError:
        if name not in trusted(settings, repository):  # else another run was faster, with the same key
            raise


def for_servers(settings: Settings, repository: Repository | None = None) -> Path:
    """Write the trusted keys where model servers read them; returns that file."""
    found = trusted(settings, repository or Repository(settings.root))
    path = settings.home / TRUSTED
    content = "".join(found[name] for name in sorted(found)).encode()
    if not path.is_file() or path.read_bytes() != content:
        replace_file(path, content)
    return path


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    mine = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        with os.fdopen(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(pem)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(mine, path)  # a link is never made over a key that another run made meanwhile
        except FileExistsError:
            pass
        finally:
            mine.unlink()
    except OSError as exc:
        raise SigningError(
            f"the signing key could not be written: {exc.strerror}",
            where=str(exc.filename or path),
            todo="free space or correct the folder's rights, then repeat",
        ) from exc


def _from_files(path: Path) -> dict[str, str]:
    files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
    found: dict[str, str] = {}
    for file in files:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        keys = split(text)
        if not keys:
            raise ConfigError("there is no public key in PEM", where=f"GREENLIGHT_TRUSTED_KEYS {file}")
        found |= {fingerprint(key): key for key in keys}
    if not found:
        raise ConfigError("there is no *.pem file", where=f"GREENLIGHT_TRUSTED_KEYS {path}")
    return found


def split(text: str) -> list[str]:
    """Every public key of a text in PEM."""
    parts = text.split(BEGIN)[1:]
    return [f"{BEGIN}\n{part.split(END)[0].strip()}\n{END}\n" for part in parts if END in part]
