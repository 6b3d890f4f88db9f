"""What the fuzzer found, one small case each: values that contradict each other, and damage that decoders hide."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
import SimpleITK as itk  # noqa: N813
from dicom_files import make_stack, random_stack, save, save_stack
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless, RLELossless
from zip_files import craft

from seriatim.errors import DecoderError, SeriatimError
from seriatim.io.dicom.header import read_planes
from seriatim.io.dicom_pixels.rle import count_excess
from seriatim.io.discover import find_series
from seriatim.io.read import read_volume
from seriatim.series.findings import Code
from seriatim.series.series import Series


def _only(folder: Path) -> Series:
    (series,) = find_series(folder).series
    return series


def _codes(folder: Path) -> dict[str, str]:
    return {finding.code.value: finding.action for finding in _only(folder).findings}


def _change_one(folder: Path, index: int = 2, **values: Any) -> Path:
    datasets = make_stack(random_stack())
    for name, value in values.items():
        setattr(datasets[index], name, value)
        if value is None:
            delattr(datasets[index], name)
    return save_stack(datasets, folder)


def test_a_ct_slice_without_the_rescale_of_the_others_is_refused(tmp_path: Path) -> None:
    assert _codes(_change_one(tmp_path, RescaleIntercept=None)) == {"BAD_VALUE": "refuse"}


def test_a_ct_slice_with_another_slope_is_told(tmp_path: Path) -> None:
    assert _codes(_change_one(tmp_path, RescaleSlope=1000)) == {"BAD_VALUE": "keep"}


def test_a_slice_that_is_stored_otherwise_is_told(tmp_path: Path) -> None:
    assert _codes(_change_one(tmp_path, PixelRepresentation=1)) == {"BAD_VALUE": "keep"}


@pytest.mark.parametrize("values", [{"PhotometricInterpretation": "MONOCHROME1"}, {"Modality": "PT"}])
def test_a_slice_of_another_polarity_or_modality_joins_no_volume(tmp_path: Path, values: dict[str, str]) -> None:
    by_size = sorted(find_series(_change_one(tmp_path, **values)).series, key=lambda series: len(series.instances))
    assert [len(series.instances) for series in by_size] == [1, 7]
    assert Code.GAP in {finding.code for finding in by_size[1].findings}


def test_colours_that_do_not_fit_the_samples_are_refused(tmp_path: Path) -> None:
    save_stack(make_stack(random_stack(), PhotometricInterpretation="RGB"), tmp_path)
    assert _codes(tmp_path)["BAD_VALUE"] == "refuse"


@pytest.mark.parametrize(("after", "told"), [(b"\x01\x02\x03\x04\x05\x06\x07\x08\x09", True), (bytes(512), False),
                                             (b"\xfc\xff\xfc\xffOB\0\0\x02\0\0\0ab", False)])
def test_bytes_after_the_pixel_data_that_are_no_element_are_told(tmp_path: Path, after: bytes, *, told: bool) -> None:
    save_stack(make_stack(random_stack()), tmp_path)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes() + after)
    assert _codes(tmp_path) == ({"BAD_VALUE": "keep"} if told else {})


def _encapsulated(folder: Path, syntax: str, frames: list[bytes]) -> Path:
    datasets = make_stack(random_stack())
    for dataset, frame in zip(datasets, frames, strict=True):
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
    return save_stack(datasets, folder)


def _jpegls_frames() -> list[bytes]:
    return [imagecodecs.jpegls_encode(np.ascontiguousarray(pixels)) for pixels in random_stack()]


def test_a_code_stream_that_breaks_off_is_refused_even_where_a_decoder_would_fill_it_up(tmp_path: Path) -> None:
    frames = _jpegls_frames()
    frames[3] = frames[3][:-12] + bytes(80)
    with pytest.raises(DecoderError, match="breaks off"):
        read_volume(_only(_encapsulated(tmp_path, JPEGLSLossless, frames)))


def test_padding_after_a_code_stream_is_no_damage(tmp_path: Path) -> None:
    frames = [frame + bytes(6) for frame in _jpegls_frames()]
    volume = read_volume(_only(_encapsulated(tmp_path, JPEGLSLossless, frames)))
    np.testing.assert_array_equal(volume.array, random_stack().astype(int) - 1024)


def test_encapsulated_pixels_under_an_uncompressed_syntax_are_refused(tmp_path: Path) -> None:
    _encapsulated(tmp_path, JPEGLSLossless, _jpegls_frames())
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.1\0\0\0"))
    assert _codes(tmp_path)["BAD_VALUE"] == "refuse"


def test_a_decoder_that_panics_is_a_refusal(tmp_path: Path) -> None:
    """The RLE decoder is Rust: what it raises on a segment that is too long is no Exception."""
    datasets = make_stack(random_stack(rows=12, columns=16))
    for dataset in datasets:
        dataset.compress(RLELossless, generate_instance_uid=False)
    damaged = bytearray(datasets[2].PixelData)
    damaged[100:164] = bytes(64)
    datasets[2].PixelData = bytes(damaged)
    for index, dataset in enumerate(datasets):
        save(dataset, tmp_path / f"{index}.dcm")
    with pytest.raises(DecoderError):
        read_volume(_only(tmp_path))


def test_the_checksum_of_gzip_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "head.nii"
    itk.WriteImage(itk.GetImageFromArray(random_stack().astype(np.int16)), str(path))
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[-8] ^= 1
    path.unlink()
    (tmp_path / "head.nii.gz").write_bytes(packed)
    with pytest.raises(DecoderError, match="damaged"):
        read_volume(_only(tmp_path))


def _save_pages(path: Path) -> bytes:
    first, *rest = (Image.fromarray(page.astype(np.uint8)) for page in random_stack(4, 12, 16))
    first.save(path, save_all=True, append_images=rest)
    return path.read_bytes()


def test_a_tiff_whose_pages_break_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pages.tiff"
    data = _save_pages(path)
    for keep in (len(data) - 100, len(data) // 2, 40, 9):
        path.write_bytes(data[:keep])
        assert not any(_reads(series) for series in find_series(tmp_path).series), keep


def _reads(series: Series) -> bool:
    try:
        read_volume(series)
    except SeriatimError:
        return False
    return True


def _save_pictures(folder: Path, ending: str) -> Path:
    for index, picture in enumerate(random_stack(4, 12, 16)):
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"frame{index}.{ending}")
    return folder / f"frame2.{ending}"


@pytest.mark.parametrize("ending", ["png"])
def test_a_picture_with_bytes_added_inside_is_refused(tmp_path: Path, ending: str) -> None:
    path = _save_pictures(tmp_path, ending)
    assert _reads(_only(tmp_path))
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + b"12345678" + data[middle:])
    assert not _reads(_only(tmp_path))


def test_a_zeroed_run_in_a_png_is_refused(tmp_path: Path) -> None:
    path = _save_pictures(tmp_path, "png")
    data = bytearray(path.read_bytes())
    data[80:100] = bytes(20)
    path.write_bytes(data)
    assert not _reads(_only(tmp_path))


def test_voxels_of_metres_are_told(tmp_path: Path) -> None:
    image = itk.GetImageFromArray(random_stack().astype(np.int16))
    image.SetSpacing((500.0, 500.0, 2500.0))
    itk.WriteImage(image, str(tmp_path / "head.nii"))
    assert _codes(tmp_path) == {"BAD_VALUE": "keep"}


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_an_rle_frame_that_holds_more_than_the_header_says_is_refused(tmp_path: Path, keyword: str) -> None:
    folder = save_stack(make_stack(random_stack()), tmp_path)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        setattr(dataset, keyword, getattr(dataset, keyword) - 1)
        dataset.save_as(path)
    with pytest.raises(DecoderError, match="a segment of an RLE frame holds"):
        read_volume(_only(folder))


@pytest.mark.parametrize("last", [b"\x05\1\2\3\4\5\0", b"\xfb\0", b"\xfb\0\0\0\0",
                                  b"\x05\1\2\3\4\5\6\0\0"])
def test_padding_of_an_rle_segment_is_no_excess(last: bytes) -> None:
    frame = struct.pack("<16L", 1, 64, *[0] * 14) + last
    assert count_excess(frame, 6) == 0
    assert count_excess(frame, 4) > 0


def test_a_slice_thickness_that_is_no_number_is_like_itself(tmp_path: Path) -> None:
    path = save(make_stack(random_stack())[0], tmp_path / "a.dcm")
    data = path.read_bytes()
    place = data.index(b"\x20\0\x0d\0UI")
    path.write_bytes(data[:place] + b"\x18\0\x50\0DS\4\0nan " + data[place:])
    assert read_planes(path) == read_planes(path)
    assert read_planes(path)[0].traits["SliceThickness"] == "nan"


def test_colours_that_dicom_does_not_know_are_told(tmp_path: Path) -> None:
    datasets = make_stack(random_stack())
    for dataset in datasets:
        dataset.PhotometricInterpretation = "CT"
    assert _codes(save_stack(datasets, tmp_path)) == {"BAD_VALUE": "keep"}


def test_an_archive_that_lists_fewer_members_than_it_counts_is_not_read(tmp_path: Path) -> None:
    data = bytearray(craft([(b"a.dcm", b"x" * 40, {}), (b"b.dcm", b"y" * 40, {})]))
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    end = data.index(b"PK\5\6")
    data[end + 12 : end + 16] = (end - second).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    (skipped,) = find_series(tmp_path).skipped
    assert "list of members is damaged" in skipped.reason


def test_a_webp_picture_with_bytes_added_is_told(tmp_path: Path) -> None:
    for index in range(3):
        picture = np.random.default_rng(index).integers(0, 255, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{index}.webp", lossless=True)
    assert "BAD_VALUE" not in _codes(tmp_path)
    path = tmp_path / "1.webp"
    data = path.read_bytes()
    path.write_bytes(data[:60] + b"added" + data[60:])
    assert _codes(tmp_path)["BAD_VALUE"] == "keep"


def test_a_tiff_file_whose_last_pages_are_linked_by_nothing_is_told(tmp_path: Path) -> None:
    first, *rest = (Image.fromarray(page) for page in random_stack(4).astype(np.uint8))
    path = tmp_path / "a.tiff"
    first.save(path, save_all=True, append_images=rest)
    assert "BAD_VALUE" not in _codes(tmp_path)
    data = bytearray(path.read_bytes())
    place = int.from_bytes(data[4:8], "little")
    for _ in range(2):  # the link of the second page
        link = place + 2 + 12 * int.from_bytes(data[place : place + 2], "little")
        place = int.from_bytes(data[link : link + 4], "little")
    data[link : link + 4] = bytes(4)
    path.write_bytes(data)
    assert _codes(tmp_path)["BAD_VALUE"] == "keep"


def test_an_archive_with_members_that_lists_none_is_not_read(tmp_path: Path) -> None:
    data = bytearray(craft([(b"a.dcm", b"x" * 40, {})]))
    data[-22 + 8 : -22 + 16] = bytes(8)
    (tmp_path / "a.zip").write_bytes(data)
    (skipped,) = find_series(tmp_path).skipped
    assert "list of members is damaged" in skipped.reason
