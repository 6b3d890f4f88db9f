"""Synthetic ultrasound: clips that beat, abnormal frames that are abnormal, DICOM and video alike."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from seriatim.io.write import video_available
from seriatim.synth import synthesize, ultrasound
from seriatim.synth.rhythm import ARRHYTHMIAS, draw_rhythm
from seriatim.synth.truth import patient_of
from seriatim.synth.ultrasound import ARTEFACTS, draw_kind, is_video, make_ultrasound

COUNT, SIZE = 6, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "set"
    synthesize("ultrasound", folder, count=COUNT, seed=1, size=SIZE)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def index_of(kind: str, seed: int = 1) -> int:
    return next(index for index in range(60) if draw_kind(seed, patient_of(index)) == kind)


def test_dicom_clips_are_valid_multi_frame_ultrasound(folder: Path) -> None:
    rows = [row for row in rows_of(folder / "labels.csv") if not row["path"].endswith(".mp4")]
    assert rows
    for row in rows:
        dataset = pydicom.dcmread(folder / row["path"] / "clip.dcm")
        assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.3.1"
        assert dataset.SeriesInstanceUID == row["series_uid"]
        assert dataset.PhotometricInterpretation == "MONOCHROME2"
        assert dataset.FrameIncrementPointer == pydicom.tag.Tag("FrameTime")
        assert dataset.pixel_array.shape == (dataset.NumberOfFrames, SIZE, SIZE)
        assert 20 <= dataset.CineRate <= 40
        assert float(dataset.FrameTime) == pytest.approx(1000 / dataset.CineRate, rel=1e-4)


def test_tables_agree_with_the_clips(folder: Path) -> None:
    slices = rows_of(folder / "slices.csv")
    for index, row in enumerate(rows_of(folder / "labels.csv")):
        made = make_ultrasound(1, index, size=SIZE)
        own = [one for one in slices if one["path"] == row["path"]]
        assert [int(one["index"]) for one in own] == list(range(len(made.clip.frames)))
        assert [one["abnormal"] == "1" for one in own] == made.abnormal.tolist()
        assert float(own[1]["time_s"]) == pytest.approx(1 / made.clip.frames_per_second, abs=1e-5)
        assert (row["arrhythmia"] == "1") == made.abnormal.any() == (row["kind"] != "normal")


@pytest.mark.skipif(not video_available(), reason="needs PyAV, the extra video")
def test_a_video_holds_the_same_frames(folder: Path) -> None:
    av = pytest.importorskip("av")
    labels = rows_of(folder / "labels.csv")
    index = next(index for index, row in enumerate(labels) if row["path"].endswith(".mp4"))
    made = make_ultrasound(1, index, size=SIZE)
    assert labels[index]["series_uid"] == ""
    with av.open(str(folder / labels[index]["path"])) as container:
        assert container.streams.video[0].average_rate == made.clip.frames_per_second
        frames = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
    assert frames.shape == made.clip.frames.shape
    assert np.abs(frames.astype(int) - made.clip.frames).mean() < 6


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [4, 8, 40])
def test_the_container_says_nothing_about_the_label(seed: int, count: int) -> None:
    found = Counter((is_video(seed, patient), draw_kind(seed, patient) != "normal") for patient in range(count))
    assert set(found.values()) == {count // 4}
    assert len(found) == 4


def test_the_container_differs_by_seed() -> None:
    assert len({tuple(is_video(seed, patient) for patient in range(8)) for seed in range(8)}) > 2


def test_without_pyav_all_clips_become_dicom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ultrasound, "_can_write_video", ultrasound._can_write_video.__wrapped__)
    monkeypatch.setattr(ultrasound, "video_available", lambda: False)
    synthesize("ultrasound", tmp_path / "set", count=4, seed=1, size=SIZE)
    assert all((tmp_path / "set" / row["path"] / "clip.dcm").is_file() for row in rows_of(tmp_path / "set/labels.csv"))
    assert "seriatim[video]" in caplog.text


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("index", [0, 7])
def test_clips_keep_to_the_envelope(seed: int, index: int) -> None:
    made = make_ultrasound(seed, index, size=32)
    assert 32 <= len(made.clip.frames) <= 64
    assert 20 <= made.clip.frames_per_second <= 40
    if made.kind != "normal":
        assert 3 <= made.abnormal.sum() < len(made.abnormal) - 3
        shown = np.flatnonzero(made.abnormal)
        assert np.array_equal(shown, np.arange(shown[0], shown[-1] + 1))


def test_chamber_beats_at_the_rhythm() -> None:
    """The dark area of the chamber shrinks when the rhythm contracts."""
    made = make_ultrasound(1, index_of("normal"), size=SIZE)
    middle = made.clip.frames[:, SIZE // 4 : 3 * SIZE // 4, SIZE // 4 : 3 * SIZE // 4].astype(float)
    dark = (middle < 70).mean(axis=(1, 2))
    assert dark.max() > 1.4 * dark.min()
    centred = dark - dark.mean()
    spectrum = np.abs(np.fft.rfft(centred, 512))
    beats_per_minute = 60 * made.clip.frames_per_second * spectrum.argmax() / 512
    assert 40 < beats_per_minute < 130


@pytest.mark.parametrize("kind", ARTEFACTS)
def test_artefacts_are_where_the_truth_says(kind: str) -> None:
    made = make_ultrasound(1, index_of(kind), size=SIZE)
    frames = made.clip.frames.astype(float)
    same = np.array([False, *(np.abs(np.diff(frames, axis=0)).max(axis=(1, 2)) == 0)])
    jumps = np.abs(np.diff(frames.mean(axis=(1, 2))))
    if kind == "frozen":
        assert np.array_equal(same, made.abnormal)
    else:
        assert not same.any()
        edges = np.flatnonzero(np.diff(made.abnormal.astype(int)))
        assert set(np.argsort(jumps)[-2:]) == set(edges)


@pytest.mark.parametrize("kind", ARRHYTHMIAS)
@pytest.mark.parametrize("seed", range(6))
def test_arrhythmias_break_the_beat_only_in_their_stretch(kind: str, seed: int) -> None:
    beat_s = 0.8
    rhythm = draw_rhythm(np.random.default_rng(seed), beat_s, kind)
    start, stop = rhythm.abnormal_s
    gaps = np.diff(rhythm.onsets_s)
    odd = np.abs(gaps / beat_s - 1) > 0.2
    assert odd.any()
    for before, after in zip(rhythm.onsets_s[:-1][odd], rhythm.onsets_s[1:][odd], strict=True):
        assert min(after, stop) > start - 1e-9
        assert before < stop
    regular = draw_rhythm(np.random.default_rng(seed), beat_s, "normal")
    assert regular.abnormal_s is None
    assert np.abs(np.diff(regular.onsets_s) / beat_s - 1).max() < 0.12
