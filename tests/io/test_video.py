"""Videos: times, turns, streams and values; and files that end too early or were damaged."""

from __future__ import annotations

import gc
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seriatim.io import find_series, read, read_volume
from seriatim.io.pictures.video import read_clip
from seriatim.series import Series

av = pytest.importorskip("av")
RAMP = np.tile(np.arange(256, dtype=np.uint8), (64, 1))


def write(path: Path, array: np.ndarray, *, codec: str = "libx264", times: list[int] | None = None,
          options: dict[str, str] | None = None, pixels: str = "yuv420p", colour_range: int | None = None) -> Path:
    """Grey frames (S,H,W) uint8 at times in 1/100 s (one every 10)."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = array.shape[1], array.shape[2], pixels
        stream.codec_context.time_base = Fraction(1, 100)
        stream.options = options or {}
        if colour_range is not None:
            stream.codec_context.color_range = colour_range
        for index, picture in enumerate(array):
            frame = av.VideoFrame.from_ndarray(picture, format="gray")
            if pixels != "gray":
                frame = frame.reformat(format=pixels, dst_color_range=colour_range)
            if colour_range is not None:
                frame.color_range = colour_range
            frame.pts = times[index] if times else 10 * index
            frame.time_base = Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def moving(count: int = 30) -> np.ndarray:
    """Frames whose brightness tells their place, with detail that makes B-frames worth while."""
    detail = np.random.default_rng(0).integers(0, 20, (64, 96))
    return np.array([np.roll(detail, index, axis=1) + index * 7 for index in range(count)]).astype(np.uint8)


def find_one(path: Path) -> Series:
    (series,) = find_series(path).series
    return series


def codec_or_skip(name: str) -> str:
    try:
        av.codec.Codec(name, "w")
    except ValueError:  # UnknownCodecError is one
        pytest.skip(f"this FFmpeg cannot write {name}")
    return name


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_frames_that_are_stored_in_another_order_come_in_order_of_their_times(tmp_path: Path, name: str) -> None:
    times = list(np.cumsum([0, *([10, 20, 5] * 10)])[:30].astype(int))
    path = write(tmp_path / name, moving(), codec=codec_or_skip("libx264"), times=[int(time) for time in times],
                 options={"bf": "3", "b-adapt": "0"})
    (volume,) = read(path)
    brightness = volume.array.reshape(30, -1).mean(axis=1)
    assert (np.diff(brightness) > 4).all()
    np.testing.assert_allclose(volume.positions, np.array(times) / 100, atol=2e-3)


@pytest.mark.parametrize(("codec", "pixels", "colour_range"), [
    ("ffv1", "gray", None), ("ffv1", "yuv420p", 1), ("ffv1", "yuv420p", 2), ("ffv1", "yuv444p", None),
    ("mjpeg", "yuvj420p", 2), ("libx264", "yuv420p", 1), ("libx264", "yuv420p", 2),
])
def test_a_grey_ramp_is_grey_and_right_in_both_colour_ranges(
    tmp_path: Path, codec: str, pixels: str, colour_range: int | None
) -> None:
    options = {"qp": "0"} if codec == "libx264" else {}
    path = write(tmp_path / "a.mkv", np.array([RAMP] * 3), codec=codec_or_skip(codec), pixels=pixels, options=options,
                 colour_range=colour_range)
    (volume,) = read(path)
    assert volume.array.ndim == 3
    np.testing.assert_allclose(volume.array[1].astype(int), RAMP, atol=1)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_a_clip_that_was_filmed_sideways_stands_upright(
    tmp_path: Path, matrix: tuple[int, ...], turns: int
) -> None:
    array = np.zeros((4, 64, 96), np.uint8) + (np.arange(96) * 2)[None, None].astype(np.uint8)
    path = write(tmp_path / "a.mp4", array, codec=codec_or_skip("libx264"))
    (plain,) = read(path)
    raw = bytearray(path.read_bytes())
    place = raw.index(b"tkhd") + 4 + 40
    for offset, value in zip((0, 4, 12, 16), matrix, strict=True):
        raw[place + offset : place + offset + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(raw)
    (turned,) = read(path)
    np.testing.assert_array_equal(turned.array, np.rot90(plain.array, turns, axes=(1, 2)))
    assert (turned.series.rows, turned.series.columns) == turned.array.shape[1:]


@pytest.mark.parametrize("matrix", [(-1, 0, 0, 1), (0, 0, 0, 1), (1, 1, -1, 1)])
def test_a_clip_that_asks_to_be_mirrored_or_stretched_is_told(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    array = np.zeros((4, 64, 96), np.uint8) + (np.arange(96) * 2)[None, None].astype(np.uint8)
    path = write(tmp_path / "a.mp4", array, codec=codec_or_skip("libx264"))
    (plain,) = read(path)
    raw = bytearray(path.read_bytes())
    place = raw.index(b"tkhd") + 4 + 40
    for offset, value in zip((0, 4, 12, 16), matrix, strict=True):
        raw[place + offset : place + offset + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(raw)
    (volume,) = read(path)
    np.testing.assert_array_equal(volume.array, plain.array)
    (finding,) = [one for one in volume.series.findings if one.code == "BAD_VALUE"]
    assert "mirrored" in finding.message
    assert finding.action == "keep"


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
@pytest.mark.parametrize("part", [0.4, 0.8, 0.97])
def test_a_clip_that_is_cut_short_is_refused(tmp_path: Path, name: str, part: float) -> None:
    path = write(tmp_path / name, moving(), codec="mpeg4")
    assert find_one(path).usable
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * part)])
    assert find_one(path).reason.startswith(("TRUNCATED", "UNREADABLE"))


def test_a_clip_that_is_damaged_within_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", moving(), codec=codec_or_skip("libx264"))
    raw = bytearray(path.read_bytes())
    start = raw.index(b"mdat") + 4
    middle = start + (len(raw) - start) // 2
    raw[middle : middle + 400] = bytes(np.random.default_rng(0).integers(0, 256, 400, dtype=np.uint8))
    path.write_bytes(raw)
    assert find_one(path).reason.startswith(("TRUNCATED", "UNREADABLE"))


def test_sound_alone_is_refused_and_a_second_video_is_told(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame: Any = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert find_one(tmp_path / "a.mkv").reason.startswith("UNSUPPORTED")
    with av.open(str(tmp_path / "b.mkv"), "w") as container:
        streams = [container.add_stream("ffv1", rate=10) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = 64, 256, "gray"
        for _ in range(3):
            for index, stream in enumerate(streams):
                picture = av.VideoFrame.from_ndarray(RAMP if index == 0 else RAMP[:, ::-1].copy(), format="gray")
                container.mux(stream.encode(picture))
        for stream in streams:
            container.mux(stream.encode())
    series = find_one(tmp_path / "b.mkv")
    assert [(finding.code, finding.action) for finding in series.findings] == [("BAD_VALUE", "keep")]
    np.testing.assert_array_equal(read_volume(series).array, [RAMP] * 3)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="threads are counted where Linux tells them")
def test_a_long_clip_takes_no_more_threads_than_a_short_one(tmp_path: Path) -> None:
    series = find_one(write(tmp_path / "long.mp4", np.resize(moving(), (120, 64, 96))))
    gc.collect()
    gc.disable()  # nothing may wait for the garbage collector: each frame could keep its picture and three threads
    try:
        before = count_threads()
        read_clip(series)
        assert count_threads() <= before + 16
    finally:
        gc.enable()


def count_threads() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Threads:"))
    return int(line.split()[1])
