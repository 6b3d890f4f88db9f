"""Frames as they come: from a folder that grows, from a file at its own pace, or raw from standard input."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import BinaryIO, Literal

import numpy as np

from seriatim.errors import InputError, SeriatimError, reason_of
from seriatim.io import find_series, read_volume
from seriatim.io.growing import GrowingFolder, Order
from seriatim.io.isolation.limits import Limits
from seriatim.series import Code, Instance, Series, Volume
from seriatim.series.findings import Action
from seriatim.series.series import SequenceKind

Pixels = Literal["gray", "rgb24"]
"""What ffmpeg calls one byte, and three bytes, per pixel."""
LOOK_EVERY_S = 0.01
ALONE: dict[Code, Action] = {Code.NOT_A_SERIES: "keep", Code.MISSING_GEOMETRY: "keep"}
"""What a file with a single frame is found to be, and rightly so where frames come one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFrame:
    """One frame that came, or why it cannot be used (``reason``).

    ``volume`` holds this frame alone; ``time_s`` is its time from the first; ``ready`` is when it was there, on the
    clock of ``perf_counter``; ``file`` is the name of its file, "" where there is none of its own.
    """

    volume: Volume | None
    time_s: float
    ready: float
    file: str = ""
    reason: str = ""


def follow_folder(
    folder: Path, *, order: Order = "name", until_idle_s: float | None = None, limits: Limits | None = None
) -> Iterator[LiveFrame]:
    """The frames of the files of a folder, each when it is whole; until nothing came for so long, else for ever.

    Raises:
        InputError: the folder is gone.
    """
    growing, start, last = GrowingFolder(folder=folder, order=order), None, perf_counter()
    while until_idle_s is None or perf_counter() - last < until_idle_s:
        path = growing.next_file()
        if path is None:
            time.sleep(LOOK_EVERY_S)
            continue
        ready = perf_counter()
        start = ready if start is None else start
        frames = _read_file(path, limits=limits)
        if isinstance(frames, str) and growing.is_young(path):
            last = perf_counter()
            time.sleep(LOOK_EVERY_S)
            continue
        if not growing.take(path):
            frames = "LATE: a file that comes after it was scored already. Give --order time, or write files in order."
        reason = frames if isinstance(frames, str) else ""
        for volume in [None] if isinstance(frames, str) else split_frames(frames):
            yield LiveFrame(volume=volume, time_s=ready - start, ready=ready, file=path.name, reason=reason)
        last = perf_counter()


def replay_file(
    path: Path, *, pace: bool = True, limits: Limits | None = None, sequence: SequenceKind = "frames"
) -> Iterator[LiveFrame]:
    """The frames of a video or another file, each at its own time; at once with ``pace`` off or no times.

    The file is read whole, in a worker process under ``limits``, before the first frame.

    Raises:
        InputError: the file holds no sequence that can be used, or several.
        DecoderError: pixel data is damaged or truncated.
    """
    found = find_series(path, sequence=sequence, limits=limits)
    if len(found.series) != 1:
        reasons = "; ".join(one.reason for one in found.skipped) or "nothing was found"
        raise InputError(f"{path} holds {len(found.series)} sequences ({reasons}); one is needed. Give one clip.")
    volume = read_volume(found.series[0], limits=limits)
    timed = found.series[0].duration_s > 0
    begin = perf_counter()
    for one in split_frames(volume):
        time_s = float(one.positions[0] - volume.positions[0]) if timed else 0.0
        due = begin + time_s if pace and timed else perf_counter()
        time.sleep(max(0.0, due - perf_counter()))
        yield LiveFrame(volume=one, time_s=time_s, ready=due)


def read_raw(stream: BinaryIO, *, columns: int, rows: int, pixels: Pixels = "gray") -> Iterator[LiveFrame]:
    """Raw 8-bit frames one after another without anything between them, as ffmpeg writes rawvideo.

    A last frame that breaks off is told with its reason.
    """
    channels = 1 if pixels == "gray" else 3
    size, start = rows * columns * channels, None
    while data := stream.read(size):
        ready = perf_counter()
        start = ready if start is None else start
        time_s = ready - start
        if len(data) < size:
            reason = f"TRUNCATED: {len(data)} bytes of {size}. Check --size and --pixels."
            yield LiveFrame(volume=None, time_s=time_s, ready=ready, reason=reason)
            return
        shape = (1, rows, columns) if channels == 1 else (1, rows, columns, channels)
        array = np.frombuffer(bytearray(data), dtype=np.uint8).reshape(shape)
        yield LiveFrame(volume=_make_volume(array), time_s=time_s, ready=ready)


def split_frames(volume: Volume) -> Iterator[Volume]:
    """Each frame of a volume as a volume of its own."""
    for index, instance in enumerate(volume.series.instances):
        here = slice(index, index + 1)
        yield replace(
            volume, array=volume.array[here], positions=volume.positions[here],
            padding=None if volume.padding is None else volume.padding[here],
            series=replace(volume.series, instances=(instance,)),
        )


def _read_file(path: Path, *, limits: Limits | None) -> Volume | str:
    """The pixels of a file, or why it cannot be used."""
    try:
        found = find_series(path, ALONE, limits=limits)
        if not found.series:
            return "; ".join(one.reason for one in found.skipped) or "UNREADABLE: no image was found."
        if len(found.series) > 1:
            return f"UNSUPPORTED: {len(found.series)} series in one file, which have no common order."
        only = found.series[0]
        return only.reason or read_volume(only, limits=limits)
    except (SeriatimError, OSError) as error:
        return reason_of(error, files={path})


def _make_volume(array: np.ndarray) -> Volume:
    instance = Instance(path=Path("-"), sop_instance_uid="", frame=0, position=0.0)
    series = Series(study_uid="", series_uid="", modality="OT", axis="time", format="video", path=Path("-"),
                    instances=(instance,), rows=array.shape[1], columns=array.shape[2])
    return Volume(array=array, affine=None, positions=series.positions, series=series)
