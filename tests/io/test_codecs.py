"""Compressed pixel data: the same voxels in every lossless transfer syntax, whichever decoder gives them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import make_slice, make_stack, random_stack
from dicom_files import save as save_known
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, fragment_frame, generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from seriatim.errors import DecoderError
from seriatim.io import find_series, read, read_volume
from seriatim.io.dicom_pixels import decoder_plugins
from seriatim.io.dicom_pixels.codecs import decode_frame, describe_pixels, find_decoders
from seriatim.io.dicom_pixels.read import read_dicom

RLE, JPEG_LS, J2K, J2K_LOSSY = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", *(
    f"1.2.840.10008.1.2.4.9{number}" for number in (0, 1))
LOSSLESS_JPEG, SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
BASELINE = "1.2.840.10008.1.2.4.50"
HTJ2K, JPEG_XL = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.110"
TRANSPARENT = {"codecformat": "j2k", "reversible": True, "mct": False}
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    LOSSLESS_JPEG: ("jpeg8", {"lossless": True, "predictor": 4}),
    SV1: ("jpeg8", {"lossless": True, "predictor": 1}),
    JPEG_LS: ("jpegls", {}), J2K: ("jpeg2k", TRANSPARENT), HTJ2K: ("htj2k", {"reversible": True}),
    JPEG_XL: ("jpegxl", {"lossless": True}),
}
DEPTHS = ((8, 8, False), (8, 8, True), (16, 10, False), (16, 12, False), (16, 12, True), (16, 16, False),
          (16, 16, True))


def encode(pixels: np.ndarray, syntax: str, colours: str = "RGB") -> bytes:
    """One compressed frame; colours are not converted."""
    codecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed, and makes the test's files")
    name, options = ENCODERS[syntax]
    if pixels.ndim == 3 and name == "jpeg8":
        options = {**options, "colorspace": colours, "outcolorspace": colours}
    return bytes(getattr(codecs, f"{name}_encode")(pixels, **options))


def compress(dataset: Dataset, pixels: np.ndarray, syntax: str) -> Dataset:
    """The file with its pixels as one compressed frame per (H,W) of ``pixels``."""
    frames = pixels if pixels.ndim == 3 + (dataset.SamplesPerPixel == 3) else pixels[None]
    colours = "YCBCR" if dataset.PhotometricInterpretation == "YBR_FULL" else "RGB"
    return replace_frames(dataset, [encode(frame, syntax, colours) for frame in frames], syntax)


def save(dataset: Dataset, path: Path) -> Path:
    """Also in JPEG XL, whose transfer syntaxes pydicom does not write."""
    if dataset.file_meta.TransferSyntaxUID != JPEG_XL:
        return save_known(dataset, path)
    dataset.file_meta.TransferSyntaxUID = UID(HTJ2K)
    path = save_known(dataset, path)
    path.write_bytes(path.read_bytes().replace(HTJ2K.encode(), JPEG_XL.encode()))
    return path


def save_stack(datasets: list[Dataset], folder: Path) -> Path:
    """Files in another order than the slices."""
    for index, dataset in enumerate(reversed(datasets)):
        save(dataset, folder / f"{index}.dcm")
    return folder


def replace_frames(dataset: Dataset, frames: list[bytes], syntax: str, **options: Any) -> Dataset:
    dataset.PixelData = encapsulate(frames, **options)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


def bits_of(stored: np.ndarray, bits: int) -> np.ndarray:
    """The stored bits as unsigned numbers, as JPEG and JPEG-LS code them."""
    unsigned = stored.view(f"u{stored.dtype.itemsize}")
    return np.asarray(unsigned & unsigned.dtype.type((1 << bits) - 1))


def make_depth(
    allocated: int, stored_bits: int, signed: bool, size: tuple[int, int] = (24, 17)
) -> tuple[np.ndarray, dict[str, Any]]:
    low, high = (-(1 << stored_bits - 1), 1 << stored_bits - 1) if signed else (0, 1 << stored_bits)
    kind = f"{'ui'[signed]}{allocated // 8}"
    stored = np.random.default_rng(3).integers(low, high, size).astype(kind)
    stored[0, :2] = low, high - 1
    return stored, {"BitsAllocated": allocated, "BitsStored": stored_bits, "HighBit": stored_bits - 1,
                    "PixelRepresentation": int(signed), "RescaleSlope": None, "RescaleIntercept": None}


@pytest.mark.parametrize("syntax", [LOSSLESS_JPEG, SV1, JPEG_LS, J2K, HTJ2K, JPEG_XL])
@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_and_sign_survives_and_all_decoders_agree(
    tmp_path: Path, syntax: str, depth: tuple[int, int, bool]
) -> None:
    stored, values = make_depth(*depth)
    signed_stream = syntax == J2K and depth[2] and depth[1] == depth[0]
    coded = stored if signed_stream else bits_of(stored, depth[1])
    dataset = compress(make_slice(stored, (0, 0, 0), **values), coded, syntax)
    path = save(dataset, tmp_path / "a.dcm")
    (volume,) = read(path)
    np.testing.assert_array_equal(volume.array[0], stored)
    frame = encode(coded, syntax)
    for label, decoder in find_decoders(syntax).items():
        np.testing.assert_array_equal(decoder(frame, describe_pixels(dataset)), stored, err_msg=label)
    padded = depth[2] and depth[1] < depth[0]  # these encoders name 16 bits, so that only the header knows the sign
    if syntax != JPEG_XL and not padded and get_decoder(UID(syntax)).is_available:
        np.testing.assert_array_equal(volume.array[0], dcmread(path).pixel_array)


@pytest.mark.parametrize("syntax", [LOSSLESS_JPEG, SV1, JPEG_LS, J2K, JPEG_XL])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_lossless_colour_equals_plain_colour(tmp_path: Path, syntax: str, photometric: str) -> None:
    if syntax == JPEG_XL and photometric == "YBR_FULL":
        pytest.skip("JPEG XL tells its colours itself")
    pixels = np.random.default_rng(1).integers(0, 256, (20, 21, 3)).astype(np.uint8)
    values = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": photometric,
              "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "Modality": "US", "Rows": 20, "Columns": 21,
              "SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"}
    plain = read(save(make_slice(pixels, None, **values), tmp_path / "plain" / "a.dcm"))[0]
    dataset = compress(make_slice(pixels, None, **values), pixels, syntax)
    packed = read(save(dataset, tmp_path / "packed" / "a.dcm"))[0]
    assert packed.array.shape == (1, 20, 21, 3)
    np.testing.assert_array_equal(packed.array, plain.array)
    if photometric == "RGB":
        np.testing.assert_array_equal(packed.array[0], pixels)


@pytest.mark.parametrize("syntax", [str(ImplicitVRLittleEndian), str(ExplicitVRBigEndian),
                                    str(DeflatedExplicitVRLittleEndian), RLE, *ENCODERS])
def test_one_anatomy_has_one_volume_in_every_lossless_syntax(tmp_path: Path, syntax: str) -> None:
    stored = random_stack(5, rows=20, columns=18)
    plain = read(save_stack(make_stack(stored, BitsStored=12, HighBit=11), tmp_path / "plain"))[0]
    datasets = make_stack(stored, BitsStored=12, HighBit=11)
    for dataset, pixels in zip(datasets, stored, strict=True):
        if syntax in ENCODERS:
            compress(dataset, pixels, syntax)
        elif syntax == RLE:
            dataset.compress(UID(RLE), generate_instance_uid=False)
        else:
            dataset.file_meta.TransferSyntaxUID = UID(syntax)
            dataset["PixelData"].VR = "OW"
            if syntax == ExplicitVRBigEndian:
                dataset.PixelData = pixels.astype(">u2").tobytes()
    packed = read(save_stack(datasets, tmp_path / "packed"))[0]
    assert packed.array.dtype == plain.array.dtype == np.int16
    assert packed.array.tobytes() == plain.array.tobytes()
    assert np.array_equal(packed.affine, plain.affine)


@pytest.mark.parametrize("arguments", [("dcmcrle",), ("dcmcjpls",), ("dcmcjpeg", "+e1"), ("dcmcjpeg", "+el")])
def test_files_compressed_by_dcmtk_hold_the_same_voxels(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    tool = shutil.which(arguments[0])
    if tool is None:
        pytest.skip(f"{arguments[0]} of dcmtk is not installed")
    stored = random_stack(4, rows=32, columns=30)
    plain_folder = save_stack(make_stack(stored, BitsStored=12, HighBit=11), tmp_path / "plain")
    packed_folder = tmp_path / "packed"
    packed_folder.mkdir()
    for path in plain_folder.iterdir():
        subprocess.run([tool, *arguments[1:], "+ua", path, packed_folder / path.name], check=True, capture_output=True)
    np.testing.assert_array_equal(read(packed_folder)[0].array, read(plain_folder)[0].array)


def make_clip(stored: np.ndarray, **values: Any) -> Dataset:
    return make_slice(stored, None, Modality="US", NumberOfFrames=len(stored), FrameTime=40, RescaleIntercept=0,
                      SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1", **values)


@pytest.mark.parametrize("syntax", [RLE, JPEG_LS, J2K])
@pytest.mark.parametrize("table", ["empty", "basic", "extended", "wrong", "fragments"])
def test_frames_are_found_whatever_the_offset_table_says(tmp_path: Path, syntax: str, table: str) -> None:
    stored = random_stack(5, rows=30, columns=31)
    dataset = make_clip(stored)
    frames = compress_clip(stored, syntax)
    if table == "extended":
        replace_frames(dataset, frames, syntax)
        dataset.PixelData, offsets, lengths = encapsulate_extended(frames)
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    elif table == "fragments":
        parts = [list(fragment_frame(frame, nr_fragments=3)) for frame in frames]
        items = [b"\xfe\xff\x00\xe0" + len(part).to_bytes(4, "little") + part for frame in parts for part in frame]
        replace_frames(dataset, frames, syntax)
        dataset.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0" + b"".join(items) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    else:
        replace_frames(dataset, frames, syntax, has_bot=table != "empty")
    if table == "wrong":
        value = bytearray(dataset.PixelData)
        value[8:28] = struct.pack("<5L", 0, 0, 0, 4, 9)
        dataset.PixelData = bytes(value)
    (volume,) = read(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(volume.array, stored)


def compress_clip(stored: np.ndarray, syntax: str) -> list[bytes]:
    if syntax != RLE:
        return [encode(frame, syntax) for frame in stored]
    frames = []
    for frame in stored:
        single = make_slice(frame, None)
        single.compress(UID(RLE), generate_instance_uid=False)
        frames += list(generate_frames(single.PixelData, number_of_frames=1))
    return frames


@pytest.mark.parametrize("syntax", [RLE, JPEG_LS, J2K])
@pytest.mark.parametrize("change", ["lost", "extra", "two in one"])
def test_frames_that_are_missing_or_too_many_are_refused_and_never_shift_others(
    tmp_path: Path, syntax: str, change: str
) -> None:
    stored = random_stack(5, rows=30, columns=31)
    frames = compress_clip(stored, syntax)
    if change == "lost":
        del frames[2]
    elif change == "extra":
        frames.insert(2, frames[0])
    dataset = make_clip(stored[:1] if change == "two in one" else stored)
    replace_frames(dataset, frames[:2] if change == "two in one" else frames, syntax)
    (series,) = find_series(save(dataset, tmp_path / "a.dcm")).series
    with pytest.raises(DecoderError, match="compressed frames"):
        read_volume(series)


@pytest.mark.parametrize("syntax", [JPEG_LS, J2K])
@pytest.mark.parametrize("signed", [False, True])
def test_streams_with_the_stored_bits_equal_what_pydicom_reads(tmp_path: Path, syntax: str, signed: bool) -> None:
    stored, values = make_depth(16, 12, signed, (64, 66))
    dataset = make_slice(stored, (0, 0, 0), **values)
    dataset.compress(UID(syntax), generate_instance_uid=False)
    path = save(dataset, tmp_path / "a.dcm")
    np.testing.assert_array_equal(read(path)[0].array[0], stored)
    np.testing.assert_array_equal(dcmread(path).pixel_array, stored)


def make_jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
@pytest.mark.parametrize("marker", ["JFIF", "Adobe YCbCr", "Adobe RGB"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.filterwarnings("ignore:The .0028,0004.")
def test_the_colours_of_a_jpeg_are_what_its_marker_says(
    tmp_path: Path, photometric: str, marker: str, subsampling: str
) -> None:
    """The marker of the code stream is right where the header says another colour space."""
    grid = np.linspace(0, 1, 32)
    flat = np.zeros((32, 32))
    pixels = (255 * np.stack([flat + grid[:, None], flat + 0.3, flat + grid], axis=-1)).astype(np.uint8)
    if marker == "Adobe RGB":
        codecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed, and makes the test's files")
        stream = codecs.jpeg8_encode(pixels, level=95, colorspace="RGB", outcolorspace="RGB")
        assert b"Adobe" in stream
    else:
        stream = make_jpeg(pixels, subsampling=subsampling)
        if marker == "Adobe YCbCr":
            stream = stream[:2] + ADOBE + b"\x01" + stream[20:]
    dataset = make_slice(pixels, None, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation=photometric,
                         BitsAllocated=8, BitsStored=8, HighBit=7, Modality="US", Rows=32, Columns=32,
                         SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1")
    path = save(replace_frames(dataset, [stream], BASELINE), tmp_path / "a.dcm")
    (volume,) = read(path)
    assert np.abs(volume.array[0].astype(int) - pixels).max() < 24
    for label in ("imagecodecs", "pillow"):
        array = find_decoders(BASELINE)[label](stream, describe_pixels(dataset))
        assert np.abs(array.astype(int) - pixels).max() < 24
        if marker == "JFIF":
            np.testing.assert_array_equal(array, dcmread(path).pixel_array, err_msg=label)


@pytest.mark.parametrize("fault", ["raises", "shape", "float", "narrow", "hollow"])
def test_a_broken_decoder_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    codecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    stored = random_stack(3, rows=20, columns=18)
    datasets = [compress(one, pixels, JPEG_LS) for one, pixels in zip(make_stack(stored), stored, strict=True)]
    folder = save_stack(datasets, tmp_path)
    whole = codecs.jpegls_decode

    def broken(encoded: bytes) -> Any:
        array = whole(encoded)
        answers = {"shape": array[1:], "float": array.astype(float), "narrow": array.astype(np.uint8), "hollow": None}
        if fault == "raises":
            raise RuntimeError("the plugin is broken")
        return answers[fault]

    monkeypatch.setattr(codecs, "jpegls_decode", broken)
    np.testing.assert_array_equal(read(folder)[0].array, stored.astype(int) - 1024)


def test_a_frame_of_another_size_reaches_no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = random_stack(1, rows=20, columns=18)[0]
    dataset = make_slice(stored, None, Rows=21)
    monkeypatch.setattr("seriatim.io.dicom_pixels.codecs._known_decoders", lambda _: pytest.fail("a decoder was asked"))
    for syntax in (JPEG_LS, J2K, SV1):
        with pytest.raises(DecoderError, match=r"\(20, 18, 1\)"):
            decode_frame(encode(stored, syntax), describe_pixels(dataset), syntax)


def test_a_missing_decoder_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = random_stack(1, rows=20, columns=18)
    path = save(compress(make_slice(stored[0], None), stored[0], JPEG_XL), tmp_path / "a.dcm")
    (series,) = find_series(path).series
    monkeypatch.setattr("seriatim.io.dicom_pixels.codecs._known_decoders", lambda _: {})
    with pytest.raises(DecoderError, match=r"seriatim\[codecs\]"):
        read_volume(series)


def test_threads_and_one_thread_give_the_same_volume(tmp_path: Path) -> None:
    stored = random_stack(23, rows=20, columns=18)
    datasets = [compress(one, pixels, JPEG_LS) for one, pixels in zip(make_stack(stored), stored, strict=True)]
    (series,) = find_series(save_stack(datasets, tmp_path)).series
    for threads in (1, 2, 4):
        np.testing.assert_array_equal(read_dicom(series, threads=threads).array, stored.astype(int) - 1024)
    damaged = series.instances[7].path
    raw = damaged.read_bytes()
    place = raw.index(b"\xff\xda") + 20
    damaged.write_bytes(raw[:place] + bytes(60) + raw[place + 60 :])
    for threads in (1, 4):
        with pytest.raises(DecoderError, match=damaged.name):
            read_dicom(series, threads=threads)


@pytest.mark.parametrize("syntax", [LOSSLESS_JPEG, SV1, JPEG_LS, J2K, HTJ2K])
@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (12, np.uint16), (16, np.uint16)])
def test_grey_frames_are_the_same_with_and_without_pydicom(
    monkeypatch: pytest.MonkeyPatch, syntax: str, bits: int, dtype: type
) -> None:
    pytest.importorskip("imagecodecs")
    frame = np.random.default_rng(bits).integers(0, 1 << bits, (33, 20)).astype(dtype)
    encoded = encode(frame, syntax)
    for allocated, stored, sign in ((16, bits, 0), (16, 16, 0), (16, bits, 1), (8 if bits == 8 else 16, bits, 0)):
        pixels = {"rows": 33, "columns": 20, "samples_per_pixel": 1, "photometric_interpretation": "MONOCHROME2",
                  "bits_allocated": allocated, "bits_stored": stored, "number_of_frames": 1,
                  "pixel_representation": sign, "planar_configuration": 0, "pixel_keyword": "PixelData"}
        direct = decode_frame(encoded, pixels, syntax)
        with monkeypatch.context() as patched:
            patched.setattr(decoder_plugins, "decode_grey", lambda *_: None)
            usual = decode_frame(encoded, pixels, syntax)
        assert direct.dtype == usual.dtype
        np.testing.assert_array_equal(direct, usual)
        assert sign or np.array_equal(direct, frame)
