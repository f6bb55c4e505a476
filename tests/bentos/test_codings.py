"""Packed bodies: whole, in parts, damaged, and bombs, whose size in memory is bounded."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib

import pytest

from bentos.classifier.codings import PIECE, Unpacker
from bentos.classifier.problems import Problem

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PLAIN = b'{"rows": []}' * 100_000 + b"!"
PACKED = [
    ("gzip", gzip.compress(PLAIN)),
    ("x-gzip", gzip.compress(PLAIN)),
    ("GZIP", gzip.compress(PLAIN[:7]) + gzip.compress(PLAIN[7:]) + b"\0" * 9),
    ("deflate", zlib.compress(PLAIN)),
    ("deflate", zlib.compress(PLAIN, wbits=-15)),
    ("zstd", zstd.compress(PLAIN)),
    ("identity, zstd", zstd.compress(PLAIN[:7]) + zstd.compress(PLAIN[7:])),
    ("identity", PLAIN),
    ("", PLAIN),
]


def unpacked(coding: str, packed: bytes, step: int = sys.maxsize) -> bytes:
    unpacker = Unpacker(coding.encode())
    found = [piece for at in range(0, len(packed), step) for piece in unpacker.pieces(packed[at : at + step])]
    unpacker.end()
    return b"".join(found)


@pytest.mark.parametrize(("coding", "packed"), PACKED)
@pytest.mark.parametrize("step", [sys.maxsize, 1000, 7])
def test_a_body_is_unpacked_however_it_arrives(coding: str, packed: bytes, step: int) -> None:
    assert unpacked(coding, packed, step) == PLAIN


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_sizes_around_a_piece(size: int) -> None:
    plain = b"a" * size
    for coding, packed in (
        ("gzip", gzip.compress(plain)),
        ("deflate", zlib.compress(plain)),
        ("zstd", zstd.compress(plain)),
    ):
        assert unpacked(coding, packed) == plain


@pytest.mark.parametrize("coding", ["br", "br2", "compress", "gzip, zstd", "aws-chunked"])
def test_an_unknown_coding_is_named(coding: str) -> None:
    with pytest.raises(Problem, match=f"'{coding}', wanted gzip, deflate, zstd or none") as refused:
        Unpacker(coding.encode())
    assert refused.value.status == 415


@pytest.mark.parametrize(("coding", "packed"), PACKED[:7])
def test_what_is_damaged_or_breaks_off_is_said(coding: str, packed: bytes) -> None:
    name = coding.lower().removeprefix("identity, ").removeprefix("x-")
    for wrong, words in (
        (b"\x07not packed at all", "not packed with"),
        (packed[:20], "breaks off"),
        (b"", "breaks off"),
    ):
        with pytest.raises(
            Problem, match=f"{words}.*" if words != "breaks off" else f"packed with {name} breaks off"
        ) as refused:
            unpacked(coding, wrong)
        assert refused.value.status == 400


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_bomb_takes_no_more_memory_than_its_limit(coding: str) -> None:
    bomb = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}[coding](bytes(200_000_000))
    unpacker, size = Unpacker(coding.encode()), 0
    tracemalloc.start()
    for piece in unpacker.pieces(bomb):
        assert len(piece) <= PIECE
        size += len(piece)
        if size > 8_000_000:
            break
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size <= 8_000_000 + PIECE
    assert peak < 4 * PIECE + len(bomb)


def test_a_zstd_frame_that_asks_for_a_huge_window_is_refused() -> None:
    wanted = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.enable_long_distance_matching: 1}
    maker = zstd.ZstdCompressor(options=wanted)
    packed = maker.compress(PLAIN) + maker.flush()  # streamed: the frame does not say how small it is
    with pytest.raises(Problem, match="not packed with zstd") as refused:
        unpacked("zstd", packed)
    assert refused.value.status == 400
