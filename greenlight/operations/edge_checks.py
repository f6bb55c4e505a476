"""What `greenlight doctor` says about the edge: its certificate, who may ask, and whose rights it has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address

from greenlight.adapters import tls
from greenlight.config import Settings
from greenlight.operations.checks import Check


def examine(settings: Settings) -> Iterator[Check]:
    """Warn of what works and is unwise; a certificate that cannot be used raises `ConfigError`."""
    found = tls.check(settings)
    if found:
        until = f"{found.subject}, until {found.ends:%Y-%m-%d}"
        todo = "renew it; the edge takes the new one as soon as it is renamed into its place"
        yield Check("certificate", "warn" if found.ends_soon else "ok", until, todo if found.ends_soon else "")
    loopback = ip_address(settings.host).is_loopback
    if settings.client_keys:
        yield Check("clients", "ok", "the edge asks for keys")
    elif loopback:
        yield Check("clients", "ok", "no keys are asked for; only this machine reaches the edge")
    else:
        who = f"no keys are asked for, and everybody who reaches {settings.host} may ask"
        yield Check("clients", "warn", who, "GREENLIGHT_CLIENT_KEYS=1, and docs/edge.md")
    if not loopback and not found:
        yield Check("tls", "warn", f"requests to {settings.host} are not encrypted", "GREENLIGHT_TLS_CERT and _KEY")
    if os.getuid() == 0:
        todo = "run Greenlight as a user of its own: it needs no rights of root, for no port above 1023"
        yield Check("user", "warn", "this is root, so whoever broke into the edge would be too", todo)
