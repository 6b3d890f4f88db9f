"""Video inside DICOM: the frames that the same encoder's stream holds, all of them, or refused with the reason."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_files import make_slice, save
from PIL import Image
from pydicom.encaps import encapsulate

from seriatim.errors import DecoderError
from seriatim.io import find_series, read_volume

av = pytest.importorskip("av", reason='needs the extra "video"')
COUNT, ROWS, COLUMNS = 12, 48, 64
CODECS = {"1.2.840.10008.1.2.4.100": ("mpeg2video", "mpeg2video"), "1.2.840.10008.1.2.4.102": ("libx264", "h264"),
          "1.2.840.10008.1.2.4.107": ("libx265", "hevc")}


def make_stream(codec: str, container: str) -> bytes:
    """Frames whose grey tells their number: 20, 35, 50, ..."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot encode {codec}")
    target = io.BytesIO()
    with av.open(target, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = COLUMNS, ROWS, "yuv420p"
        stream.codec_context.max_b_frames = 2
        stream.codec_context.options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        for index in range(COUNT):
            picture = np.full((ROWS, COLUMNS, 3), 20 + 15 * index, dtype=np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    return target.getvalue()


def save_video(path: Path, stream: bytes, syntax: str, *, frames: int = COUNT, fragments: int = 1) -> Path:
    dataset = make_slice(
        np.zeros((frames, ROWS, COLUMNS), dtype=np.uint8), None, SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.1.1",
        Modality="ES", ImageOrientationPatient=None, RescaleSlope=None, RescaleIntercept=None, NumberOfFrames=frames,
        SamplesPerPixel=3, PhotometricInterpretation="YBR_PARTIAL_420", PlanarConfiguration=0, BitsAllocated=8,
        BitsStored=8, HighBit=7, FrameTime=40, LossyImageCompression="01")
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([stream], fragments_per_frame=fragments, has_bot=False)
    dataset["PixelData"].is_undefined_length = True
    return save(dataset, path)


@pytest.mark.parametrize("syntax", CODECS)
def test_the_frames_of_a_video_are_read_in_order(tmp_path: Path, syntax: str) -> None:
    save_video(tmp_path / "one.dcm", make_stream(*CODECS[syntax]), syntax)
    (series,) = find_series(tmp_path).series
    assert series.usable
    np.testing.assert_allclose(series.positions, np.arange(COUNT) * 0.04)
    assert "LOSSY" in {str(finding.code) for finding in series.findings}
    array = read_volume(series).array
    assert array.shape == (COUNT, ROWS, COLUMNS, 3)
    np.testing.assert_allclose(array.mean(axis=(1, 2, 3)), 20 + 15 * np.arange(COUNT), atol=4)


def test_a_stream_in_fragments_is_joined(tmp_path: Path) -> None:
    syntax = "1.2.840.10008.1.2.4.102.1"
    save_video(tmp_path / "one.dcm", make_stream("libx264", "mpegts"), syntax, fragments=3)
    array = read_volume(find_series(tmp_path).series[0]).array
    np.testing.assert_allclose(array.mean(axis=(1, 2, 3)), 20 + 15 * np.arange(COUNT), atol=4)


@pytest.mark.parametrize("frames", [COUNT - 1, COUNT + 2])
def test_a_number_of_frames_that_is_not_that_of_the_stream_is_refused(tmp_path: Path, frames: int) -> None:
    save_video(tmp_path / "one.dcm", make_stream("mpeg2video", "mpeg2video"), "1.2.840.10008.1.2.4.100", frames=frames)
    with pytest.raises(DecoderError, match=rf"the header promises {frames}|than the {frames} that"):
        read_volume(find_series(tmp_path).series[0])


def test_a_stream_that_is_none_is_refused(tmp_path: Path) -> None:
    save_video(tmp_path / "one.dcm", b"no video at all " * 64, "1.2.840.10008.1.2.4.102")
    with pytest.raises(DecoderError, match="cannot be decoded"):
        read_volume(find_series(tmp_path).series[0])


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seriatim.io.dicom_pixels.codecs import check_decoder

    save_video(tmp_path / "one.dcm", b"stream" * 64, "1.2.840.10008.1.2.4.102")
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_decoder.cache_clear()
    (series,) = find_series(tmp_path).series
    check_decoder.cache_clear()
    assert series.reason.startswith("DECODER_MISSING")
    assert "seriatim[video]" in series.reason


def test_a_stream_that_is_no_video_is_refused(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.fromarray(np.full((ROWS, COLUMNS, 3), 99, dtype=np.uint8)).save(picture, "JPEG")
    save_video(tmp_path / "one.dcm", picture.getvalue() * COUNT, "1.2.840.10008.1.2.4.100")
    with pytest.raises(DecoderError, match="the stream is mjpeg"):
        read_volume(find_series(tmp_path).series[0])
