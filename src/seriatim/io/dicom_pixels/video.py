"""Video inside DICOM (MPEG-2, MPEG-4 AVC, HEVC; PS3.5 8.2.5 to 8.2.8) through PyAV, the extra "video".

The stream is decoded to its end and must give exactly the frames that NumberOfFrames promises, whole and of the size
that the header says. A stream that gives more or fewer is refused: nothing tells which frame is missing, so that every
frame after it could stand at another's time.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import DecoderError
from seriatim.series.findings import Code, Finding, find

VIDEO_SYNTAXES = frozenset(
    f"1.2.840.10008.1.2.4.{number}{fragmentable}" for number in range(100, 109) for fragmentable in ("", ".1")
)
INSTALL = 'Install it: pip install "seriatim[video]".'
CODECS = ("mpeg1video", "mpeg2video", "h264", "hevc")
"""A JPEG would pass for a video, too."""
CLOSED = {"protocol_whitelist": "none"}
"""A playlist inside a stream could name other files, or addresses: nothing but the stream is opened."""


def check_video_decoder(name: str) -> Finding | None:
    """DECODER_MISSING where PyAV is not installed; ``name`` is that of the transfer syntax."""
    if importlib.util.find_spec("av") is not None:
        return None
    return find(Code.DECODER_MISSING, f"Video inside DICOM ({name}) needs PyAV. {INSTALL}")


class VideoFrames:
    """The frames of an encapsulated stream, read in rising order: ``frames[2]`` is the third, (H,W,3) RGB.

    Raises:
        DecoderError: PyAV is missing, or the stream is not the frames that the header promises.
    """

    def __init__(self, stream: bytes, *, count: int, size: tuple[int, int]) -> None:
        self._stream, self._count, self._size = stream, count, size
        self._decoded: Iterator[NDArray[np.uint8]] = iter(())
        self._next = count  # nothing is open yet

    def __getitem__(self, frame: int) -> NDArray[np.uint8]:
        if frame < self._next:
            self._decoded, self._next = self._decode(), 0
        while True:
            picture = next(self._decoded)
            self._next += 1
            if self._next > frame:
                break
        if self._next == self._count:
            for _ in self._decoded:  # to the end, where the frames are counted
                pass
        return picture

    def _decode(self) -> Iterator[NDArray[np.uint8]]:
        try:
            av = importlib.import_module("av")
        except ImportError as error:
            raise DecoderError(f"video inside DICOM needs PyAV. {INSTALL}") from error
        shown, converter = 0, av.video.reformatter.VideoReformatter()  # one for all: each brings threads of its own
        try:
            with av.open(BytesIO(self._stream), options=CLOSED) as container:
                if (codec := container.streams.video[0].codec_context.name) not in CODECS:
                    raise DecoderError(f"the stream is {codec}, which no video inside DICOM is.")
                for picture in container.decode(video=0):
                    shown += 1
                    self._check(picture, shown)
                    yield converter.reformat(picture, format="rgb24").to_ndarray()
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise DecoderError(f"the video cannot be decoded ({type(error).__name__}).") from error
        if shown != self._count:
            raise DecoderError(f"the video holds {shown} frames, the header promises {self._count}.")

    def _check(self, picture: Any, shown: int) -> None:
        if shown > self._count:
            raise DecoderError(f"the video holds more frames than the {self._count} that the header promises.")
        if picture.is_corrupt:
            raise DecoderError(f"frame {shown} of the video is damaged and was filled by the decoder.")
        if (picture.height, picture.width) != self._size:
            raise DecoderError(f"frame {shown} of the video is {picture.width} x {picture.height} pixels, the header "
                               f"says {self._size[1]} x {self._size[0]}.")
