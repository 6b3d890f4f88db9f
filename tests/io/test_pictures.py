"""Picture folders and pages: order and numbering, values of every mode, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seriatim.errors import DecoderError
from seriatim.io import find_series, read, read_volume
from seriatim.series import Series
from seriatim.series.findings import Code


def save_named(folder: Path, names: Sequence[str]) -> Path:
    """Small pictures whose brightness is their place in ``names``."""
    folder.mkdir(exist_ok=True, parents=True)
    for index, name in enumerate(names):
        Image.new("L", (4, 3), index).save(folder / name)
    return folder


def find_one(path: Path) -> Series:
    (series,) = find_series(path).series
    return series


@pytest.mark.parametrize("names", [
    ["frame_8.png", "frame_9.png", "frame_10.png", "frame_11.png"],
    [f"scan7_{number}_t2.png" for number in range(8, 13)],
    ["IMG1.png", "img2.png", "Img3.PNG", "img4.png"],
    ["a.png", "b.png", "c.png"],
    [f"{number * 10}.png" for number in range(9, 14)],
    ["x\u00b2_1.png", "x\u00b2_2.png"],
    ["20240101_235959.png", "20240102_000003.png", "20240102_000009.png"],
])
def test_names_are_in_natural_order(tmp_path: Path, names: list[str]) -> None:
    series = find_one(save_named(tmp_path / "a", names))
    assert series.reason == ""
    assert [instance.path.name for instance in series.instances] == names
    assert list(read_volume(series).array[:, 0, 0]) == list(range(len(names)))


@pytest.mark.parametrize(("names", "code"), [
    (["img1.png", "img01.png", "img2.png"], "DUPLICATE_POSITION"),
    (["img1.png", "IMG1.PNG", "img2.png"], "DUPLICATE_POSITION"),
    (["img1.png", "img1.bmp", "img2.png"], "DUPLICATE_POSITION"),
    (["t1_1.png", "t1_2.png", "t2_1.png", "t2_2.png"], "DUPLICATE_POSITION"),
    (["left1.png", "left2.png", "right1.png", "right2.png"], "DUPLICATE_POSITION"),
    (["f1.png", "f2.png", "f4.png", "f5.png"], "GAP"),
    ([f"f_{number:03}_9.png" for number in (1, 2, 3, 4, 7, 8)], "GAP"),
])
def test_names_without_one_order_are_refused(tmp_path: Path, names: list[str], code: str) -> None:
    assert find_one(save_named(tmp_path / "a", names)).reason.startswith(code)


def test_missing_numbers_can_be_kept(tmp_path: Path) -> None:
    folder = save_named(tmp_path / "a", ["f1.png", "f2.png", "f4.png", "f5.png"])
    (volume,) = read(folder, {Code.GAP: "keep"})
    assert list(volume.array[:, 0, 0]) == [0, 1, 2, 3]
    assert dict(volume.series.findings[0].numbers) == {"missing": 1}


@pytest.mark.parametrize(("mode", "value", "shown"), [
    ("1", 1, 255), ("L", 77, 77), ("I;16", 40000, 40000), ("LA", (77, 3), 77), ("P", 77, 77),
    ("RGB", (1, 2, 3), [1, 2, 3]), ("RGBA", (1, 2, 3, 4), [1, 2, 3]),
])
def test_every_mode_keeps_its_values_and_loses_its_alpha(
    tmp_path: Path, mode: str, value: object, shown: object
) -> None:
    for index in range(2):
        picture = Image.new(mode, (4, 3), value)  # type: ignore[arg-type]
        if mode == "P":
            picture.putpalette([level for level in range(256) for _ in range(3)])
        picture.save(tmp_path / f"{index}.png")
    (volume,) = read(tmp_path)
    np.testing.assert_array_equal(volume.array[1, 2, 3], shown)


def test_a_turned_photograph_stands_upright(tmp_path: Path) -> None:
    array = np.zeros((16, 32), np.uint8)
    array[:, :16] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: the left becomes the top
    for index in range(2):
        Image.fromarray(array).save(tmp_path / f"{index}.jpg", exif=exif, quality=95)
    (volume,) = read(tmp_path)
    assert volume.array.shape == (2, 32, 16)
    assert volume.array[0, 4, 8] > 150 > volume.array[0, 28, 8]
    assert (volume.series.columns, volume.series.rows) == (16, 32)


def test_mixed_depths_animations_and_colours_of_16_bits_are_refused(tmp_path: Path) -> None:
    for name, modes in (("depth", ("L", "I;16")), ("grey and colour", ("L", "RGB"))):
        (tmp_path / name).mkdir()
        for index, mode in enumerate(modes):
            Image.new(mode, (4, 3)).save(tmp_path / name / f"{index}.png")
    assert find_one(tmp_path / "depth").reason.startswith("BAD_VALUE")
    assert find_one(tmp_path / "grey and colour").usable
    moving = save_named(tmp_path / "moving", ["1.png", "2.png"])
    Image.new("L", (4, 3)).save(moving / "3.png", save_all=True, append_images=[Image.new("L", (4, 3), 9)])
    assert "animated" in find_one(moving).reason
    deep = save_named(tmp_path / "deep", ["1.png", "2.png"])
    rows = b"".join(b"\0" + np.full((4, 3), 999, ">u2").tobytes() for _ in range(3))
    write_png(deep / "3.png", rows, depth=16, colour=2)
    assert "colours of 16 bits" in find_one(deep).reason


def write_png(path: Path, rows: bytes, *, depth: int, colour: int) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 4, 3, depth, colour, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows))
                     + chunk(b"IEND", b""))


@pytest.mark.parametrize("name", ["0.webp", "0.jp2", "0.pgm", "0.bmp"])
def test_other_kinds_of_pictures(tmp_path: Path, name: str) -> None:
    array = np.random.default_rng(0).integers(0, 255, (2, 16, 16)).astype(np.uint8)
    for index, picture in enumerate(array):
        Image.fromarray(picture).save(tmp_path / name.replace("0", str(index)), lossless=True)
    (volume,) = read(tmp_path)
    np.testing.assert_array_equal(volume.array, array)
    lossy = {finding.code for finding in volume.series.findings}
    assert lossy == ({"LOSSY"} if name in ("0.webp", "0.jp2") else set())


def test_a_pgm_that_would_be_rescaled_is_refused(tmp_path: Path) -> None:
    for index in range(2):
        (tmp_path / f"{index}.pgm").write_bytes(b"P5 4 3 4095\n" + np.full((3, 4), 100, ">u2").tobytes())
    assert "largest value" in find_series(tmp_path).skipped[0].reason


@pytest.mark.parametrize("name", ["0.png", "0.bmp", "0.tif", "0.jpg", "0.webp"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_picture_cut_short_is_never_half_filled(tmp_path: Path, name: str, part: float) -> None:
    array = np.random.default_rng(0).integers(0, 255, (3, 48, 48)).astype(np.uint8)
    for index, picture in enumerate(array):
        Image.fromarray(picture).save(tmp_path / name.replace("0", str(index)))
    cut = tmp_path / name.replace("0", "1")
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * part)])
    for series in find_series(tmp_path).series:
        if series.usable:
            with pytest.raises(DecoderError):
                read_volume(series)


def save_pages(path: Path, pictures: Sequence[Image.Image], **options: object) -> Path:
    pictures[0].save(path, save_all=True, append_images=list(pictures[1:]), **options)
    return path


def test_pages_of_every_kind(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 60000, (3, 5, 4)).astype(np.uint16)
    pages = [Image.fromarray(page) for page in deep]
    np.testing.assert_array_equal(read(save_pages(tmp_path / "deep.tif", pages))[0].array, deep)
    np.testing.assert_array_equal(read(save_pages(tmp_path / "big.tif", pages, big_tiff=True))[0].array, deep)
    mixed = [Image.new("L", (4, 3)), Image.new("L", (5, 3))]
    assert find_one(save_pages(tmp_path / "mixed.tif", mixed)).reason.startswith("MIXED_SIZE")
    text = "ImageJ=1.53\nimages=3\nchannels=3\n"
    np.testing.assert_array_equal(read(save_pages(tmp_path / "j.tif", pages, description=text))[0].array, deep)
    for wrong in ("ImageJ=1.53\nimages=9\nslices=9\n", "ImageJ=1.53\nimages=4\nchannels=2\nslices=2\n",
                  '<OME><Pixels SizeC="3" SizeT="1" SizeZ="4"/></OME>'):
        reason = find_one(save_pages(tmp_path / "wrong.tif", pages, description=wrong)).reason
        assert reason.startswith("UNSUPPORTED")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_that_lost_pages_is_refused_wherever_it_is_cut(tmp_path: Path, big: bool) -> None:
    pages = [Image.fromarray(np.random.default_rng(index).integers(0, 255, (9, 8), np.uint8)) for index in range(4)]
    path = save_pages(tmp_path / "a.tif", pages, big_tiff=big)
    assert find_one(path).usable
    raw = path.read_bytes()
    for length in range(60, len(raw), 37):
        path.write_bytes(raw[:length])
        for series in find_series(path).series:
            if series.usable:
                with pytest.raises(DecoderError):
                    read_volume(series)
    for place in range(16, len(raw) - 24, 29):  # bytes that were lost within move every link behind them
        path.write_bytes(raw[:place] + raw[place + 11 :])
        assert not any(series.usable and len(series.instances) < 4 for series in find_series(path).series)


def test_a_gif_that_is_cut_short_is_refused_and_partial_frames_are_drawn_whole(tmp_path: Path) -> None:
    pictures = [Image.new("L", (40, 30), 20) for _ in range(6)]
    for index, picture in enumerate(pictures):
        picture.paste(200, (4 * index, 5, 4 * index + 4, 25))
    path = save_pages(tmp_path / "a.gif", pictures, duration=[0, 100, 50, 70, 100, 100], disposal=1)
    (volume,) = read(path)
    np.testing.assert_array_equal(volume.array, [np.asarray(picture) for picture in pictures])
    np.testing.assert_allclose(volume.positions, [0, 0.1, 0.2, 0.25, 0.32, 0.42])
    raw = path.read_bytes()
    for length in range(40, len(raw) - 1, 7):
        path.write_bytes(raw[:length])
        assert not find_one(path).usable
