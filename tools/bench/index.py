"""Indexing DICOM headers: find_series as a whole against loops over headers alone, interleaved (reading.py index).

Makes files with a CT header of about 90 elements and 512 x 512 pixels that take no room (holes) in a temporary folder.
Times are of the processor (user and system), which other work on the machine disturbs least. Machines are noisy: quote
the ratios, not the seconds. Other shapes are measured too: one series of all files, series of two slices, storage that
makes each file wait, and the memory that the inventory takes.
"""

import gc
import os
import statistics
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time, sleep
from unittest import mock

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from seriatim.io import ahead, find_series, walk
from seriatim.io.dicom.header import TAGS, read_planes
from seriatim.io.source import read_head
from seriatim.io.walk import HEAD_BYTES

FEW_TAGS = ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Rows", "Columns", "ImagePositionPatient",
            "ImageOrientationPatient", "PixelSpacing", "InstanceNumber"]
PIXEL_BYTES = 512 * 512 * 2
ROOT = "1.2.826.0.1.3680043.8.498"


WAIT_SECONDS = 1e-3


def bench(folder: Path, files: int, rounds: int) -> None:
    """Series of 300 files, then the other shapes."""
    plain = make_files(folder / "plain", files, 300)
    check_equal(plain)
    compare(plain, files, rounds)
    measure_waiting(plain, files)
    measure_memory(plain, files)
    for name, per_series in (("one series", files), ("series of 2 slices", 2)):
        shape = make_files(folder / str(per_series), files, per_series)
        seconds = statistics.median(timed(lambda shape=shape: find_series(shape)) for _ in range(3))
        print(f"{name:40} {seconds / files * 1e6:8.1f} us/file")


def measure_waiting(folder: Path, files: int) -> None:
    """Storage that makes each file wait, as network folders do, by the clock: with reading ahead and without."""
    def read_waiting(path: Path, count: int) -> tuple[bytes, int]:
        sleep(WAIT_SECONDS)
        return read_head(path, count)

    for name, slow in (("1 ms wait per file, read ahead", ahead.SLOW_SECONDS), ("the same, one by one", 1e9)):
        with mock.patch.object(walk, "read_head", read_waiting), mock.patch.object(ahead, "SLOW_SECONDS", slow):
            started = perf_counter()
            find_series(folder)
        print(f"{name:40} {(perf_counter() - started) / files * 1e6:8.1f} us/file")


def compare(folder: Path, files: int, rounds: int) -> None:
    """Print the median time per file of each way, and how many times that of find_series it is."""
    paths = sorted(folder.iterdir())
    ways: dict[str, Callable[[], object]] = {
        "find_series": lambda: find_series(folder),
        "pydicom loop, 9 tags": lambda: read_headers(paths, FEW_TAGS),
        "pydicom loop, our tags": lambda: read_headers(paths, TAGS),
        "open, stat, read, close": lambda: [len(read_head(path, HEAD_BYTES)[0]) for path in paths],
        "the same in 2 threads": lambda: read_in_threads(paths, 2),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            seconds[name].append(timed(work))
    print(f"{files} files, {rounds} rounds, {threading.active_count()} thread, load {os.getloadavg()[0]:.1f}")
    for name, values in seconds.items():
        ratio = statistics.median(one / own for one, own in zip(values, seconds["find_series"], strict=True))
        print(f"{name:40} {statistics.median(values) / files * 1e6:8.1f} us/file   {ratio:6.2f} x find_series")


def read_headers(paths: list[Path], tags: list) -> None:
    for path in paths:
        pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)


def read_in_threads(paths: list[Path], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda path: len(read_head(path, HEAD_BYTES)[0]), paths, chunksize=64))


def measure_memory(folder: Path, files: int) -> None:
    tracemalloc.start()
    inventory = find_series(folder)
    gc.collect()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{'memory: inventory, peak while indexing':40} {held / files:8.0f} and {peak / files:.0f} bytes/file")
    del inventory


def check_equal(folder: Path) -> None:
    """Every slice is found, and stands where pydicom's way puts it."""
    inventory = find_series(folder)
    places = {path: plane.position for path in list(folder.iterdir())[:300] for plane in read_planes(path)}
    found = {one.path: one.position for series in inventory.series for one in series.instances}
    assert len(found) == len(list(folder.iterdir()))
    assert all(abs(found[path] - position[2]) < 1e-9 for path, position in places.items() if position)


