"""Reading in a worker process: the same pixels, and what crashes, hangs or eats memory costs one series."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from dicom_files import make_stack, random_stack, save_stack
from PIL import Image
from pydicom.uid import RLELossless

from seriatim.errors import DecoderError, InputError
from seriatim.io import Limits, find_series, read_volume
from seriatim.io.isolation import isolated
from seriatim.io.isolation.memory import SharedMemory, map_array, share_array
from seriatim.io.isolation.wire import to_plain
from seriatim.io.isolation.worker import volume_kinds
from seriatim.series import Series

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows reads in one process")
LIMITS = Limits()
QUICK = Limits(seconds=0.4, seconds_per_slice=0)
PLANTED = ("-P", str(Path(__file__).with_name("planted_worker.py")))


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that break where the folder's name asks for it."""
    monkeypatch.setattr(isolated, "WORKER", PLANTED)
    monkeypatch.setattr(isolated, "_workers", isolated._Workers())


def make_series(folder: Path, *, seed: int = 0) -> Series:
    save_stack(make_stack(random_stack(seed=seed), SeriesInstanceUID=f"1.2.3.{seed + 1}"), folder)
    (series,) = find_series(folder).series
    return series


def count_open() -> int:
    """The descriptors this process holds."""
    return len(list(Path("/dev/fd").iterdir()))


def worker_of_this_thread() -> isolated.Worker:
    assert isolated._workers.worker is not None
    return isolated._workers.worker


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("segfault", r"DECODER_CRASH: .*\(SIGSEGV\)"),
        ("abort", r"DECODER_CRASH: .*\(SIGABRT\)"),
        ("quiet", r"DECODER_CRASH: .*exit code 0"),
        ("hang", "TIMEOUT: .* took longer than 0 s"),
        ("native-hang", "TIMEOUT: "),
        ("allocate", "TOO_LARGE: .*needs more memory"),
        ("rubbish", "DECODER_CRASH: .*no answer"),
        ("endless", "DECODER_CRASH: .*no answer"),
        ("size", "DECODER_CRASH: .*wrong kind"),
    ],
)
def test_a_fault_costs_one_series(tmp_path: Path, planted: None, fault: str, reason: str) -> None:
    good, bad = make_series(tmp_path / "good"), make_series(tmp_path / f"bad-{fault}", seed=1)
    expected = read_volume(good).array
    for _ in range(2):  # in a fresh worker and in one that served before
        with pytest.raises(DecoderError, match=reason):
            read_volume(bad, limits=QUICK)
        np.testing.assert_array_equal(read_volume(good, limits=LIMITS).array, expected)


def test_what_a_decoder_prints_is_no_answer(
    tmp_path: Path, planted: None, capfd: pytest.CaptureFixture[str]
) -> None:
    series = make_series(tmp_path / "bad-chatter")
    np.testing.assert_array_equal(read_volume(series, limits=LIMITS).array, read_volume(series).array)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_many_crashes_in_a_row(tmp_path: Path, planted: None, times: int) -> None:
    good, bad = make_series(tmp_path / "good"), make_series(tmp_path / "bad-segfault", seed=1)
    expected, held = read_volume(good).array, count_open()
    for _ in range(times):
        with pytest.raises(DecoderError, match="DECODER_CRASH"):
            read_volume(bad, limits=LIMITS)
        np.testing.assert_array_equal(read_volume(good, limits=LIMITS).array, expected)
    assert count_open() <= held + 2  # the channel


def test_relative_paths_mean_what_they_mean_to_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate(("one", "other")):
        make_series(tmp_path / name / "series", seed=seed)
    arrays = []
    for name in ("one", "other"):  # the worker was started in neither
        monkeypatch.chdir(tmp_path / name)
        (series,) = find_series("series", limits=LIMITS).series
        arrays.append(read_volume(series, limits=LIMITS).array)
        np.testing.assert_array_equal(arrays[-1], read_volume(series).array)
    assert not np.array_equal(*arrays)


