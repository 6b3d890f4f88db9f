"""How fast each backend and precision embeds slices and scores series, and how far its scores lie from torch's.

usage: backends.py RUN --output FOLDER [--rounds 7] [--series 4] [--compile]
RUN is a trained run whose manifest's series can be read. It is copied to FOLDER and exported there in every way; the
gate's tolerance is opened wide, so that what would be refused is measured too. Figures are made in rounds, one way
after another in each: quote the ratios, not the rates.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from seriatim.deploy import export_run
from seriatim.deploy.pictures import gather_calibration, read_validation
from seriatim.models.encoder import Encoder
from seriatim.scoring.engine import score_one
from seriatim.series import Series
from seriatim.trained import Ensemble, Model, load_model, load_scorer
from seriatim.trained.backends import choose_compute
from seriatim.trained.backends.exported import folder_of

WAYS = (("torch", "bf16"), ("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "bf16"),
        ("openvino", "int8"))
EAGER = "eager fp32, one NCHW batch"
OPEN = 10.0
"""A tolerance that refuses nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--series", type=int, default=4, help="series of the validation split to score in each round")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too")
    args = parser.parse_args()
    run = args.output / "run"
    if not run.exists():
        shutil.copytree(args.run, run)
    scorers = {"torch fp32": load_scorer(run)}
    for backend, precision in WAYS:
        scorers[f"{backend} {precision}"] = load(run, backend, precision)
    plain = load_model(run)
    threads, load_now = torch.get_num_threads(), os.getloadavg()[0]
    print(f"{plain.experiment.network.encoder.name}, {threads} threads, load {load_now:.1f}, {args.rounds} rounds")
    slices = gather_calibration(plain)[0][:24]
    time_encoders(plain, scorers, slices, rounds=args.rounds, compiled=args.compile)
    found = [one.series for one, _ in zip(read_validation(plain), range(args.series), strict=False)]
    time_scores(scorers, found, rounds=args.rounds)


def load(run: Path, backend: str, precision: str) -> Ensemble:
    """The run computed in one way, exported for it where it is not yet, and what the gate measured."""
    compute = choose_compute(backend=backend, precision=precision, device="cpu")
    if not (folder_of(run, compute.backend, compute.precision) / "report.json").is_file():
        began = perf_counter()
        report = export_run(load_model(run), compute, tolerance=OPEN)
        lengths, validation = report["parity"]["largest_difference"], report["validation"]
        told = ", ".join(f"{name} {max(value, validation['largest_difference'][name]):.1e}"
                         for name, value in lengths.items())
        print(f"{backend} {precision}: {told}; AUC {validation['change'].get('auc', float('nan')):+.4f} over "
              f"{validation['series']} series; exported in {perf_counter() - began:.0f} s")
    scorer = load_scorer(run, backend=backend, precision=precision)
    assert isinstance(scorer, Ensemble)
    return scorer


def time_encoders(
    plain: Model, scorers: dict[str, Ensemble], slices: Tensor, *, rounds: int, compiled: bool
) -> None:
    """Slices per second of each way to embed the same slices, and the ratio to eager torch on one NCHW batch."""
    ways: dict[str, Callable[[], object]] = {EAGER: partial(eager, plain.network.encoder, slices)}
    for name, scorer in scorers.items():
        ways[name] = partial(scorer.members[0].embed, slices)
    ways["torch fp32, norms not joined"] = partial(in_chunks, plain.network.encoder, slices)
    if compiled:
        ways["torch.compile fp32, in chunks"] = partial(in_chunks, torch.compile(plain.network.encoder), slices)
    print_rates(measure(ways, rounds), count=len(slices), unit="slices/s", base=EAGER)


def time_scores(scorers: dict[str, Ensemble], series: list[Series], *, rounds: int) -> None:
    """Series per second from files to scores, and the ratio to torch in fp32."""
    ways = {name: partial(score_all, scorer, series) for name, scorer in scorers.items()}
    print_rates(measure(ways, rounds), count=len(series), unit="series/s", base="torch fp32")


def eager(encoder: Encoder, slices: Tensor) -> Tensor:
    with torch.inference_mode():
        return encoder(slices)


def in_chunks(encoder: Callable[[Tensor], Tensor], slices: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([encoder(one.contiguous(memory_format=torch.channels_last)) for one in slices.split(8)])


def score_all(scorer: Ensemble, series: list[Series]) -> None:
    for one in series:
        assert score_one(one, scorer).status != "failed"


def measure(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, work in ways.items():
            began = perf_counter()
            work()
            if turn:
                seconds[name].append(perf_counter() - began)
    return seconds


def print_rates(seconds: dict[str, list[float]], *, count: int, unit: str, base: str) -> None:
    for name, own in seconds.items():
        ratios = sorted(theirs / mine for theirs, mine in zip(seconds[base], own, strict=True))
        print(f"{name:32} {count / median(own):8.2f} {unit}   {median(ratios):6.2f} x {base} "
              f"({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