def timed(work: Callable[[], object]) -> float:
    started = process_time()
    work()
    return process_time() - started


def make_files(folder: Path, files: int, per_series: int) -> Path:
    folder.mkdir()
    dataset = make_header()
    for index in range(files):
        write_slice(dataset, folder / f"IM{index:06}", index // per_series, index % per_series)
    return folder


def write_slice(dataset: Dataset, path: Path, series: int, index: int) -> None:
    """One slice of a series. The pixels are a hole in the file."""
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{ROOT}.{series}", f"{ROOT}.{series}.1"
    dataset.FrameOfReferenceUID, dataset.PatientID = f"{ROOT}.{series}.2", f"P{series}"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.{series}.1.{index + 1}"
    place = round(0.7 * index - 900, 4)
    dataset.InstanceNumber, dataset.SliceLocation = index + 1, place
    dataset.ImagePositionPatient = [-124.5, -130.25, place]
    dataset.AcquisitionTime = dataset.ContentTime = f"{100000 + index % 60:06}.{index * 7919 % 1000000:06}"
    dataset.PixelData = b""
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(PIXEL_BYTES.to_bytes(4, "little"))
        file.truncate(file.tell() + PIXEL_BYTES)


def make_header() -> Dataset:
    """About 90 elements, in number and kind like the header of a CT scanner."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    texts = {"SpecificCharacterSet": "ISO_IR 100", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
             "StudyDate": "20200102", "SeriesDate": "20200102", "AcquisitionDate": "20200102",
             "ContentDate": "20200102", "StudyTime": "101112.25", "SeriesTime": "101112.25", "AccessionNumber": "A1",
             "Modality": "CT", "Manufacturer": "Bench", "InstitutionName": "Bench", "ReferringPhysicianName": "N^N",
             "StationName": "CT1", "StudyDescription": "Head", "SeriesDescription": "Head 1.0 H30s",
             "ManufacturerModelName": "Bench", "PatientName": "A^B", "PatientBirthDate": "19500101", "PatientSex": "O",
             "PatientAge": "070Y", "BodyPartExamined": "HEAD", "DeviceSerialNumber": "1", "SoftwareVersions": "V1",
             "ProtocolName": "Head", "RotationDirection": "CW", "FilterType": "0", "DateOfLastCalibration": "20200101",
             "TimeOfLastCalibration": "070000", "ConvolutionKernel": "H30s", "PatientPosition": "HFS", "StudyID": "1",
             "PositionReferenceIndicator": "", "ImageComments": "", "PhotometricInterpretation": "MONOCHROME2",
             "WindowCenterWidthExplanation": ["W1", "W2"], "PerformedProcedureStepStartDate": "20200102",
             "PerformedProcedureStepStartTime": "101112", "PerformedProcedureStepID": "1",
             "RequestedProcedureDescription": "Head", "RequestingPhysician": "N^N"}
    numbers = {"SliceThickness": 1, "KVP": 120, "DataCollectionDiameter": 500, "ReconstructionDiameter": 250,
               "DistanceSourceToDetector": 1040, "DistanceSourceToPatient": 570, "GantryDetectorTilt": 0,
               "TableHeight": 150, "ExposureTime": 1000, "XRayTubeCurrent": 200, "Exposure": 200, "GeneratorPower": 30,
               "FocalSpots": 1.2, "SeriesNumber": 2, "AcquisitionNumber": 1,
               "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
               "SamplesPerPixel": 1, "Rows": 512, "Columns": 512, "PixelSpacing": [0.488281, 0.488281],
               "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0,
               "SmallestImagePixelValue": 0, "LargestImagePixelValue": 3000, "WindowCenter": [40, 80],
               "WindowWidth": [80, 200], "RescaleIntercept": -1024, "RescaleSlope": 1}
    for name, value in {**texts, **numbers}.items():
        setattr(dataset, name, value)
    referenced = Dataset()
    referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID = CTImageStorage, f"{ROOT}.9"
    dataset.ReferencedImageSequence = dataset.ReferencedStudySequence = [referenced]
    block = dataset.private_block(0x19, "BENCH", create=True)
    for index in range(8):
        block.add_new(0x10 + index, "LO", f"private value {index}")
    dataset.private_block(0x29, "BENCH", create=True).add_new(0x20, "OB", bytes(400))
    return dataset
