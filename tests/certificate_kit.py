"""Certificates for the edge, good ones and others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path


def certificate(
    folder: Path, name: str, *, days: float = 30, since: float = -1, of: str = "", secret: bytes = b"", serial: int = 0
) -> dict[str, Path]:
    """A certificate signed by itself and its key, written in one go each; `of` names another's key.

    Without `serial` the number is a random one.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    made = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(made.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now + timedelta(days=since))
        .not_valid_after(now + timedelta(days=days))
        .sign(made, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    lock = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    files = {"tls_cert": folder / f"{name}.crt", "tls_key": folder / f"{name}.key"}
    files["tls_cert"].write_bytes(built.public_bytes(pem))
    files["tls_key"].write_bytes(made.private_bytes(pem, serialization.PrivateFormat.PKCS8, lock))
    return files | ({"tls_key": folder / f"{of}.key"} if of else {})
