"""The whole files that the fuzzer damages: small folders of every kind that is read, with the volumes they hold."""

from __future__ import annotations

import functools
import gzip
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import SimpleITK as itk  # noqa: N813 - as the rest of this project names it
from dicom_files import make_enhanced, make_slice, make_stack, random_stack, save, save_stack
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

ROWS, COLUMNS, SLICES = 12, 16, 6
HTJ2K, JPEG_XL = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.110"
CASES: dict[str, Callable[[Path], None]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The files of one folder, by name relative to it."""

    name: str
    files: dict[str, bytes]


@functools.cache
def make_case(name: str) -> Case:
    """Build a case anew; the same bytes every time."""
    import tools.fuzz.more_cases  # noqa: F401 - it registers its cases
    with tempfile.TemporaryDirectory() as folder:
        CASES[name](Path(folder))
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return Case(name=name, files={str(path.relative_to(folder)): path.read_bytes() for path in paths})


def register(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Add a case that is named as the function is."""
    CASES[make.__name__.removeprefix("make_")] = make
    return make


def pixels(count: int = SLICES) -> np.ndarray:
    """(count, ROWS, COLUMNS) uint16 noise."""
    return random_stack(count, ROWS, COLUMNS, seed=3)


def smooth(count: int, *, colours: int = 0) -> np.ndarray:
    """(count, ROWS, COLUMNS[, 3]) uint8: what lossy codecs are made for."""
    grid = np.indices((count, ROWS, COLUMNS)).astype(float)
    plane = 100 + 40 * np.sin(grid[1] / 3 + grid[0]) + 40 * np.cos(grid[2] / 4)
    shades = np.stack([plane, plane * 0.8, plane * 0.6], axis=-1) if colours else plane
    return shades.astype(np.uint8)


def stack(**values: Any) -> list[Any]:
    """A CT of SLICES slices."""
    return make_stack(pixels(), ImagesInAcquisition=SLICES, **values)


@register
def make_ct_explicit(folder: Path) -> None:
    save_stack(stack(RescaleSlope="0.5"), folder)


@register
def make_ct_implicit(folder: Path) -> None:
    datasets = stack()
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    save_stack(datasets, folder)


@register
def make_ct_big_endian(folder: Path) -> None:
    datasets = make_stack(pixels().astype(">u2"))
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.2"
    save_stack(datasets, folder)


@register
def make_ct_deflated(folder: Path) -> None:
    datasets = stack()
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    save_stack(datasets, folder)


@register
def make_ct_oblique(folder: Path) -> None:
    save_stack(stack(orientation=(0.8, 0.6, 0.0, 0.0, 0.0, -1.0), PixelRepresentation=1, BitsStored=12, HighBit=11,
                      SliceLocation="0"), folder)


@register
def make_mr_echoes(folder: Path) -> None:
    for echo in (1, 2):
        datasets = make_stack(random_stack(5, ROWS, COLUMNS, seed=echo), Modality="MR", EchoNumbers=echo,
                              EchoTime=20.0 * echo, SOPClassUID="1.2.840.10008.5.1.4.1.1.4", RescaleSlope=None,
                              RescaleIntercept=None)
        for index, dataset in enumerate(datasets):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{echo}.{index + 1}"
            save(dataset, folder / f"E{echo}{index}.dcm")


@register
def make_pet(folder: Path) -> None:
    datasets = make_stack(pixels(), Modality="PT", SOPClassUID="1.2.840.10008.5.1.4.1.1.128", RescaleIntercept=0,
                          Units="BQML")
    for index, dataset in enumerate(datasets):
        dataset.RescaleSlope = f"{1 + index / 8}"
    save_stack(datasets, folder)


def _encapsulated(folder: Path, syntax: str, encode: Callable[[np.ndarray], bytes], **values: Any) -> None:
    datasets = stack(**values)
    for dataset in datasets:
        plane = np.frombuffer(dataset.PixelData, dtype="<u2").reshape(ROWS, COLUMNS)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([encode(np.ascontiguousarray(plane))])
        dataset["PixelData"].VR = "OB"
    save_stack(datasets, folder)


@register
def make_ct_jpegls(folder: Path) -> None:
    _encapsulated(folder, JPEGLSLossless, imagecodecs.jpegls_encode)


@register
def make_ct_jpeg_lossless(folder: Path) -> None:
    _encapsulated(folder, JPEGLosslessSV1, imagecodecs.ljpeg_encode)


@register
def make_ct_jpeg2000(folder: Path) -> None:
    _encapsulated(folder, JPEG2000Lossless, functools.partial(imagecodecs.jpeg2k_encode, codecformat="j2k"))


@register
def make_ct_htj2k(folder: Path) -> None:
    _encapsulated(folder, HTJ2K, imagecodecs.htj2k_encode)


@register
def make_ct_jpegxl(folder: Path) -> None:
    _encapsulated(folder, HTJ2K, functools.partial(imagecodecs.jpegxl_encode, lossless=True))
    for path in folder.iterdir():  # pydicom writes no syntax that it does not know
        path.write_bytes(path.read_bytes().replace(HTJ2K.encode(), JPEG_XL.encode(), 1))


@register
def make_ct_rle(folder: Path) -> None:
    datasets = stack()
    for dataset in datasets:
        uid = dataset.SOPInstanceUID
        dataset.compress(RLELossless)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    save_stack(datasets, folder)


def _jpeg_frames(frames: np.ndarray) -> list[bytes]:
    return [imagecodecs.jpeg8_encode(frame, level=90) for frame in frames]


def _ultrasound(stored: np.ndarray, **values: Any) -> Any:
    colour = stored.ndim == 4
    return make_slice(
        stored, None, SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1", SOPInstanceUID="1.2.3.4.9", Modality="US",
        ImageOrientationPatient=None, PixelSpacing=None, RescaleSlope=None, RescaleIntercept=None, BitsAllocated=8,
        BitsStored=8, HighBit=7, NumberOfFrames=len(stored), FrameTime="40", SamplesPerPixel=3 if colour else 1,
        FrameIncrementPointer=0x00181063, PhotometricInterpretation="RGB" if colour else "MONOCHROME2", **values,
    )


@register
def make_us_rgb(folder: Path) -> None:
    save(_ultrasound(smooth(5, colours=3), PlanarConfiguration=0), folder / "clip.dcm")


@register
def make_us_jpeg(folder: Path) -> None:
    stored = smooth(5)
    dataset = _ultrasound(stored)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate(_jpeg_frames(stored))
    dataset["PixelData"].VR = "OB"
    save(dataset, folder / "clip.dcm")


@register
def make_us_rle_vector(folder: Path) -> None:
    dataset = _ultrasound(smooth(5))
    del dataset.FrameTime
    dataset.FrameTimeVector = ["0", "30", "40", "30", "40"]
    dataset.FrameIncrementPointer = 0x00181065
    dataset.compress(RLELossless)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.9"
    save(dataset, folder / "clip.dcm")


@register
def make_palette(folder: Path) -> None:
    dataset = _ultrasound(smooth(4))
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for name, shift in (("Red", 0), ("Green", 60), ("Blue", 120)):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        table = ((np.arange(256) + shift) % 256 * 257).astype("<u2")
        setattr(dataset, f"{name}PaletteColorLookupTableData", table.tobytes())
    save(dataset, folder / "clip.dcm")


@register
def make_mr_enhanced(folder: Path) -> None:
    positions = np.array([[-10.0, -20.0, 30.0 + 2.5 * index] for index in range(SLICES)])
    dataset = make_enhanced(pixels(), positions, [{}] * SLICES, [1.0] * SLICES)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.50"
    leave_lengths_open(dataset)
    save(dataset, folder / "enhanced.dcm")


def leave_lengths_open(dataset: Any) -> None:
    """Sequences of undefined length, so that an element inside can be changed without breaking those around it."""
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for inner in element.value:
                inner.is_undefined_length_sequence_item = True
                leave_lengths_open(inner)


@register
def make_ct_captures(folder: Path) -> None:
    """A CT with its localizer and a capture beside it: they must not join it, whatever is damaged."""
    save_stack(stack(), folder)
    scout = make_slice(pixels(1)[0], (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
                       SOPInstanceUID="1.2.3.4.70", SeriesInstanceUID="1.2.3.5")
    capture = make_slice(pixels(1)[0], None, SOPClassUID="1.2.840.10008.5.1.4.1.1.7", SOPInstanceUID="1.2.3.4.71",
                         ImageOrientationPatient=None, PixelSpacing=None, SeriesInstanceUID="1.2.3.6")
    save(scout, folder / "scout.dcm")
    save(capture, folder / "capture.dcm")


@register
def make_dicomdir(folder: Path) -> None:
    from pydicom.fileset import FileSet

    with tempfile.TemporaryDirectory() as work:
        datasets = stack()
        for dataset in datasets:
            dataset.PatientName, dataset.StudyID, dataset.SeriesNumber = "A^B", "1", 1
            dataset.StudyDate, dataset.StudyTime = "20200101", "120000"
        files = FileSet()
        for dataset in datasets:
            files.add(dataset)
        files.UID = "1.2.3.99"  # type: ignore[assignment]
        files.write(work)
        for path in sorted(Path(work).rglob("*")):
            if path.is_file():
                target = folder / path.relative_to(work)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())


def _image(volumes: int = 1, *, kind: str = "<i2") -> Any:
    array = pixels().astype(kind)
    image = itk.GetImageFromArray(array)
    image.SetSpacing((0.75, 0.5, 2.5))
    image.SetOrigin((-10.0, -20.0, 30.0))
    if volumes > 1:
        image = itk.JoinSeries([image + index for index in range(volumes)])
    return image


def nifti_bytes(folder: Path, *, volumes: int = 1, kind: str = "<i2") -> bytes:
    """A NIfTI file, as ITK writes it."""
    path = folder / "made.nii"
    itk.WriteImage(_image(volumes, kind=kind), str(path))
    data = path.read_bytes()
    path.unlink()
    return data


@register
def make_nifti(folder: Path) -> None:
    (folder / "head.nii").write_bytes(nifti_bytes(folder))


@register
def make_nifti_gz(folder: Path) -> None:
    (folder / "head.nii.gz").write_bytes(gzip.compress(nifti_bytes(folder), mtime=0))


@register
def make_nifti_4d_gz(folder: Path) -> None:
    data = nifti_bytes(folder, volumes=3, kind="<f4")
    (folder / "head.nii.gz").write_bytes(gzip.compress(data, mtime=0))


@register
def make_nifti_pair(folder: Path) -> None:
    data = bytearray(nifti_bytes(folder))
    data[344:348] = b"ni1\0"
    data[108:112] = struct.pack("<f", 0.0)
    data[112:120] = struct.pack("<2f", 0.5, -100.0)
    (folder / "head.hdr").write_bytes(data[:348])
    (folder / "head.img").write_bytes(data[352:])


def write_itk(folder: Path, name: str, *, compress: bool = False, volumes: int = 1) -> None:
    """A volume in the format that its name tells."""
    itk.WriteImage(_image(volumes), str(folder / name), compress)


@register
def make_nrrd(folder: Path) -> None:
    write_itk(folder, "head.nrrd")


@register
def make_nrrd_gz(folder: Path) -> None:
    write_itk(folder, "head.nrrd", compress=True)


@register
def make_nhdr(folder: Path) -> None:
    write_itk(folder, "head.nhdr")


@register
def make_mha(folder: Path) -> None:
    write_itk(folder, "head.mha")


@register
def make_mha_z(folder: Path) -> None:
    write_itk(folder, "head.mha", compress=True)


@register
def make_mhd(folder: Path) -> None:
    write_itk(folder, "head.mhd")


def _save_pictures(folder: Path, ending: str, **options: Any) -> None:
    for index, picture in enumerate(smooth(4, colours=0 if ending == "png" else 3)):
        Image.fromarray(picture).save(folder / f"frame{index}.{ending}", **options)


@register
def make_png(folder: Path) -> None:
    _save_pictures(folder, "png")


@register
def make_jpeg(folder: Path) -> None:
    _save_pictures(folder, "jpg", quality=90)


@register
def make_bmp(folder: Path) -> None:
    _save_pictures(folder, "bmp")


@register
def make_tiff_pages(folder: Path) -> None:
    first, *rest = (Image.fromarray(page) for page in smooth(4))
    first.save(folder / "pages.tiff", save_all=True, append_images=rest, compression="raw")


@register
def make_tiff_packed(folder: Path) -> None:
    first, *rest = (Image.fromarray(page) for page in smooth(4))
    first.save(folder / "pages.tiff", save_all=True, append_images=rest, compression="tiff_adobe_deflate")


@register
def make_gif(folder: Path) -> None:
    first, *rest = (Image.fromarray(page) for page in smooth(4))
    first.save(folder / "clip.gif", save_all=True, append_images=rest, duration=[40, 60, 40, 60])


def _save_video(path: Path, codec: str, pixel_format: str) -> None:
    import av

    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        stream.options = {"threads": "1"}
        for index in range(8):
            plane = np.indices((48, 64)).sum(axis=0) * 2 + index * 5
            picture = np.repeat(plane.astype(np.uint8)[..., None], 3, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@register
def make_mp4(folder: Path) -> None:
    _save_video(folder / "clip.mp4", "mpeg4", "yuv420p")


@register
def make_avi(folder: Path) -> None:
    _save_video(folder / "clip.avi", "mjpeg", "yuvj420p")


@register
def make_mkv(folder: Path) -> None:
    _save_video(folder / "clip.mkv", "mpeg4", "yuv420p")
