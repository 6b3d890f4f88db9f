"""How long `seriatim watch` takes per frame: 640 x 480 frames, MobileNetV2 at 224 x 224, a causal LSTM.

    python tools/bench/watch.py --output FOLDER [--frames 300] [--threads 2]

Frames come raw, one every 33 ms, as from a pipe, and as PNG files of a folder. The encoder's weights are random, which
costs the same as trained ones. Offline, encoding frame by frame is held against chunks of eight. Beside it stand the
encoder as `seriatim export` makes it for ONNX Runtime and OpenVINO, and as torch computes it in bf16.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from seriatim.deploy import export_run
from seriatim.errors import SeriatimError
from seriatim.experiment import AnomalyExperiment, read_experiment
from seriatim.io.tables.outputs import write_csv
from seriatim.models.chunks import encode_in_chunks
from seriatim.scoring.live_frames import LiveFrame, follow_folder, read_raw
from seriatim.scoring.watch import watch
from seriatim.trained import load_scorer
from seriatim.trained.anomaly import AnomalyModel, load_anomaly_model
from seriatim.trained.backends import choose_compute
from seriatim.trained.backends.network import ReducedEncoder
from seriatim.training import train

ROWS, COLUMNS, FRAME_S = 480, 640, 0.033


def draw_clip(seed: int, frames: int) -> np.ndarray:
    """(S,480,640) a bright disc that beats, with speckle."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    away = np.hypot(rows - 240, columns - 320)
    clip = [60 + 120 * (away < 120 + 40 * np.sin(0.3 * one + seed)) + rng.normal(0, 10, away.shape)
            for one in range(frames)]
    return np.clip(np.stack(clip), 0, 255).astype(np.uint8)


def write_clip(folder: Path, clip: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(clip):
        Image.fromarray(frame).save(folder / f"{number:05}.png")
    return folder


def make_model(folder: Path, methods: list[dict[str, object]]) -> AnomalyModel:
    """A model of six short clips; how well it scores does not matter here."""
    run = folder / ("run_" + "_".join(str(one["kind"]) for one in methods))
    if not (run / "model.json").exists():
        rows = []
        for number in range(4):
            write_clip(folder / "clips" / str(number), draw_clip(number, 12))
            rows.append({"path": f"clips/{number}", "patient": number, "split": "train" if number < 2 else "val"})
        write_csv(folder / "labels.csv", ["path", "patient", "split"], rows)
        content = {
            "name": "watch_bench", "data": {"manifest": str(folder / "labels.csv"), "near_duplicates": "ignore"},
            "preprocessing": {"kind": "intensity", "size": 224},
            "network": {"encoder": {"kind": "torchvision", "name": "mobilenet_v2", "freeze": "all"}},
            "task": {"kind": "anomaly", "methods": methods}, "training": {"accelerator": "cpu"},
        }
        (folder / "watch.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        experiment = read_experiment(folder / "watch.yaml")
        assert isinstance(experiment, AnomalyExperiment)
        train(experiment, run)
    return load_anomaly_model(run)


def paced(frames: Iterator[LiveFrame]) -> Iterator[LiveFrame]:
    """Frames no faster than a camera gives them."""
    due = time.perf_counter()
    for frame in frames:
        now = time.perf_counter()
        time.sleep(max(0.0, due - now))
        due = max(due, now) + FRAME_S
        yield LiveFrame(volume=frame.volume, time_s=frame.time_s, ready=time.perf_counter())


def measure(model: AnomalyModel, frames: Iterator[LiveFrame]) -> str:
    """Median and 99th percentile of the latency, as watch reports them."""
    records: list[dict[str, object]] = []
    watch(frames, model=model, write=records.append)
    told = records[-1]["latency_ms"]
    assert isinstance(told, dict)
    return f"p50 {told['p50']:.1f} ms, p99 {told['p99']:.1f} ms"


def time_encoder(model: AnomalyModel, chunk_size: int, frames: int = 64) -> float:
    """Milliseconds per frame, the best of three."""
    slices, best = torch.rand(frames, 1, 224, 224), float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        with torch.inference_mode():
            encode_in_chunks(model.network.encoder, slices, chunk_size=chunk_size)
        best = min(best, (time.perf_counter() - begin) / frames)
    return 1e3 * best


def measure_exported(model: AnomalyModel, clip: np.ndarray, *, backend: str, precision: str) -> str:
    """The latency with an exported encoder; why there is none, where scores would move too far."""
    try:
        export_run(model, choose_compute(backend=backend, precision=precision, device="cpu"))
        exported = load_scorer(model.path, backend=backend, precision=precision)
    except SeriatimError as error:
        return str(error)
    assert isinstance(exported, AnomalyModel)
    raw = read_raw(io.BytesIO(clip.tobytes()), columns=COLUMNS, rows=ROWS)
    alone = time_encoder(exported, 1)
    return f"encoder alone {alone:.1f} ms per frame; causal, raw frames every 33 ms: {measure(exported, paced(raw))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.output.mkdir(parents=True, exist_ok=True)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {args.threads} threads, load {os.getloadavg()[0]:.1f}, "
          f"torch {torch.__version__}")
    clip = draw_clip(99, args.frames)
    folder = write_clip(args.output / "growing", clip)
    causal: dict[str, object] = {"kind": "causal", "epochs": 1}
    for methods in ([causal], [causal, {"kind": "memory"}]):
        model = make_model(args.output, methods)
        name = " + ".join(str(one["kind"]) for one in methods)
        raw = read_raw(io.BytesIO(clip.tobytes()), columns=COLUMNS, rows=ROWS)
        print(f"{name}, raw frames every 33 ms: {measure(model, paced(raw))}")
        print(f"{name}, PNG files of a folder: "
              f"{measure(model, follow_folder(folder, until_idle_s=1, limits=model.limits))}")
    for chunk_size in (1, 8):
        print(f"encoder alone, chunks of {chunk_size}: {time_encoder(model, chunk_size):.1f} ms per frame")
    model = make_model(args.output, [causal])
    for backend, precision in (("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")):
        told = measure_exported(make_model(args.output, [causal]), clip, backend=backend, precision=precision)
        print(f"{backend} {precision}: {told}")
    plain = model.network.encoder
    model.network.encoder = ReducedEncoder(plain, shift=torch.zeros(plain.embedding_size)).eval()
    raw = read_raw(io.BytesIO(clip.tobytes()), columns=COLUMNS, rows=ROWS)
    print(f"torch bf16: encoder alone {time_encoder(model, 1):.1f} ms per frame; causal, raw frames every 33 ms: "
          f"{measure(model, paced(raw))}")


if __name__ == "__main__":
    main()
