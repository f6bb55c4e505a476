"""Content codings of request bodies (RFC 9110, 8.4.1): gzip, deflate and zstd, unpacked a bounded piece at a time.

What a body unpacks to is known only when it is unpacked, so nothing here makes more than `PIECE` bytes at once: whoever
reads the pieces counts them and stops at its limit. A body of a few kilobytes that would fill the memory then takes no
more of it than any other.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Any

from bentos.classifier.problems import Problem

PIECE = 256 * 1024
CODINGS = ("gzip", "deflate", "zstd")
# A decoder of the coding zstd need not hold more than 8 MiB (RFC 9659, 3); a frame may ask for gigabytes.
ZSTD_WINDOW_LOG = 23


class Unpacker:
    """Unpacks one body.

    Parameters
    ----------
    coding : bytes
        Value of ``Content-Encoding``; nothing and ``identity`` stand for a body that is not packed.

    Raises
    ------
    Problem
        415: a coding that is not in `CODINGS`, or several at once.
    """

    def __init__(self, coding: bytes) -> None:
        said = coding.decode("latin-1")
        names = [name for part in said.split(",") if (name := part.strip().lower()) not in ("", "identity")]
        self._name = names[0].removeprefix("x-") if names else ""
        if len(names) > 1 or (names and self._name not in CODINGS):
            raise Problem(415, f"Content-Encoding is {said[:80]!r}, wanted {', '.join(CODINGS)} or none")
        self._made: Any = None
        self._whole = False

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """What the next part of the body unpacks to, in pieces of at most `PIECE` bytes.

        Raises
        ------
        Problem
            400: the body is not packed as it is said to be.
        """
        if not self._name:
            yield packed
            return
        while packed or self._made:
            if self._made is None:
                # Several members or frames may follow each other; some writers fill up with zeros behind the last.
                if self._whole and not packed.strip(b"\0"):
                    return
                self._made, self._whole = self._new(packed[:2]), False
            piece = self._unpacked(packed)
            if piece:
                yield piece
            if self._made.eof:
                packed, self._made, self._whole = self._made.unused_data, None, True
                continue
            packed = getattr(self._made, "unconsumed_tail", b"")  # zstd keeps what it did not come to
            if not packed and len(piece) < PIECE:
                return

    def end(self) -> None:
        """Say that the body has ended.

        Raises
        ------
        Problem
            400: what was packed has not.
        """
        if self._name and not self._whole:
            raise Problem(400, f"the body packed with {self._name} breaks off")

    def _new(self, head: bytes) -> Any:
        if self._name == "zstd":
            zstd = _zstd()
            return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})
        if self._name == "gzip":
            return zlib.decompressobj(31)
        # "deflate" means zlib's format; some clients have always left its header out (RFC 9110, 8.4.1.2).
        headed = len(head) < 2 or (head[0] & 15 == 8 and int.from_bytes(head, "big") % 31 == 0)
        return zlib.decompressobj(15 if headed else -15)

    def _unpacked(self, packed: bytes) -> bytes:
        wrong: type[Exception] = _zstd().ZstdError if self._name == "zstd" else zlib.error
        try:
            return bytes(self._made.decompress(packed, PIECE))
        except wrong as exc:
            raise Problem(400, f"the body is not packed with {self._name}, as Content-Encoding says: {exc}") from None


def _zstd() -> Any:
    """The module for zstd; imported for the first body that is packed with it."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
