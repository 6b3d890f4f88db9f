"""Growth of a search over folders full of odd things: the time of one thing should not grow with how many there are.

``python tools/bench/odd_archives.py 1000 2000 4000 [--only NAME ...]``: for each kind, a search over so many odd things
(tiny files in a temporary folder), in seconds of the processor, and how many microseconds one thing took. A fixed time
per thing is linear growth; one that doubles with the count is quadratic.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from seriatim.io import find_series

SIDE, SLICES = 4, 3
Make = Callable[[Path, int], None]


def write_slice(path: Path, *, z: float, series: str = "2", study: str = "1", number: int = 1, **more: Any) -> None:
    """A slice of 4 x 4 pixels at ``z`` mm; its SOP Instance UID is of all that tells it apart."""
    slice_ = Dataset()
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    slice_.StudyInstanceUID, slice_.SeriesInstanceUID = f"1.2.{study}", f"1.3.{series}"
    slice_.SOPClassUID = MRImageStorage
    slice_.SOPInstanceUID = f"1.4.{study}.{series}.{number}"
    slice_.Modality, slice_.InstanceNumber, slice_.ImageType = "MR", number, ["ORIGINAL", "PRIMARY"]
    slice_.ImageOrientationPatient, slice_.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, z]
    slice_.PixelSpacing, slice_.Rows, slice_.Columns, slice_.SamplesPerPixel = [1, 1], SIDE, SIDE, 1
    slice_.BitsAllocated = slice_.BitsStored = 16
    slice_.HighBit, slice_.PixelRepresentation, slice_.PhotometricInterpretation = 15, 0, "MONOCHROME2"
    for name, value in more.items():
        setattr(slice_, name, value)
    slice_.PixelData = np.full((SIDE, SIDE), number % 1000, dtype=np.uint16).tobytes()
    slice_.file_meta.MediaStorageSOPClassUID = slice_.SOPClassUID
    slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    slice_.save_as(path, enforce_file_format=True)


def write_volume(folder: Path, *, start: int = 0, origin: float = 0.0, **more: Any) -> None:
    for index in range(SLICES):
        write_slice(folder / f"{start + index}.dcm", z=origin + 2.0 * index, number=start + index + 1, **more)


def make_copies(folder: Path, count: int) -> None:
    """One slice, once in each folder."""
    for index in range(count):
        write_slice(folder / str(index) / "a.dcm", z=0.0)


def make_studies(folder: Path, count: int) -> None:
    """One SeriesInstanceUID in each study."""
    for index in range(count):
        write_slice(folder / f"{index}.dcm", z=0.0, study=str(index))


def make_broken(folder: Path, count: int) -> None:
    """Damaged files beside half as many series of three slices."""
    for index in range(count // 2):
        write_volume(folder / str(index), series=str(index))
        for name in ("b", "c"):
            (folder / str(index) / f"{name}.dcm").write_bytes(b"\0" * 256)


def make_folders(folder: Path, count: int) -> None:
    """One SeriesInstanceUID in each folder, whose slices fit together with those of no other."""
    for index in range(count // SLICES):
        write_volume(folder / str(index), start=SLICES * index, origin=4.0 * index + 0.4 * (index % 2))


def make_phases(folder: Path, count: int) -> None:
    """One 4D series of many times, each slice twice, without one slice of the last time."""
    for time in range(count // SLICES):
        write_volume(folder / "a", start=SLICES * time, TemporalPositionIdentifier=time + 1)
        write_volume(folder / "b", start=SLICES * time, TemporalPositionIdentifier=time + 1)
    (folder / "a" / f"{count // SLICES * SLICES - 2}.dcm").unlink()
    (folder / "b" / f"{count // SLICES * SLICES - 2}.dcm").unlink()


def make_series_of_phases(folder: Path, count: int) -> None:
    """4D series of two whole times and one that lacks a slice."""
    for index in range(count // 8):
        for time in range(3):
            write_volume(folder / str(index), series=str(index), start=SLICES * time,
                         TemporalPositionIdentifier=time + 1)
        (folder / str(index) / "7.dcm").unlink()


def make_nameless(folder: Path, count: int) -> None:
    """Slices without a SeriesInstanceUID, three to a folder."""
    for index in range(count // SLICES):
        write_volume(folder / str(index), SeriesInstanceUID="", start=SLICES * index)


def make_tiffs(folder: Path, count: int) -> None:
    """TIFFs of one and of two pages."""
    folder.mkdir()
    page = Image.new("L", (SIDE, SIDE))
    for index in range(count):
        page.save(folder / f"{index}.tif", save_all=True, append_images=[page] * (index % 2))


def make_empty(folder: Path, count: int) -> None:
    """Empty files and text."""
    folder.mkdir()
    for index in range(count):
        (folder / f"{index}.dcm").write_bytes(b"" if index % 2 else b"no image")


KINDS: dict[str, Make] = {
    "copies of one slice": make_copies, "one series UID in many studies": make_studies,
    "damaged files beside series": make_broken, "one series UID in many folders": make_folders,
    "times of one 4D series, twice": make_phases, "4D series with a hole": make_series_of_phases,
    "nameless slices": make_nameless, "TIFFs": make_tiffs, "files that are no image": make_empty,
}


def measure(make: Make, counts: list[int]) -> Iterator[str]:
    for count in counts:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / "odd"
            make(folder, count)
            started = process_time()
            find_series(folder, sequence="frames")
            seconds = process_time() - started
        yield f"{count:6}: {seconds:7.2f} s {1e6 * seconds / count:7.0f} us"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("counts", type=int, nargs="+")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    asked = parser.parse_args()
    for name in asked.only:
        print(f"{name:32}", *measure(KINDS[name], asked.counts), sep="   ", flush=True)