def test_a_worker_that_died_between_series_is_replaced(tmp_path: Path) -> None:
    series = make_series(tmp_path)
    expected = read_volume(series).array
    for _ in range(2):
        np.testing.assert_array_equal(read_volume(series, limits=LIMITS).array, expected)
        os.kill(worker_of_this_thread()._process.pid, signal.SIGKILL)


def test_a_worker_is_kept_and_reads_bit_for_bit_alike(tmp_path: Path) -> None:
    stored = random_stack(6, 8, 9)
    rgb = np.repeat(stored.astype(np.uint8)[..., None], 3, axis=3)
    rgb[..., 1] += 1
    save_stack(make_stack(stored, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=3), tmp_path / "dicom")
    (first,) = find_series(tmp_path / "dicom").series
    volume = read_volume(first)
    image = SimpleITK.GetImageFromArray(volume.array)
    for name in ("volume.nii.gz", "volume.mha", "volume.nrrd"):
        SimpleITK.WriteImage(image, str(tmp_path / name), useCompression=True)
    (tmp_path / "stack").mkdir()
    for index, picture in enumerate(rgb):
        Image.fromarray(picture).save(tmp_path / "stack" / f"{index}.png")
    Image.fromarray(rgb[0]).save(tmp_path / "film.gif", save_all=True, append_images=[Image.fromarray(rgb[1])])
    found = find_series(tmp_path)
    assert find_series(tmp_path, limits=LIMITS).skipped == found.skipped
    apart = find_series(tmp_path, limits=LIMITS).series
    assert {series.format for series in apart} == {"dicom", "nifti", "metaimage", "nrrd", "stack", "video"}
    ours = worker_of_this_thread()
    for here, there in zip(found.series, apart, strict=True):
        assert repr(here) == repr(there)
        one, other = read_volume(here), read_volume(there, limits=LIMITS)
        assert one.array.tobytes() == other.array.tobytes()
        assert (one.array.dtype, one.array.shape) == (other.array.dtype, other.array.shape)
        said = [{name: to_plain(getattr(volume, name)) for name in volume_kinds()} for volume in (one, other)]
        assert said[0] == said[1]
        other.array[0] = 0  # ours to change
    assert worker_of_this_thread() is ours


def test_errors_are_those_of_reading_here(tmp_path: Path) -> None:
    series = make_series(tmp_path)
    path = series.instances[3].path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DecoderError) as here:
        read_volume(series)
    with pytest.raises(DecoderError) as there:
        read_volume(series, limits=LIMITS)
    assert str(here.value) == str(there.value)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_volume(series, limits=LIMITS)


def test_pixels_are_freed_with_the_array(tmp_path: Path) -> None:
    series = make_series(tmp_path)
    kept = read_volume(series, limits=LIMITS)
    held = count_open()
    for _ in range(5):
        read_volume(series, limits=LIMITS)
    assert count_open() == held
    del kept
    assert count_open() < held


