"""Frames scored as they come: the same bits as afterwards, from every source, and a reason for every frame without."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anomaly_runs import CAUSAL, FRAMES, draw_clip, train_run, write_clip, write_slices
from seriatim.errors import ModelError
from seriatim.io.growing import GrowingFolder
from seriatim.scoring import score
from seriatim.scoring.live_frames import LiveFrame, follow_folder, read_raw, replay_file
from seriatim.scoring.watch import Watcher, watch
from seriatim.trained.anomaly import AnomalyModel, load_anomaly_model
from seriatim.trained.backends import Compute
from seriatim.trained.backends.network import ReducedEncoder
from tiny_runs import CommandLine, read_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(tmp_path_factory.mktemp("live"), CAUSAL)


@pytest.fixture(scope="module")
def ct_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(tmp_path_factory.mktemp("slices"), CAUSAL, slices=True, task={"norms_by": "none"})


@pytest.fixture(scope="module")
def model(run: Path) -> AnomalyModel:
    return load_anomaly_model(run)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip whose later frames carry a colour mark, so that read as a whole all of it is colour."""
    clip = np.repeat(draw_clip(90)[..., None], 3, axis=3)
    clip[5:, :6, :9, 0] = 255
    return write_clip(tmp_path_factory.mktemp("in") / "clip", clip)


def record(frames: Any, model: AnomalyModel) -> list[dict[str, Any]]:
    lines: list[str] = []
    watch(frames, model=model, write=lambda one: lines.append(json.dumps(one, allow_nan=False)))
    return [json.loads(line) for line in lines]


def of(kind: str, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in records if one["type"] == kind]


def require_offline_bits(records: list[dict[str, Any]], clip: Path, run: Path | AnomalyModel, output: Path) -> None:
    score(clip, model=run, output=output, device="cpu")
    offline, events = read_rows(output / "slices.csv"), read_rows(output / "events.csv")
    live = of("frame", records)
    assert len(live) == FRAMES
    for row, one in zip(offline, live, strict=True):
        assert (int(row["index"]), float(row["score_anomaly"]), float(row["p_value"]), float(row["z"])) == (
            one["index"], one["score"], one["p_value"], one["z"])
        assert one["event"] in (0, int(row["event"]))
    names = ("event", "first_index", "last_index", "peak_index", "peak_score")
    assert [[float(row[name]) for name in names] for row in events] == [
        [float(one[name]) for name in names] for one in of("event", records)]
    assert events


def test_a_folder_scores_live_as_afterwards(tmp_path: Path, run: Path, model: AnomalyModel, coloured: Path) -> None:
    records = record(follow_folder(coloured, until_idle_s=0.3, limits=model.limits), model)
    require_offline_bits(records, coloured, run, tmp_path)
    assert [one["file"] for one in of("frame", records)] == [f"{index}.png" for index in range(FRAMES)]
    summary = records[-1]
    assert (summary["type"], summary["frames"], summary["refused"]) == ("summary", FRAMES, 0)
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]


def test_an_encoder_of_another_kind_scores_live_as_afterwards(tmp_path: Path, run: Path) -> None:
    """What computes the encoder is put in by the model (``with_compute``); the live path takes it as it is."""
    clip = write_clip(tmp_path / "clip", draw_clip(89))
    reduced, plain = load_anomaly_model(run), load_anomaly_model(run)
    shift = torch.zeros(reduced.network.encoder.embedding_size)
    reduced.network.encoder = ReducedEncoder(reduced.network.encoder, shift=shift).eval()
    reduced = replace(reduced, compute=Compute(precision="bf16"))
    records, ordinary = (record(follow_folder(clip, until_idle_s=0.3, limits=one.limits), one)
                         for one in (reduced, plain))
    assert records[0]["compute"]["precision"] == "bf16"
    assert [one["score"] for one in of("frame", records)] != [one["score"] for one in of("frame", ordinary)]
    require_offline_bits(records, clip, reduced, tmp_path / "out")


def test_a_file_is_replayed_at_its_own_pace(tmp_path: Path, run: Path, model: AnomalyModel) -> None:
    path = tmp_path / "clip.gif"
    first, *others = [Image.fromarray(frame) for frame in draw_clip(91)]
    first.save(path, save_all=True, append_images=others, duration=40, optimize=False)
    started = time.perf_counter()
    records = record(replay_file(path, limits=model.limits), model)
    assert time.perf_counter() - started >= 0.04 * (FRAMES - 1)
    assert of("frame", records)[-1]["time_s"] == pytest.approx(0.04 * (FRAMES - 1))
    require_offline_bits(records, path, run, tmp_path / "out")


