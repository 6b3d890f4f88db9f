"""What is wrong with a clip becomes one row that says so, and the other clips are scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_runs import draw_clip, train_run, write_cine, write_clip
from seriatim.scoring import score
from tiny_runs import read_rows

FROM = ("status", "reason", "findings", "slices", "events", "duration_s")
CLIP = draw_clip(100, rows=36, columns=50)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    methods = [{"kind": "cloze", "epochs": 1, "hidden": 4, "components": 3}, {"kind": "gaussian"}]
    return train_run(tmp_path_factory.mktemp("runs"), methods)


def score_row(path: Path, run: Path, output: Path) -> tuple[str, ...]:
    """What scores.csv says of the only series at a path; slices.csv and events.csv hold nothing of one not scored."""
    output = output / path.name  # an output belongs to one folder
    score(path, model=run, output=output, device="cpu")
    (row,) = read_rows(output / "scores.csv")
    frames = read_rows(output / "slices.csv")
    assert len(frames) == (int(row["slices"]) if row["status"] == "scored" else 0)
    assert len(read_rows(output / "events.csv")) == int(row["events"] or 0)
    assert (row["probability_anomaly"] != "") == (row["status"] == "scored")
    return tuple(row[name].replace(row["series_uid"], "UID") for name in FROM)


def write_floats(folder: Path, frames: np.ndarray) -> Path:
    folder.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame.astype(np.float32)).save(folder / f"{index}.tif")
    return folder


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_frames_that_are_not_numbers(tmp_path: Path, run: Path, value: float) -> None:
    frames = CLIP / 255
    frames[3, 4:6, 5] = frames[7, 0, 0] = value
    assert score_row(write_floats(tmp_path / "clip", frames), run, tmp_path / "out") == (
        "failed", "BAD_VALUE: 3 pixels of series UID are not finite numbers, first in frame 3. Write its files again.",
        "", "18", "", "")


def test_a_clip_that_is_shorter_than_the_context(tmp_path: Path, run: Path) -> None:
    write_cine(tmp_path / "in" / "a.dcm", CLIP[:1], FrameTime=50)
    assert score_row(tmp_path / "in", run, tmp_path / "out") == (
        "refused", "TOO_SHORT: 1 slice, and this model judges each by those around it; it needs at least 2.",
        "BURNED_IN_TEXT;NOT_A_SERIES", "1", "", "")
    status, _, findings, *_ = score_row(write_clip(tmp_path / "two", CLIP[:2]), run, tmp_path / "out")
    assert (status, findings) == ("scored", "OUTSIDE_TRAINED_SLICES")


def test_a_single_picture(tmp_path: Path, run: Path) -> None:
    assert score_row(write_clip(tmp_path / "one", CLIP[:1]), run, tmp_path / "out") == (
        "refused", "NOT_A_SERIES: A single picture is no sequence. Give the folder of them all.", "NOT_A_SERIES", "1",
        "", "")


def test_a_frame_size_that_changes(tmp_path: Path, run: Path) -> None:
    mixed = write_clip(tmp_path / "mixed", CLIP)
    Image.fromarray(CLIP[0][:20, :30]).save(mixed / "7.png")
    reason = "MIXED_SIZE: The pictures differ in size, from 30 x 20 to 50 x 36. Put each size in a folder of its own."
    assert score_row(mixed, run, tmp_path / "out") == ("refused", reason, "MIXED_SIZE", "18", "", "")


def test_a_frozen_picture(tmp_path: Path, run: Path) -> None:
    frozen = CLIP.copy()
    frozen[6:] = frozen[6] + np.arange(12, dtype=np.uint8)[:, None, None] % 2  # as compression leaves it
    status, reason, findings, *_ = score_row(write_clip(tmp_path / "frozen", frozen), run, tmp_path / "out")
    assert (status, reason, findings) == ("scored", "", "FROZEN")
    status, _, findings, *_ = score_row(write_clip(tmp_path / "moving", CLIP), run, tmp_path / "out")
    assert (status, findings) == ("scored", "")


def test_frames_without_times(tmp_path: Path, run: Path) -> None:
    write_cine(tmp_path / "untimed" / "a.dcm", CLIP)
    write_cine(tmp_path / "timed" / "a.dcm", CLIP, FrameTime=50)
    *untimed, duration = score_row(tmp_path / "untimed", run, tmp_path / "out")
    assert (untimed[:4], duration) == (["scored", "", "BURNED_IN_TEXT;MISSING_GEOMETRY", "18"], "")
    *timed, duration = score_row(tmp_path / "timed", run, tmp_path / "out")
    assert (timed[:4], duration) == (["scored", "", "BURNED_IN_TEXT", "18"], "0.9")
    assert untimed[4] == timed[4]  # the times change no score


def test_one_bad_clip_stops_no_other(tmp_path: Path, run: Path) -> None:
    frames = CLIP / 255
    frames[0, 0, 0] = np.nan
    (tmp_path / "in").mkdir()
    write_floats(tmp_path / "in" / "a_broken", frames)
    write_clip(tmp_path / "in" / "b_short", CLIP[:1])
    write_clip(tmp_path / "in" / "c_good", CLIP)
    counts = score(tmp_path / "in", model=run, output=tmp_path / "out", device="cpu")["counts"]
    assert counts == {"discovered": 3, "scored": 1, "refused": 1, "failed": 1, "not_asked_for": 0, "files_skipped": 0}
    assert [row["status"] for row in read_rows(tmp_path / "out" / "scores.csv")] == ["failed", "refused", "scored"]
