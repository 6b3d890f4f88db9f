"""Where the time of scoring goes, stage by stage, and two ratios against the plain way, interleaved in one run.

usage: score_stages.py [--series 12] [--size 512] [--encoder mobilenet_v2] [--rounds 3] [--compile]
Makes synthetic head CTs in a temporary folder. Machines are noisy: quote the ratios, not the seconds.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pydicom
import torch

from seriatim.io import find_series, read_volume
from seriatim.models import Encoder, NetworkSettings, encode_in_chunks
from seriatim.models.chunks import OfChunk
from seriatim.models.inference import make_inference_form
from seriatim.synth import synthesize
from seriatim.tasks import DiagnosisSettings
from seriatim.tasks.predict import embed_series, score_embeddings
from seriatim.transforms import CTSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=12)
    parser.add_argument("--size", type=int, default=512, help="pixels of the synthetic slices")
    parser.add_argument("--encoder", default="mobilenet_v2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="compile the form that scores too, and compare")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        synthesize("head-ct", Path(folder) / "data", count=args.series, seed=0, size=args.size)
        measure(Path(folder) / "data" / "series", encoder=args.encoder, rounds=args.rounds, compiles=args.compile)


def measure(folder: Path, *, encoder: str, rounds: int, compiles: bool) -> None:
    """Print the median seconds of each stage over all series, and the ratios."""
    settings = CTSettings(size=224, windows_hu=((40, 80), (80, 200), (600, 2800)))
    task = DiagnosisSettings(labels=("bleed",)).build()
    parts = {"encoder": {"kind": "torchvision", "name": encoder}}
    network = NetworkSettings.model_validate(parts).build(settings.channels, 1).eval()
    seconds: dict[str, list[float]] = {}
    compiled = compile_form(network.encoder, settings) if compiles else None

    def timed(stage: str, work: Callable[..., Any], *inputs: Any) -> Any:
        started = perf_counter()
        results = [work(*given) for given in zip(*inputs, strict=True)]
        seconds.setdefault(stage, []).append(perf_counter() - started)
        return results

    for _ in range(rounds):
        found = timed("discover", find_series, [folder])[0].series
        volumes = timed("read", read_volume, found)
        timed("read: pydicom loop", read_plainly, [series.path for series in found])
        inputs = timed("prepare", lambda volume: settings.finish(settings.prepare(volume)), volumes)
        embedded = timed("encode", lambda slices: embed_series(network, slices), inputs)
        timed("encode: whole series, NCHW", lambda slices: encode_plainly(network, slices), inputs)
        if compiled is not None:
            timed("encode: compiled", partial(encode_compiled, compiled), inputs)
        timed("sequence", lambda one: score_embeddings(network, task, one), embedded)
    slices = sum(len(series.instances) for series in found)
    threads = torch.get_num_threads()
    print(f"{len(found)} series, {slices} slices, {threads} threads, encoder {encoder}, {rounds} rounds")
    for stage, values in seconds.items():
        print(f"{stage:28} {statistics.median(values):8.3f} s   {slices / statistics.median(values):8.0f} slices/s")
    pairs = [("read", "read: pydicom loop"), ("encode", "encode: whole series, NCHW")]
    for ours, plain in [*pairs, *([("encode: compiled", "encode")] if compiles else [])]:
        ratios = [theirs / own for own, theirs in zip(seconds[ours], seconds[plain], strict=True)]
        print(f"{ours}: {statistics.median(ratios):.2f} x as fast as {plain.partition(': ')[2] or plain}")


def compile_form(encoder: Encoder, settings: CTSettings) -> OfChunk:
    """The form that scores, compiled for chunks of its one shape."""
    compiled: OfChunk = torch.compile(make_inference_form(encoder))
    started = perf_counter()
    with torch.no_grad():
        encode_in_chunks(compiled, torch.rand(8, settings.channels, *settings.size))
    print(f"compiled in {perf_counter() - started:.1f} s by the clock")
    return compiled


def encode_compiled(compiled: OfChunk, slices: torch.Tensor) -> torch.Tensor:
    """As scoring does, in chunks; torch.compile would compile once more for inference mode."""
    with torch.no_grad():
        return encode_in_chunks(compiled, slices)


def read_plainly(folder: Path) -> np.ndarray:
    """The loop everybody writes: whole files, rescale in float32, sorted by z."""
    datasets = [pydicom.dcmread(path) for path in folder.iterdir()]
    datasets.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    return np.stack([one.pixel_array.astype(np.float32) * one.RescaleSlope + one.RescaleIntercept for one in datasets])


def encode_plainly(network: torch.nn.Module, slices: torch.Tensor) -> torch.Tensor:
    """The whole series as one batch, as most code does."""
    with torch.inference_mode():
        return network.encoder(slices)


if __name__ == "__main__":
    main()
