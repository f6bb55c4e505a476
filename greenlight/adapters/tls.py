"""The edge's own certificate: whether it can be used, when it ends, and how our own clients recognise it.

Checked before Envoy sees it, since Envoy would only refuse connections later. The private key is read where it lies and
never copied.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenlight.adapters.edge import Edge
from greenlight.adapters.edge_files import ACK_TIMEOUT_S
from greenlight.adapters.edge_guard import certificate_document
from greenlight.adapters.waiting import wait_until
from greenlight.edge_settings import EdgeSettings
from greenlight.errors import ConfigError, EdgeError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate as X509

CERT, KEY = "GREENLIGHT_TLS_CERT", "GREENLIGHT_TLS_KEY"
MIN_RSA_BITS = 2048  # Envoy refuses smaller ones
CURVES = (256, 384, 521)  # and elliptic curves but these
SOON = timedelta(days=14)


@dataclass(frozen=True)
class Certificate:
    """What a certificate says.

    Attributes
    ----------
    subject : str
        As RFC 4514 writes it.
    serial : int
        The number that its issuer gave it.
    ends : datetime
        When it expires, UTC.
    """

    subject: str
    serial: int
    ends: datetime

    @property
    def ends_soon(self) -> bool:
        """Whether it expires within two weeks."""
        return self.ends - datetime.now(UTC) < SOON


def check(settings: EdgeSettings) -> Certificate | None:
    """Make sure that the edge can use its certificate and key; None where it has none.

    Raises
    ------
    ConfigError
        A file is missing, cannot be read or is not PEM; the key has a pass phrase, is of a kind that Envoy refuses, or
        is not the certificate's; the certificate has expired or is not valid yet.
    """
    if not (settings.tls_cert and settings.tls_key):
        return None
    from cryptography import x509

    try:
        chain = x509.load_pem_x509_certificates(_read(settings.tls_cert, CERT))
    except ValueError as exc:
        raise _wrong(CERT, settings.tls_cert, f"there is no certificate in PEM: {exc}", "name a PEM file") from exc
    leaf = chain[0]
    if _public_key(settings.tls_key) != _public_bytes(leaf):
        todo = "name the key that the certificate was made for; the leaf must be the first certificate of its file"
        raise _wrong(KEY, settings.tls_key, f"the key is not that of the certificate {settings.tls_cert}", todo)
    now = datetime.now(UTC)
    if now > leaf.not_valid_after_utc:
        said = f"it expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        raise _wrong(CERT, settings.tls_cert, said, "renew it")
    if now < leaf.not_valid_before_utc:
        said = f"it is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on, and now it is {now:%Y-%m-%d %H:%M}"
        raise _wrong(CERT, settings.tls_cert, said, "wait until then, or set the clock")
    return Certificate(leaf.subject.rfc4514_string(), leaf.serial_number, leaf.not_valid_after_utc)


def install(edge: Edge, settings: EdgeSettings) -> None:
    """Tell the edge where its certificate and key are; one that runs with TLS has read them when this returns.

    Raises
    ------
    ConfigError
        They cannot be used.
    EdgeError
        Envoy did not take them in time.
    """
    found, cert, key = check(settings), settings.tls_cert, settings.tls_key
    if not (found and cert and key):
        return
    before = [path for path in edge.guard.certificate.parent.glob("*.pem") if path.is_symlink()]

    def named(stamp: str) -> dict[str, Any]:
        links = _link(cert, edge, f"cert-{stamp}"), _link(key, edge, f"key-{stamp}")
        return certificate_document(*links, cert.parent, stamp)

    edge.give(edge.guard.certificate, named)
    # An edge that has no certificate yet runs with other settings; it reads the file when it starts again.
    runs = edge.is_up() and bool(serials(edge))
    if runs and not wait_until(lambda: found.serial in serials(edge), ACK_TIMEOUT_S, 0.02):
        raise EdgeError("Envoy did not take the certificate, the one before stays", where=f"{CERT} {cert}")
    for link in before:
        link.unlink(missing_ok=True)


def _link(target: Path, edge: Edge, name: str) -> Path:
    """A name that no earlier content had, so that Envoy reads what was written over in its place."""
    link = edge.guard.certificate.with_name(f"{name}.pem")
    link.symlink_to(target)
    return link


def serials(edge: Edge) -> list[int]:
    """Serial numbers of the certificates that Envoy uses now.

    Numbers, not text: Envoy writes whole bytes, so one in eight of its texts begins with a zero that Python leaves out.
    """
    listed = edge.admin("GET", "/certs").json().get("certificates", [])
    return [int(one["serial_number"], 16) for entry in listed for one in entry.get("cert_chain", [])]


def context(settings: EdgeSettings) -> ssl.SSLContext | None:
    """How our own clients recognise the edge: by exactly its certificate, whatever name and issuer stand in it."""
    if not settings.tls_cert:
        return None
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.check_hostname = False
    found.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is what is trusted
    found.load_verify_locations(cafile=settings.tls_cert)
    return found


def _public_key(path: Path) -> bytes:
    """The public half of the private key at `path`."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    content = _read(path, KEY)
    try:
        key = serialization.load_pem_private_key(content, None)
    except TypeError as exc:
        raise _wrong(KEY, path, "the key has a pass phrase", "write it without one, with file mode 600") from exc
    except ValueError as exc:
        raise _wrong(KEY, path, "there is no private key in PEM", "name a PEM file") from exc
    fits = isinstance(key, rsa.RSAPrivateKey) and key.key_size >= MIN_RSA_BITS
    if not (fits or (isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size in CURVES)):
        size = getattr(key, "key_size", "")
        said = f"Envoy takes no key of this kind: {type(key).__name__} {size}".rstrip()
        raise _wrong(KEY, path, said, f"an RSA key of {MIN_RSA_BITS} bits or more, or one on P-256, P-384 or P-521")
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _public_bytes(certificate: X509) -> bytes:
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return certificate.public_key().public_bytes(serialization.Encoding.DER, form)


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise _wrong(setting, path, f"it cannot be read: {exc.strerror}", "correct the path or its rights") from exc


def _wrong(setting: str, path: Path, what: str, todo: str) -> ConfigError:
    return ConfigError(f"the edge cannot use this for TLS: {what}", where=f"{setting} {path}", todo=todo)
