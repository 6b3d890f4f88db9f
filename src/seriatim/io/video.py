"""Video files through PyAV (the extra "video"): frames at their presentation times."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import DecoderError, InputError
from seriatim.io.content import digest_files, make_uid
from seriatim.io.pictures import drop_equal_colours
from seriatim.io.refused import find_or_refuse
from seriatim.io.source import open_file
from seriatim.series.findings import Code, Finding, find
from seriatim.series.series import Instance, Series, Volume

DEFAULT_FRAMES_PER_S = 25.0
NO_OTHER_FILES = {"protocol_whitelist": "none"}
"""A playlist inside a media file could name other files, or addresses: nothing but the file itself is opened."""


def find_clip(path: Path) -> list[Series]:
    """The frames of a video and their times in seconds from the first, or its row with the reason.

    Raises:
        OSError: the file cannot be opened.
    """
    return find_or_refuse(path, "video", lambda path: [_find_clip(path)])


def _find_clip(path: Path) -> Series:
    digest = digest_files([path])
    try:
        times, size, findings = _scan(path)
    except ImportError:
        times, size = [], (0, 0)
        findings = [find(Code.DECODER_MISSING, 'Video needs PyAV. Install it: pip install "seriatim[video]".')]
    if len(times) == 1:
        findings.append(find(Code.NOT_A_SERIES, "The video holds a single frame, no sequence."))
    instances = tuple(
        Instance(path=path, sop_instance_uid=make_uid(digest, "instance", index), frame=index, position=time)
        for index, time in enumerate(times)
    )
    return Series(
        study_uid=make_uid(digest, "study"), series_uid=make_uid(digest, "series"), modality="OT", axis="time",
        format="video", path=path, instances=instances, rows=size[1], columns=size[0], findings=tuple(findings),
    )


def read_clip(series: Series) -> Volume:
    """All frames, grey (S,H,W) where all three colours are equal everywhere, else (S,H,W,3) uint8.

    Raises:
        DecoderError: PyAV is missing, or fewer frames can be decoded than were found.
    """
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        raise DecoderError('Video needs PyAV. Install it: pip install "seriatim[video]".') from error
    array = np.empty((len(series.instances), series.rows, series.columns, 3), dtype=np.uint8)
    count = 0
    try:
        with open_file(series.path) as file, av.open(file, options=NO_OTHER_FILES) as container:
            for frame in container.decode(video=0):
                if count < len(array):
                    array[count] = frame.to_ndarray(format="rgb24")
                count += 1
    except (av.FFmpegError, ValueError) as error:
        raise DecoderError(f"{series.path} cannot be decoded: {error}. Copy it again.") from error
    if count != len(array):
        raise DecoderError(f"{series.path}: {count} frames decoded, {len(array)} were found. Run find_series again.")
    return Volume(array=_grey(array), affine=None, positions=series.positions, series=series)


def _scan(path: Path) -> tuple[list[float], tuple[int, int], list[Finding]]:
    """Times, (columns, rows) and findings. Every frame is decoded: packets promise more than decoders give."""
    av = importlib.import_module("av")
    stamps: list[float | None] = []
    size = (0, 0)
    findings: list[Finding] = []
    try:
        with open_file(path) as file, av.open(file, options=NO_OTHER_FILES) as container:
            if not container.streams.video:
                raise InputError("a media file without a video stream")
            stream = container.streams.video[0]
            rate = float(stream.average_rate or DEFAULT_FRAMES_PER_S)
            for frame in container.decode(stream):
                if not stamps:
                    size = (frame.width, frame.height)
                elif (frame.width, frame.height) != size:
                    findings = [find(Code.MIXED_SIZE, "The size of the frames changes within the video.")]
                stamps.append(None if frame.pts is None else float(frame.pts * frame.time_base))
    except av.FFmpegError as error:
        if not stamps:
            raise InputError(f"unreadable video: {type(error).__name__}") from error
        findings = [find(Code.TRUNCATED, f"The video breaks off after {len(stamps)} frames. Copy it again.")]
    if not stamps:
        raise InputError("a video without frames")
    return _times(stamps, rate, findings), size, findings


def _times(stamps: list[Any], rate: float, findings: list[Finding]) -> list[float]:
    if None not in stamps and (len(stamps) == 1 or np.diff(stamps).min() > 0):
        return [stamp - stamps[0] for stamp in stamps]
    message = f"The frames have no ascending times: they are taken as {rate:g} per second."
    findings.append(Finding(code=Code.BAD_VALUE, message=message, numbers={"frames_per_s": rate}, action="keep"))
    return [index / rate for index in range(len(stamps))]


def _grey(array: NDArray[np.uint8]) -> NDArray[Any]:
    if all(drop_equal_colours(picture).ndim == 2 for picture in array):
        return np.ascontiguousarray(array[..., 0])
    return array