def test_raw_frames_come_through_standard_input(
    tmp_path: Path, run: Path, seriatim_command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = draw_clip(92)

    class Input:
        buffer = io.BytesIO(frames.tobytes() + b"broken off")

    monkeypatch.setattr(sys, "stdin", Input())
    done = seriatim_command("watch", "-", "--size", "51x37", "--model", run, "--output", tmp_path / "live.jsonl")
    assert done.code == 8, done.err
    records = [json.loads(line) for line in (tmp_path / "live.jsonl").read_text().splitlines()]
    require_offline_bits(records, write_clip(tmp_path / "clip", frames), run, tmp_path / "out")
    assert "TRUNCATED" in of("refused", records)[0]["reason"]
    wrong = seriatim_command("watch", "-", "--model", run)
    assert wrong.code == 2
    assert "640x480" in wrong.err


def test_frames_that_are_still_being_written_are_waited_for(tmp_path: Path, model: AnomalyModel, run: Path) -> None:
    done, growing = write_clip(tmp_path / "done", draw_clip(93)), tmp_path / "growing"
    growing.mkdir()

    def fill() -> None:
        for index in range(FRAMES):  # in two pieces, so that some are seen before they are whole
            content = (done / f"{index}.png").read_bytes()
            with (growing / f"{index}.png").open("wb") as file:
                file.write(content[:300])
                file.flush()
                time.sleep(0.04)
                file.write(content[300:])

    writer = threading.Thread(target=fill)
    writer.start()
    records = record(follow_folder(growing, until_idle_s=1.5, limits=model.limits), model)
    writer.join()
    require_offline_bits(records, done, run, tmp_path / "out")


def test_order_is_that_of_names_and_what_comes_late_is_told(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip", draw_clip(94)[:12])
    (folder / "3.png").rename(tmp_path / "later.png")
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "11.png.part").write_bytes(b"x")
    growing, names = GrowingFolder(folder=folder), []
    for _ in range(40):
        if (path := growing.next_file()) is not None:
            assert growing.take(path)
            names.append(int(path.stem))
    assert names == [0, 1, 2, *range(4, 12)]
    shutil.move(tmp_path / "later.png", folder / "3.png")
    growing.next_file()
    late = growing.next_file()
    assert late is not None
    assert not growing.take(late)


def test_dicom_slices_that_arrive_one_by_one_score_as_the_whole_series(tmp_path: Path, ct_run: Path) -> None:
    """The scanner's files as they come in: each moved into the folder when it is written, as a receiver does."""
    model, growing = load_anomaly_model(ct_run), tmp_path / "growing"
    whole = write_slices(tmp_path / "whole", draw_clip(99))
    growing.mkdir()

    def receive() -> None:
        for index in range(FRAMES):
            partial = growing / f"IM{index}.dcm.part"
            shutil.copy(whole / f"IM{index}.dcm", partial)
            time.sleep(0.02)
            partial.rename(growing / f"IM{index}.dcm")

    writer = threading.Thread(target=receive)
    writer.start()
    records = record(follow_folder(growing, until_idle_s=1.5, limits=model.limits), model)
    writer.join()
    assert not of("refused", records), of("refused", records)[0]
    require_offline_bits(records, whole, ct_run, tmp_path / "out")


def test_a_live_frame_that_is_not_a_number_is_a_line(tmp_path: Path, ct_run: Path) -> None:
    model = load_anomaly_model(ct_run)
    whole = write_slices(tmp_path / "whole", draw_clip(99))
    frames = list(follow_folder(whole, until_idle_s=0.1, limits=model.limits))
    clean = of("frame", record(frames[:5] + frames[6:], model))
    volume = frames[5].volume
    assert volume is not None
    broken = volume.array.astype(np.float32)
    broken[0, 0, 0] = np.nan
    frames[5] = replace(frames[5], volume=replace(volume, array=broken))
    records = record(frames, model)
    (refused,) = of("refused", records)
    assert refused["file"] == "IM5.dcm"
    assert refused["reason"].startswith("BAD_VALUE: 1 pixels of series")
    assert [one["score"] for one in of("frame", records)] == [one["score"] for one in clean]


@pytest.mark.slow
def test_a_pipe_is_answered_while_it_is_open(run: Path) -> None:
    """A process of its own: each frame has its line before the next is sent."""
    frames = draw_clip(101)
    command = [sys.executable, "-m", "seriatim", "watch", "-", "--size", "51x37", "--model", str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "start"
        indices = []
        for frame in frames:
            process.stdin.write(frame.tobytes())
            process.stdin.flush()
            told = json.loads(process.stdout.readline())
            while told["type"] == "event":
                told = json.loads(process.stdout.readline())
            indices.append(told["index"])
        process.stdin.close()
        rest = [json.loads(line) for line in process.stdout]
        assert indices == list(range(FRAMES))
        assert rest[-1]["frames"] == FRAMES
        assert process.wait(60) == 0


def test_each_bad_frame_is_a_line_and_the_others_go_on(
    tmp_path: Path, model: AnomalyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seriatim.io.growing.PATIENCE_S", 0.2)
    folder = write_clip(tmp_path / "clip", draw_clip(95)[:8])
    Image.fromarray(np.zeros((20, 30), dtype=np.uint8)).save(folder / "2.png")
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes()[:200])
    Image.fromarray(np.full((37, 51), 3000, dtype=np.uint16)).save(folder / "5.png")
    (folder / "6.txt").write_text("no image")
    records = record(follow_folder(folder, until_idle_s=0.3, limits=model.limits), model)
    reasons = {one["file"]: one["reason"] for one in of("refused", records)}
    assert set(reasons) == {"2.png", "4.png", "5.png", "6.txt"}
    assert reasons["2.png"].startswith("MIXED_SIZE: the frame is 30 x 20, those before are 51 x 37.")
    assert "percentiles of the whole series" in reasons["5.png"]
    assert [one["index"] for one in of("frame", records)] == list(range(5))
    assert records[-1]["refused"] == 4


def test_a_frozen_clip_is_told_live_and_afterwards(tmp_path: Path, run: Path, model: AnomalyModel) -> None:
    frames = draw_clip(96)
    frames[6:] = frames[6]
    folder = write_clip(tmp_path / "clip", frames)
    records = record(follow_folder(folder, until_idle_s=0.3, limits=model.limits), model)
    assert [one.get("still", 0) for one in of("frame", records)] == [0] * 7 + list(range(1, FRAMES - 6))
    score(folder, model=run, output=tmp_path / "out", device="cpu")
    assert "FROZEN" in read_rows(tmp_path / "out" / "scores.csv")[0]["findings"].split(";")


def test_a_stop_by_the_user_ends_with_a_summary(model: AnomalyModel) -> None:
    def frames() -> Any:
        yield from read_raw(io.BytesIO(draw_clip(97)[:3].tobytes()), columns=51, rows=37)
        raise KeyboardInterrupt

    records = record(frames(), model)
    assert len(of("frame", records)) == 3
    assert records[-1]["type"] == "summary"


def test_a_model_that_needs_later_frames_is_refused_with_the_reason(tmp_path: Path, run: Path) -> None:
    cloze = train_run(tmp_path / "cloze", [{"kind": "cloze", "epochs": 1, "hidden": 4}, {"kind": "gaussian"}])
    with pytest.raises(ModelError, match="cloze reads the frames after"):
        Watcher(load_anomaly_model(cloze))
    placed = train_run(tmp_path / "placed", [{"kind": "gaussian"}], task={"norms_by": "position"})
    with pytest.raises(ModelError, match="the same place along the whole sequence"):
        Watcher(load_anomaly_model(placed))
    stacked = train_run(tmp_path / "stacked", [{"kind": "gaussian"}], neighbours=1)
    with pytest.raises(ModelError, match="neighbours 1 reads later frames"):
        Watcher(load_anomaly_model(stacked))


def test_a_single_frame_has_a_score_live_and_nothing_is_a_summary_alone(model: AnomalyModel) -> None:
    one = record(read_raw(io.BytesIO(draw_clip(98)[:1].tobytes()), columns=51, rows=37), model)
    assert [record["type"] for record in one if record["type"] != "event"] == ["start", "frame", "summary"]
    nothing: list[LiveFrame] = []
    assert record(nothing, model)[-1]["latency_ms"] == {}