def test_threads_and_forks_have_workers_of_their_own(tmp_path: Path) -> None:
    series = make_series(tmp_path)
    expected = read_volume(series, limits=LIMITS).array
    ours, others = worker_of_this_thread(), []

    def read_there() -> None:
        np.testing.assert_array_equal(read_volume(series, limits=LIMITS).array, expected)
        others.append(worker_of_this_thread()._process.pid)

    thread = threading.Thread(target=read_there)
    thread.start()
    thread.join()
    assert others
    assert others != [ours._process.pid]
    assert is_gone(others[0])  # it ended with its thread
    child = os.fork()
    if child == 0:
        same = np.array_equal(read_volume(series, limits=LIMITS).array, expected)
        os._exit(0 if same and worker_of_this_thread()._process.pid != ours._process.pid else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(read_volume(series, limits=LIMITS).array, expected)
    assert worker_of_this_thread() is ours


def is_gone(process: int, *, seconds: float = 5.0) -> bool:
    """True where a process ends within a time; one that only waits to be counted by its parent has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


PARENT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from pathlib import Path
from seriatim.io import Limits
from seriatim.io import find_series
from seriatim.io.isolation import isolated
from seriatim.io import read_volume
isolated.WORKER = {worker!r}
call = isolated.Worker.call
def tell_and_call(self, *arguments, **options):
    print(self._process.pid, flush=True)
    return call(self, *arguments, **options)
isolated.Worker.call = tell_and_call
(series,) = find_series(Path({folder!r})).series
read_volume(series, limits=Limits())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a hanging worker with its parent")
@pytest.mark.parametrize(("fault", "sent"), [("hang", signal.SIGKILL), ("native-hang", signal.SIGKILL),
                                             ("native-hang", signal.SIGINT)])
def test_a_worker_ends_with_its_parent(tmp_path: Path, fault: str, sent: signal.Signals) -> None:
    series = make_series(tmp_path / f"bad-{fault}")
    code = PARENT.format(worker=PLANTED, folder=str(series.path))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              start_new_session=True)
    worker = int(parent.stdout.readline())
    time.sleep(0.2)
    os.killpg(parent.pid, sent)  # as the terminal does on Ctrl-C
    _, told = parent.communicate(timeout=240)
    assert is_gone(worker)
    if sent == signal.SIGINT:
        assert told.count("Traceback") == 1  # this parent's own
        assert told.rstrip().endswith("KeyboardInterrupt")


def test_reading_here_starts_nothing(tmp_path: Path) -> None:
    series = make_series(tmp_path)
    code = (f"import sys; from seriatim.io import *; (series,) = find_series({str(series.path)!r}).series; "
            "read_volume(series); assert not {'seriatim.io.isolation.isolated', 'seriatim.io.isolation.worker'} & "
            "set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


def test_where_no_worker_can_start_files_are_read_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    series = make_series(tmp_path)
    monkeypatch.setattr(isolated, "WORKER", ("-c", "raise SystemExit"))
    monkeypatch.setattr(isolated, "_workers", isolated._Workers())
    monkeypatch.setattr(isolated, "_unavailable", [])
    for _ in range(2):
        np.testing.assert_array_equal(read_volume(series, limits=LIMITS).array, read_volume(series).array)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "without limits" in caplog.text


def test_a_worker_killed_while_it_starts_does_not_end_the_isolation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    series, mark = make_series(tmp_path / "series"), tmp_path / "mark"
    die_once = (f"import os, pathlib, runpy\nmark = pathlib.Path({str(mark)!r})\n"
                "if not mark.exists(): mark.touch(); os.kill(os.getpid(), 9)\n"
                "runpy.run_module('seriatim.io.isolation.worker', run_name='__main__')")
    monkeypatch.setattr(isolated, "WORKER", ("-P", "-c", die_once))
    monkeypatch.setattr(isolated, "_workers", isolated._Workers())
    monkeypatch.setattr(isolated, "_unavailable", [])
    np.testing.assert_array_equal(read_volume(series, limits=LIMITS).array, read_volume(series).array)
    assert mark.exists()
    assert not isolated._unavailable
    assert "without limits" not in caplog.text


def save_codes(folder: Path, stored: np.ndarray, **values: object) -> Series:
    save_stack(make_stack(stored, **values), folder)
    (series,) = find_series(folder).series
    return series


def check_alike(series: Series) -> None:
    here, apart = read_volume(series), read_volume(series, limits=LIMITS)
    assert (here.array.dtype, here.array.shape) == (apart.array.dtype, apart.array.shape)
    assert here.array.tobytes() == apart.array.tobytes()


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [(1, -1024, "int16"), (1, -1e6, "int32"), (0.5, 0.25, "float32")]
)
def test_every_kind_of_number_is_shared_alike(tmp_path: Path, slope: float, intercept: float, dtype: str) -> None:
    series = save_codes(tmp_path, random_stack(5, 6, 7), RescaleSlope=slope, RescaleIntercept=intercept)
    assert read_volume(series).array.dtype == dtype
    check_alike(series)


def test_memory_is_widened_alike_when_a_later_slice_needs_more(tmp_path: Path) -> None:
    datasets = make_stack(random_stack(5, 6, 7))
    datasets[2].RescaleIntercept, datasets[3].RescaleSlope = 1_000_000, 0.5
    save_stack(datasets, tmp_path)
    (series,) = find_series(tmp_path).series
    check_alike(series)


def test_slices_decoded_in_threads_are_shared_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "default_threads", lambda: 3)
    datasets = make_stack(random_stack(12, 40, 30))
    for dataset in datasets:
        dataset.compress(RLELossless, generate_instance_uid=False)
    save_stack(datasets, tmp_path)
    (series,) = find_series(tmp_path).series
    check_alike(series)


def test_pixels_that_their_maker_could_still_change_are_copied() -> None:
    pixels = random_stack(3, 40, 50)
    with SharedMemory() as memory:
        slices = memory.allocate(pixels.shape, pixels.dtype)
        for index, values in enumerate(pixels):
            slices.put(index, values)
        descriptor = memory.share(slices.finish())
    try:
        held = mmap.mmap(descriptor, pixels.nbytes)  # a worker that keeps a way to write
        array = map_array(descriptor, dtype=pixels.dtype.str, shape=pixels.shape)
        held[:] = bytes(len(held))
        held.close()
        os.ftruncate(descriptor, 0)
        np.testing.assert_array_equal(array, pixels)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("sealed", [True, False])
def test_no_room_for_pixels_is_told_and_never_a_bus_error(monkeypatch: pytest.MonkeyPatch, sealed: bool) -> None:
    if not sealed:
        monkeypatch.delattr(os, "memfd_create", raising=False)

    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", write)
    with SharedMemory() as memory:
        slices = memory.allocate((3, 40, 50), np.dtype("<i2"))
        slices.put(0, np.ones((40, 50), np.int16))
        with pytest.raises(MemoryError):
            slices.put(1, np.ones((40, 50), np.int16))
        with pytest.raises(MemoryError):
            memory.share(np.ones((3, 40, 50), np.int16))


@pytest.mark.skipif(sys.platform != "linux", reason="others choose in another way")
def test_where_memory_runs_out_a_worker_goes_first(tmp_path: Path) -> None:
    read_volume(make_series(tmp_path), limits=LIMITS)
    worker = isolated._workers.worker
    assert worker is not None
    own, theirs = (int(Path(f"/proc/{one}/oom_score_adj").read_text(encoding="ascii"))
                   for one in (os.getpid(), worker._process.pid))
    assert theirs >= max(own, 500)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no sealed memory")
def test_mapped_pixels_cannot_be_changed_by_their_maker() -> None:
    pixels = random_stack(3, 40, 50)
    descriptor = share_array(pixels)
    try:
        array = map_array(descriptor, dtype=pixels.dtype.str, shape=pixels.shape)
        for change in (lambda: os.ftruncate(descriptor, 0), lambda: os.pwrite(descriptor, b"x", 0)):
            with pytest.raises(PermissionError):
                change()
        np.testing.assert_array_equal(array, pixels)
    finally:
        os.close(descriptor)


def test_memory_that_there_is_no_room_for_is_refused() -> None:
    with SharedMemory() as memory, pytest.raises(MemoryError):
        memory.allocate((1 << 24, 1 << 16, 1 << 16), np.dtype(np.int16))


def test_a_file_that_claims_a_huge_size_gets_no_more_than_ten_minutes(tmp_path: Path) -> None:
    sparse = tmp_path / "a.nii.gz"
    sparse.touch()
    os.truncate(sparse, 50 << 20)
    assert LIMITS.seconds_for([sparse]) == 60 + 50
    os.truncate(sparse, 100 << 30)
    assert LIMITS.seconds_for([sparse]) == LIMITS.seconds_for([[sparse, sparse]]) == 60 + 600
