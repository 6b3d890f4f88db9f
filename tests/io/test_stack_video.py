"""Picture folders, TIFF pages, GIF and video: order, times, grey or colour, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seriatim.errors import DecoderError, InputError
from seriatim.io import find_series, read, read_volume

av = pytest.importorskip("av")


def frames(count: int = 12, *, colour: bool = False) -> np.ndarray:
    """Frames whose brightness tells their place."""
    array = np.full((count, 32, 48), 0, dtype=np.uint8) + (np.arange(count, dtype=np.uint8) * 15)[:, None, None]
    return np.repeat(array[..., None], 3, axis=3) * np.array([1, 0, 1], np.uint8) if colour else array


def write_video(path: Path, array: np.ndarray, *, rate: int = 10, codec: str = "mpeg4") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = array.shape[1], array.shape[2], "yuv420p"
        for picture in array:
            frame = av.VideoFrame.from_ndarray(np.repeat(picture[..., None], 3, axis=2), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_pictures_are_ordered_by_the_numbers_in_their_names(tmp_path: Path) -> None:
    array = frames()
    for index, picture in enumerate(array):
        Image.fromarray(picture).save(tmp_path / f"frame_{index}.png")
    volume = read(tmp_path)[0]
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_array_equal(volume.positions, np.arange(12))
    assert (volume.series.axis, volume.affine, volume.series.format) == ("time", None, "stack")


def test_grey_pictures_stored_as_colour_are_grey_and_coloured_ones_are_not(tmp_path: Path) -> None:
    for name, array in (("grey", np.repeat(frames()[..., None], 3, axis=3)), ("colour", frames(colour=True))):
        (tmp_path / name).mkdir()
        for index, picture in enumerate(array):
            Image.fromarray(picture).save(tmp_path / name / f"{index}.png")
    assert read(tmp_path / "grey")[0].array.shape == (12, 32, 48)
    np.testing.assert_array_equal(read(tmp_path / "colour")[0].array, frames(colour=True))


def test_sixteen_bit_pictures_keep_their_values(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 60000, (3, 4, 5)).astype(np.uint16)
    for index, picture in enumerate(array):
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
    np.testing.assert_array_equal(read(tmp_path)[0].array, array)


def test_folders_are_stacks_of_their_own_and_mixed_sizes_and_single_pictures_are_refused(tmp_path: Path) -> None:
    for name, sizes in (("good", (8, 8, 8)), ("mixed", (8, 9, 8)), ("single", (8,))):
        (tmp_path / name).mkdir()
        for index, size in enumerate(sizes):
            Image.new("L", (size, 8), index).save(tmp_path / name / f"{index}.png")
    found = {series.path.name: series for series in find_series(tmp_path).series}
    assert found["good"].usable
    assert found["mixed"].reason.startswith("MIXED_SIZE")
    assert found["single"].reason.startswith("NOT_A_SERIES")


def test_a_damaged_picture_refuses_its_stack_only(tmp_path: Path) -> None:
    for name in ("good", "bad", "cut"):
        (tmp_path / name).mkdir()
        for index, picture in enumerate(frames()):
            Image.fromarray(picture).save(tmp_path / name / f"{index}.jpg")
    (tmp_path / "bad" / "3.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    cut = tmp_path / "cut" / "3.jpg"
    cut.write_bytes(cut.read_bytes()[:-12])
    inventory = find_series(tmp_path)
    found = {series.path.name: series for series in inventory.series}
    assert found["good"].usable
    assert found["bad"].reason.startswith("UNREADABLE")
    assert [one.path.name for one in inventory.skipped] == ["3.jpg"]
    with pytest.raises(DecoderError):
        read_volume(found["cut"])


def test_pages_of_a_tiff_and_frames_of_a_gif(tmp_path: Path) -> None:
    array = frames(5)
    pictures = [Image.fromarray(picture) for picture in array]
    pictures[0].save(tmp_path / "a.tiff", save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / "b.gif", save_all=True, append_images=pictures[1:], duration=[100, 200, 100, 100, 100])
    pages, animation = read(tmp_path)
    np.testing.assert_array_equal(pages.array, array)
    np.testing.assert_array_equal(animation.array, array)
    np.testing.assert_allclose(animation.positions, [0, 0.1, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mpeg4"), ("a.avi", "mjpeg"), ("a.mov", "mpeg4"), ("a.mpg", "mpeg2video")]
)
def test_video_frames_come_in_order_of_their_times(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    if codec == "mjpeg":
        pytest.importorskip("av")
    try:
        write_video(path, frames(), rate=25 if name.endswith("mpg") else 10, codec=codec)
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this FFmpeg cannot write {codec}: {error}")
    volume = read(path)[0]
    assert volume.array.shape[:3] == (12, 32, 48)
    grey = volume.array.reshape(12, -1).mean(axis=1)
    np.testing.assert_allclose(grey, np.arange(12) * 15, atol=6)
    assert (np.diff(volume.positions) > 0).all()
    np.testing.assert_allclose(np.diff(volume.positions), 1 / (25 if name.endswith("mpg") else 10), atol=2e-3)


def test_a_video_that_is_none_is_a_row_and_a_changed_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 200)
    (row,) = find_series(tmp_path).series
    assert row.reason.startswith("UNREADABLE")
    assert (row.instances, row.format, row.axis, row.path) == ((), "video", "time", tmp_path / "a.mp4")
    (series,) = find_series(write_video(tmp_path / "b.avi", frames())).series
    write_video(tmp_path / "b.avi", frames(7))
    with pytest.raises(InputError):
        read_volume(series)


def test_without_pyav_a_video_is_refused_with_the_extra_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.avi", frames())
    monkeypatch.setitem(sys.modules, "av", None)
    (series,) = find_series(path).series
    assert series.reason.startswith("DECODER_MISSING")
    assert "seriatim[video]" in series.reason
