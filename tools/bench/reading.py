"""Reading against peers, interleaved in one run on synthetic CT: ratios of medians, after the outputs were compared.

usage: reading.py [raw|compressed|nifti|index|memory|isolated] ... [--rounds 7] [--slices 300]
Without a name all are run. Machines are noisy: quote the ratios, not the seconds. A missing peer is left out.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

SIZE = 512
SYNTAXES = {"RLE": "1.2.840.10008.1.2.5", "JPEG lossless": "1.2.840.10008.1.2.4.70",
            "JPEG-LS": "1.2.840.10008.1.2.4.80", "JPEG 2000": "1.2.840.10008.1.2.4.90",
            "HTJ2K": "1.2.840.10008.1.2.4.201"}
Reader = Callable[[Path], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="what to measure")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--peak", nargs=2, metavar=("READER", "PATH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print_peak(args.peak[0], Path(args.peak[1]))
        return
    for part in args.parts or PARTS:
        print(f"\n{part}")
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](Path(folder), args.slices, args.rounds)


def bench_raw(folder: Path, slices: int, rounds: int) -> None:
    """A series of uncompressed files -> int16, ordered."""
    write_series(folder, make_stack(slices))
    compare({"seriatim": read_ours, "floor: read + memcpy": read_floor, "pydicom loop": read_pydicom,
             "SimpleITK": read_simpleitk, "MONAI PydicomReader": read_monai}, folder, rounds=rounds)


def bench_compressed(folder: Path, slices: int, rounds: int) -> None:
    """A third of the slices in each lossless transfer syntax."""
    stack = make_stack(max(slices // 3, 4))
    for name, syntax in SYNTAXES.items():
        print(f" {name}")
        place = folder / name
        write_series(place, stack, syntax)
        peers = {"seriatim": read_ours, "seriatim, 1 thread": read_ours_alone, "pydicom loop": read_pydicom,
                 "SimpleITK": read_simpleitk}
        compare(peers, place, rounds=max(rounds * 2 // 3, 5))


def bench_nifti(folder: Path, slices: int, rounds: int) -> None:
    """One .nii.gz of int16, as nibabel writes it."""
    import nibabel as nib

    path = folder / "volume.nii.gz"
    nib.save(nib.Nifti1Image(make_stack(slices // 2).T, np.diag([0.5, 0.5, 2.5, 1])), path)
    peers = {"seriatim": read_ours, "nibabel int16": read_nibabel, "SimpleITK": read_simpleitk_file}
    compare(peers, path, rounds=rounds)


def bench_memory(folder: Path, slices: int, _: int) -> None:
    """Peak resident memory of a process that reads one series, above what it had after its imports."""
    stack = make_stack(slices)
    write_series(folder / "raw", stack)
    write_series(folder / "jls", stack[: slices // 3], SYNTAXES["JPEG-LS"])
    for place, count in (("raw", slices), ("jls", slices // 3)):
        for name in ("read_ours", "read_pydicom", "read_simpleitk", "read_monai"):
            command = [sys.executable, __file__, "--peak", name, str(folder / place)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"  {place:4} {name:24} failed: {done.stderr.strip().splitlines()[-1][:80]}")
                continue
            ratio = json.loads(done.stdout) / (2 * count * SIZE * SIZE)
            print(f"  {place:4} {name:24} {ratio:6.2f} x the int16 volume")


def bench_index(folder: Path, slices: int, rounds: int) -> None:
    """Headers of 20 times as many files as there are slices."""
    import index

    index.bench(folder, 20 * slices, rounds)


def bench_isolated(folder: Path, slices: int, rounds: int) -> None:
    """Reading in a worker process."""
    import isolation

    isolation.bench(folder, slices, rounds)


PARTS = {"raw": bench_raw, "compressed": bench_compressed, "nifti": bench_nifti, "index": bench_index,
         "memory": bench_memory, "isolated": bench_isolated}


def compare(readers: dict[str, Reader], path: Path, *, rounds: int) -> None:
    """Print the median time of each reader, and how many times as long as the first it takes."""
    answers, usable = {}, {}
    for name, reader in readers.items():
        try:
            answers[name] = reader(path)
            usable[name] = reader
        except Exception as error:  # noqa: BLE001 - a peer that is missing or cannot read it is left out, and told
            print(f"  {name:24} left out: {type(error).__name__}: {str(error).splitlines()[0][:70]}")
    reference = answers["seriatim"]
    for name, answer in answers.items():
        if not name.startswith("floor") and not np.array_equal(answer, reference):
            print(f"  {name:24} DIFFERS from seriatim")
    del answers
    seconds: dict[str, list[float]] = {name: [] for name in usable}
    for _ in range(rounds):
        for name, reader in usable.items():
            gc.collect()
            started = perf_counter()
            answer = reader(path)
            seconds[name].append(perf_counter() - started)
            del answer
    for name, times in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(times, seconds["seriatim"], strict=True)]
        median = 1000 * statistics.median(times)
        print(f"  {name:24} {median:8.0f} ms   {statistics.median(ratios):6.2f} x seriatim's time")


def read_ours(path: Path) -> np.ndarray:
    return read_known(path)


def read_ours_alone(path: Path) -> np.ndarray:
    return read_known(path, threads=1)


def read_known(path: Path, **options: Any) -> np.ndarray:
    """The pixels alone: the series was found before, as the peers are given their files."""
    from seriatim.io import find_series, read_volume
    from seriatim.io.dicom_pixels.read import read_dicom

    if path not in FOUND:
        (FOUND[path],) = find_series(path).series
    return read_dicom(FOUND[path], **options).array if options else read_volume(FOUND[path]).array


FOUND: dict[Path, Any] = {}


def read_floor(path: Path) -> np.ndarray:
    """The bytes of all files, each copied into its place; nothing is parsed, ordered or rescaled."""
    files = sorted(path.iterdir())
    volume = np.empty((len(files), SIZE, SIZE), np.int16)
    for place, file in zip(volume, files, strict=True):
        place[...] = np.frombuffer(file.read_bytes()[-place.nbytes :], np.int16).reshape(SIZE, SIZE)
    return volume


def read_pydicom(path: Path) -> np.ndarray:
    """The loop everybody writes, in integers."""
    datasets = [pydicom.dcmread(file) for file in path.iterdir()]
    datasets.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    slices = [one.pixel_array.astype(np.int16) * np.int16(one.RescaleSlope) + np.int16(one.RescaleIntercept)
              for one in datasets]
    return np.stack(slices)


def read_simpleitk(path: Path) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813 - the name that everybody uses

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
    return sitk.GetArrayFromImage(reader.Execute()).astype(np.int16, copy=False)


def read_monai(path: Path) -> np.ndarray:
    from monai.data import PydicomReader

    reader = PydicomReader(swap_ij=False)
    array, _ = reader.get_data(reader.read(str(path)))
    return np.ascontiguousarray(np.moveaxis(array, -1, 0)).astype(np.int16)


def read_nibabel(path: Path) -> np.ndarray:
    import nibabel as nib

    return np.ascontiguousarray(np.asanyarray(nib.load(path).dataobj).T)


def read_simpleitk_file(path: Path) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813 - the name that everybody uses

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(np.int16, copy=False)


def print_peak(name: str, path: Path) -> None:
    """The bytes that a reader adds to the peak of this process (Linux; ru_maxrss would hold the parent's too)."""
    reader = globals()[name]
    write_series(path.parent / f"warm-{name}", make_stack(2))  # so that lazy imports do not count
    reader(path.parent / f"warm-{name}")
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = read_memory("VmRSS")
    array = reader(path)
    print(json.dumps(read_memory("VmHWM") - before))
    del array


def read_memory(name: str) -> int:
    """Bytes of this process, as the kernel counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def make_stack(slices: int) -> np.ndarray:
    """(S,512,512) int16 stored values: a smooth body with noise, in air."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    body = np.where(rows**2 + (columns / 0.8) ** 2 < 0.7, 1040 + 120 * np.sin(9 * rows) * np.cos(7 * columns), 20)
    noise = rng.normal(0, 12, (8, SIZE, SIZE))
    return np.stack([(body + noise[index % 8] + index % 5).clip(0, 4095) for index in range(slices)]).astype(np.int16)


def write_series(folder: Path, stack: np.ndarray, syntax: str = "") -> None:
    """One CT file per slice, with the header of a scanner's size."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, pixels in enumerate(stack):
        dataset = make_header(index)
        dataset.PixelData = pixels.tobytes()
        if syntax == SYNTAXES["RLE"]:
            dataset.compress(UID(syntax), generate_instance_uid=False)
        elif syntax:
            dataset.PixelData = encapsulate([encode(pixels.astype(np.uint16), syntax)])
            dataset["PixelData"].VR = "OB"
            dataset.file_meta.TransferSyntaxUID = UID(syntax)
        dataset.save_as(folder / f"{(index * 7919) % 10007:05}.dcm", enforce_file_format=True)


def encode(pixels: np.ndarray, syntax: str) -> bytes:
    import imagecodecs

    if syntax == SYNTAXES["JPEG lossless"]:
        return imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1)
    if syntax == SYNTAXES["JPEG-LS"]:
        return imagecodecs.jpegls_encode(pixels)
    if syntax == SYNTAXES["HTJ2K"]:
        return imagecodecs.htj2k_encode(pixels, reversible=True)
    return imagecodecs.jpeg2k_encode(pixels, reversible=True, codecformat="j2k", bitspersample=12)


def make_header(index: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{index + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.9"
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.StudyDate, dataset.ContentTime, dataset.KVP = "20260101", f"10{index // 60:02}{index % 60:02}.5", 120
    dataset.PatientName, dataset.PatientID, dataset.Manufacturer = "Nobody^Synthetic", "0", "seriatim"
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-128, -128, 2.5 * index], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness, dataset.InstanceNumber = [0.5, 0.5], 2.5, index + 1
    dataset.Rows = dataset.Columns = SIZE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
    for element in range(40):  # as many attributes as scanners write
        dataset.add_new(0x00091000 + element, "LO", f"value {element}")
    dataset.add_new(0x00090010, "LO", "SERIATIM BENCH")
    return dataset


if __name__ == "__main__":
    main()
