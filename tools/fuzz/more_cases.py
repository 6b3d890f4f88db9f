"""More cases for the fuzzer: archives, objects of several files or times, video inside DICOM, what must be refused."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import numpy as np
from dicom_files import item, make_enhanced, save, save_stack
from PIL import Image
from pydicom.uid import JPEGLSLossless
from test_dicom_frames import part_of
from test_dicom_mosaic import make_mosaic
from test_dicom_video import make_stream, save_video
from tools.fuzz.cases import (
    CASES,
    COLUMNS,
    ROWS,
    SLICES,
    leave_lengths_open,
    nifti_bytes,
    pixels,
    register,
    smooth,
    write_itk,
)
from zip_files import pack_members

PLACES = np.array([[-10.0, -20.0, 30.0 + 2.5 * index] for index in range(SLICES)])


def _pack(folder: Path, case: str, *, method: int) -> None:
    """The files of another case in an archive: the same bytes every time."""
    with tempfile.TemporaryDirectory() as inner:
        CASES[case](Path(inner))
        members = [(f"study/{path.name}", path.read_bytes()) for path in sorted(Path(inner).iterdir())]
    pack_members(folder / "study.zip", members, method=method)


@register
def make_zip_ct(folder: Path) -> None:
    _pack(folder, "ct_explicit", method=zipfile.ZIP_DEFLATED)


@register
def make_zip_stored(folder: Path) -> None:
    _pack(folder, "ct_jpegls", method=zipfile.ZIP_STORED)


@register
def make_zip_grids(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as inner:
        (Path(inner) / "head.nii").write_bytes(nifti_bytes(Path(inner)))
        write_itk(Path(inner), "other.mha")
        members = [(path.name, path.read_bytes()) for path in sorted(Path(inner).iterdir())]
    pack_members(folder / "study.zip", members)


@register
def make_mosaic_times(folder: Path) -> None:
    for number in (1, 2, 3):
        stored = np.random.default_rng(number).integers(0, 4000, (4, ROWS, COLUMNS)).astype("<u2")
        save(make_mosaic(stored, number=number), folder / f"IM{number}.dcm")


@register
def make_mr_concatenation(folder: Path) -> None:
    for number in (1, 2, 3):
        own = slice(2 * number - 2, 2 * number)
        dataset = part_of(make_enhanced(pixels()[own], PLACES[own], [{}, {}], [1.0, 1.0]), number, own.start, 3)
        leave_lengths_open(dataset)
        save(dataset, folder / f"part{number}.dcm")


@register
def make_mr_enhanced_4d(folder: Path) -> None:
    stored = pixels(2 * SLICES)
    traits = [{"FrameContentSequence": item(TemporalPositionIndex=time, StackID="1", InStackPositionNumber=index + 1,
                                            DimensionIndexValues=[time, index + 1]),
               "MREchoSequence": item(EffectiveEchoTime=20.0 * time)}
              for time in (1, 2) for index in range(SLICES)]
    dataset = make_enhanced(stored, np.concatenate([PLACES, PLACES]), traits, [1.0] * len(stored))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.51"
    leave_lengths_open(dataset)
    save(dataset, folder / "enhanced.dcm")


def _save_video(folder: Path, codec: str, container: str, syntax: str) -> None:
    path = save_video(folder / "clip.dcm", make_stream(codec, container), syntax)
    import pydicom

    dataset = pydicom.dcmread(path)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.60"
    save(dataset, path)


@register
def make_video_mpeg2(folder: Path) -> None:
    _save_video(folder, "mpeg2video", "mpeg2video", "1.2.840.10008.1.2.4.100")


@register
def make_video_h264(folder: Path) -> None:
    _save_video(folder, "libx264", "mp4", "1.2.840.10008.1.2.4.102")


@register
def make_webp(folder: Path) -> None:
    for index, picture in enumerate(smooth(4, colours=3)):
        Image.fromarray(picture).save(folder / f"frame{index}.webp", lossless=True)


@register
def make_refused_animations(folder: Path) -> None:
    """Animated PNG and WebP, one of each: nothing is read of them, whatever is damaged."""
    first, *rest = (Image.fromarray(picture) for picture in smooth(4, colours=3))
    for ending in ("png", "webp"):
        (folder / ending).mkdir()
        first.save(folder / ending / f"clip.{ending}", save_all=True, append_images=rest, duration=40)


@register
def make_ct_alike(folder: Path) -> None:
    """Many slices alike, compressed: those after the first are read by the quick ways, and must not miss a thing."""
    import imagecodecs
    from dicom_files import make_stack
    from pydicom.encaps import encapsulate

    datasets = make_stack(pixels(12), ImagesInAcquisition=12, SliceThickness=2.5, KVP=120, Manufacturer="Maker")
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
        plane = np.frombuffer(dataset.PixelData, dtype="<u2").reshape(ROWS, COLUMNS)
        dataset.PixelData = encapsulate([imagecodecs.jpegls_encode(np.ascontiguousarray(plane))])
        dataset["PixelData"].VR = "OB"
    save_stack(datasets, folder)
