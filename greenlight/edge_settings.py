"""The settings of the edge that have to do with whom it lets in: keys, limits, certificates.

A part of :class:`greenlight.config.Settings`; each field is an environment variable with the prefix ``GREENLIGHT_``.
"""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

MIB = 2**20


class EdgeSettings(BaseModel):
    """Whom the edge lets in, and how much of it.

    Attributes
    ----------
    client_keys : bool
        Whether a request needs the API key of a client (``greenlight clients``). Off by default.
    rate_limit : float
        Requests a second that one client may send in the long run; 0: as many as it likes. A client is whoever the key
        belongs to, or without keys the address that the connection comes from.
    rate_burst : int
        Requests that a client which was silent may send at once; 0: twice a second's worth.
    max_body_mb : float
        Largest body of a request, MiB (2**20 bytes).
    max_connections : int
        Connections at a time; further ones are closed at once.
    receive_timeout_s : float
        How long a request may take to arrive whole, seconds.
    tls_cert, tls_key : Path
        Certificate chain and private key, PEM; both or neither.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    client_keys: bool = False
    rate_limit: float = Field(default=0, ge=0, le=1_000_000, allow_inf_nan=False)
    rate_burst: int = Field(default=0, ge=0, le=10_000_000)
    max_body_mb: float = Field(default=8, gt=0, le=1024, allow_inf_nan=False)
    max_connections: int = Field(default=1024, ge=1, le=1_000_000)
    receive_timeout_s: float = Field(default=30, gt=0, le=3600, allow_inf_nan=False)
    tls_cert: Path | None = None
    tls_key: Path | None = Field(default=None, validate_default=True)

    @field_validator("rate_burst")
    @classmethod
    def _has_a_rate(cls, value: int, info: ValidationInfo) -> int:
        if value and not info.data.get("rate_limit"):
            raise ValueError("says nothing without GREENLIGHT_RATE_LIMIT")
        return value

    @field_validator("tls_key")
    @classmethod
    def _both_or_neither(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert" in info.data and (value is None) != (info.data["tls_cert"] is None):
            raise ValueError("GREENLIGHT_TLS_CERT and GREENLIGHT_TLS_KEY belong together: set both or neither")
        return value

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a request."""
        return int(self.max_body_mb * MIB)

    @property
    def burst(self) -> int:
        """Requests that a client which was silent may send at once, at least 1; 0 without a limit."""
        return self.rate_burst or math.ceil(2 * self.rate_limit)

    @property
    def scheme(self) -> str:
        """``http``, or ``https`` with a certificate."""
        return "https" if self.tls_cert else "http"
