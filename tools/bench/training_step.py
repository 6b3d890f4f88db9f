"""How time and memory of one training step grow with the number of slices, in every way to train.

usage: training_step.py [--encoder resnet18] [--size 112] [--slices 32 64 128 256 512] [--rounds 2]

One series a step: encoder, BiLSTM, gated attention, losses, AdamW; one thread. All ways in one run, interleaved; after
one step to warm up, the least CPU time of the rounds is taken, which other jobs on the machine change less than the
clock does. Memory is the peak of the process during a step over what it held before (Linux).
"""

import argparse
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from time import process_time

import torch
from torch.optim import AdamW

from seriatim.models import NetworkSettings, SequenceNetwork
from seriatim.models.small_cnn import SmallCNNSettings
from seriatim.models.torchvision_encoder import TorchvisionSettings
from seriatim.series.batch import SliceBatch
from seriatim.tasks import DiagnosisSettings
from seriatim.training.compiled import CompiledEncoder

MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--slices", type=int, nargs="+", default=[32, 64, 128, 256, 512])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too: minutes more")
    args = parser.parse_args()
    torch.set_num_threads(1)
    ways = ["plain", "channels last", "bf16", "checkpoint 16", "gradient of 16", "frozen", "embeddings"]
    ways += ["compiled"] if args.compile else []
    print(f"{args.encoder} at {args.size} x {args.size}: CPU s a step (x plain) and MiB over base")
    print(f"{'slices':>8}" + "".join(f"{way:>24}" for way in ways))
    for slices in args.slices:
        steps = {way: make_step(args, way, slices) for way in ways}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(args.rounds):
            for way, step in steps.items():
                started = process_time()
                step()
                seconds[way].append(process_time() - started)
        best = {way: min(times) for way, times in seconds.items()}
        cells = [f"{best[way]:8.2f} ({best[way] / best['plain']:5.3f}) {measure_peak(steps[way]):6.0f}" for way in ways]
        print(f"{slices:8}" + "".join(f"{cell:>24}" for cell in cells), flush=True)


def make_step(args: argparse.Namespace, way: str, slices: int) -> Callable[[], None]:
    """A whole step of training in one of the ways, done once."""
    torch.manual_seed(0)
    network = build(args.encoder, way)
    network.encoder.requires_grad_(way not in ("frozen", "embeddings"))
    task = DiagnosisSettings(labels=("bleed",), slice_loss_weight=1.0).build()
    mask = torch.ones(1, slices, dtype=torch.bool)
    batch = SliceBatch(
        mask=mask, positions=torch.arange(slices)[None].double(), labels=torch.ones(1, 1),
        slice_labels=torch.ones(1, slices, 1), keys=("one",), slices=torch.rand(1, slices, 3, args.size, args.size),
    )  # fmt: skip
    embeddings = torch.rand(1, slices, network.encoder.embedding_size)
    optimizer = AdamW([one for one in network.parameters() if one.requires_grad], lr=1e-4)

    def step() -> None:
        network.train()
        if way == "frozen":
            network.encoder.eval()
        with torch.autocast("cpu", torch.bfloat16, enabled=way == "bf16"):
            assert batch.slices is not None
            output = network.read(embeddings, mask) if way == "embeddings" else network(batch.slices, mask)
        torch.autograd.backward([task.loss(output, batch)["loss"]])
        optimizer.step()
        optimizer.zero_grad()

    step()
    return step


def build(encoder: str, way: str) -> SequenceNetwork:
    """The network, with the setting of the way."""
    settings = SmallCNNSettings() if encoder == "small_cnn" else TorchvisionSettings(name=encoder)
    network = NetworkSettings(
        encoder=settings,
        checkpoint_chunk=16 if way == "checkpoint 16" else None,
        gradient_slices=16 if way == "gradient of 16" else None,
        channels_last=way == "channels last",
    ).build(3, 1)
    if way == "compiled":
        network.training_encoder = CompiledEncoder(network.encoder)
    return network


def measure_peak(step: Callable[[], None]) -> float:
    """MiB that the process held at most during a step, over what it held before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back, and is not there already
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = read_status("VmRSS")
    step()
    return (read_status("VmHWM") - before) / MIB


def read_status(name: str) -> float:
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(name))
    return float(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
