"""Video files through PyAV (the extra "video"): frames at their presentation times."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import DecoderError
from seriatim.io.content import digest_files, make_uid
from seriatim.io.pictures.media_length import missing_bytes
from seriatim.io.pictures.pictures import drop_equal_colours
from seriatim.io.pictures.turned import Turning
from seriatim.io.refused import RefusedFileError, find_or_refuse
from seriatim.io.source import open_file
from seriatim.series.findings import Code, Finding, find
from seriatim.series.series import Instance, Series, Volume
from seriatim.series.spacing import find_gaps

DEFAULT_FRAMES_PER_S = 25.0
COVER_PICTURE = 0x400
"""AV_DISPOSITION_ATTACHED_PIC."""
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
    count, turning = 0, Turning()
    converter = av.video.reformatter.VideoReformatter()  # one for all: each brings threads of its own
    try:
        with open_file(series.path) as file, av.open(file, options=NO_OTHER_FILES) as container:
            for frame in container.decode(_choose_stream(container)[0]):
                if count < len(array):
                    picture = converter.reformat(frame, format="rgb24").to_ndarray()
                    array[count] = np.rot90(picture, turning.of(frame) or 0)
                count += 1
    except (av.FFmpegError, ValueError) as error:
        raise DecoderError(f"{series.path} cannot be decoded ({type(error).__name__}). Copy it again.") from error
    if count != len(array):
        raise DecoderError(f"{series.path}: {count} frames decoded, {len(array)} were found. Run find_series again.")
    return Volume(array=_grey(array), affine=None, positions=series.positions, series=series)


def _scan(path: Path) -> tuple[list[float], tuple[int, int], list[Finding]]:
    """Times, (columns, rows) as shown and findings. Every frame is decoded: packets promise more than decoders give."""
    av = importlib.import_module("av")
    stamps: list[float | None] = []
    shapes: set[tuple[int, int]] = set()
    damaged, askew, broken, turning = 0, False, "", Turning()
    with open_file(path) as file:
        lacking = missing_bytes(file)
        file.seek(0)
        try:
            with av.open(file, options=NO_OTHER_FILES) as container:
                stream, others = _choose_stream(container)
                rate, promised = float(stream.average_rate or DEFAULT_FRAMES_PER_S), int(stream.frames)
                for frame in container.decode(stream):
                    turns = turning.of(frame)
                    shapes.add(_shown_size(frame, turns or 0))
                    damaged += bool(frame.is_corrupt)
                    askew = askew or turns is None
                    stamps.append(None if frame.pts is None else float(frame.pts * frame.time_base))
        except av.FFmpegError as error:
            broken = type(error).__name__
    if not stamps:
        message = f"No frame of the video can be decoded{broken and f' ({broken})'}. Copy it again."
        raise RefusedFileError(Code.UNREADABLE, message)
    findings = _check_whole(len(stamps), damaged=damaged, lacking=lacking, broken=bool(broken))
    if len(shapes) > 1:
        findings.append(find(Code.MIXED_SIZE, "The size of the frames changes within the video."))
    if askew:
        message = "The file asks to show its frames mirrored, stretched or askew: they are read as they are stored."
        findings.append(Finding(code=Code.BAD_VALUE, message=message, action="keep"))
    if others:
        message = f"The file holds {others + 1} videos: the first is read."
        findings.append(Finding(code=Code.BAD_VALUE, message=message, action="keep"))
    if len(stamps) < promised and not findings:
        message = f"{len(stamps)} frames are shown of {promised} that the file holds."
        findings.append(find(Code.SHORT_COVERAGE, message, frames=len(stamps), promised=promised))
    times = _times(stamps, rate, findings)
    if gaps := find_gaps(times):
        message = f"{len(gaps)} steps in time are much longer than those beside them: frames may be missing."
        findings.append(find(Code.UNEVEN_SPACING, message, gaps=len(gaps)))
    return times, shapes.pop(), findings


def _choose_stream(container: Any) -> tuple[Any, int]:
    """The first video stream that is no cover picture, and how many others there are."""
    streams = [stream for stream in container.streams.video if not stream.disposition & COVER_PICTURE]
    if not streams:
        raise RefusedFileError(Code.UNSUPPORTED, "A media file without video, but for a cover picture at most.")
    return streams[0], len(streams) - 1


def _check_whole(count: int, *, damaged: int, lacking: int, broken: bool) -> list[Finding]:
    if broken or lacking:
        message = f"The video breaks off or is damaged after {count} frames. Copy it again."
        return [find(Code.TRUNCATED, message, frames=count, missing_bytes=lacking)]
    if damaged:
        message = f"{damaged} of {count} frames are damaged and were filled by the decoder. Copy the video again."
        return [find(Code.TRUNCATED, message, frames=damaged)]
    return []


def _shown_size(frame: Any, turns: int) -> tuple[int, int]:
    return (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)


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
