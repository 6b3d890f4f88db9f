"""Gzip content of a known size: all damage is told, whoever unpacks it, and a bomb is not unpacked."""

from __future__ import annotations

import gzip
import importlib.util
import tracemalloc

import numpy as np
import pytest

from seriatim.io.volumes.gzipped import GzipError, unpack

CONTENT = np.random.default_rng(0).integers(0, 50, 300_000).astype(np.uint8).tobytes()


@pytest.fixture(params=[True, False], ids=["libdeflate", "zlib"])
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    elif importlib.util.find_spec("imagecodecs") is None:
        pytest.skip("imagecodecs is not installed")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "packed",
    [gzip.compress(CONTENT), gzip.compress(CONTENT) + bytes(7), gzip.compress(CONTENT[:1000]) +
     gzip.compress(CONTENT[1000:]), gzip.compress(CONTENT + b"more")],
    ids=["one member", "padded", "members", "longer"],
)
def test_whole_files_are_unpacked(packed: bytes) -> None:
    assert unpack(packed, len(CONTENT)).tobytes() == CONTENT


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("damage", ["cut", "no checksum", "checksum", "bit", "garbage", "short", "second member"])
def test_damage_is_an_error(damage: str) -> None:
    packed = bytearray(gzip.compress(CONTENT))
    if damage == "cut":
        del packed[len(packed) // 2 :]
    elif damage == "no checksum":
        del packed[-8:]
    elif damage == "checksum":
        packed[-6] ^= 1
    elif damage == "bit":
        packed[len(packed) // 2] ^= 4
    elif damage == "garbage":
        packed += b"garbage after the end"
    elif damage == "short":
        packed = bytearray(gzip.compress(CONTENT[:-1]))
    else:
        packed += gzip.compress(CONTENT)[:-30]
    with pytest.raises(GzipError):
        unpack(bytes(packed), len(CONTENT))


@pytest.mark.usefixtures("quick")
def test_a_bomb_is_not_unpacked() -> None:
    packed = gzip.compress(bytes(1 << 27), 9)
    forged = packed[:-4] + (1000).to_bytes(4, "little")
    tracemalloc.start()
    for bomb in (packed, forged):
        with pytest.raises(GzipError):
            unpack(bomb, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24
