"""The access log of the edge, kept within its limit: Envoy itself lets it grow for ever.

A small process beside Envoy (``python edge_log.py <log> <admin socket>``, standard library only, 8 MB of its own): when
the log has grown to `MOST_BYTES` it gets another name, and Envoy is told to open a new one. No line is lost by that. It
must not know what is logged.
"""

from __future__ import annotations

import http.client
import socket
import sys
import time
from pathlib import Path

MOST_BYTES = 32 * 2**20
OLDER_FILES = 3
LOOK_S = 5.0


def command(log: Path, admin: Path) -> list[str]:
    """How the process is started."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(log), str(admin)]


def bound(log: Path, admin: Path, most_bytes: int = MOST_BYTES) -> bool:
    """Begin a new log if this one has grown to `most_bytes`; whether it did. The oldest goes.

    Raises
    ------
    OSError
        The folder cannot be written, or the admin socket does not answer.
    """
    try:
        if log.stat().st_size < most_bytes:
            return False
    except FileNotFoundError:
        return False
    for number in range(OLDER_FILES, 1, -1):
        newer = log.with_name(f"{log.name}.{number - 1}")
        if newer.exists():
            newer.replace(log.with_name(f"{log.name}.{number}"))
    log.replace(log.with_name(f"{log.name}.1"))
    _reopen(admin)
    return True


def _reopen(admin: Path) -> None:
    """An Envoy that is away opens a new file when it comes back."""
    with socket.socket(socket.AF_UNIX) as to:
        to.settimeout(5)
        to.connect(str(admin))
        to.sendall(b"POST /reopen_logs HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        answer = http.client.HTTPResponse(to)
        answer.begin()
        if answer.status != 200:
            raise OSError(f"Envoy did not open its log anew: {answer.status}")


def main(log: str, admin: str) -> None:
    """Look now and then, for ever."""
    while True:
        time.sleep(LOOK_S)
        try:
            bound(Path(log), Path(admin))
        except OSError as exc:
            sys.stderr.write(f"{log}: {exc}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
