"""Which lower precision could pass the gate of `seriatim export` (0.005), and what it would be worth on this processor.

usage: precision.py RUN [--series 6] [--slices 128]
RUN was exported to onnx and to openvino in fp32, and the series of its manifest can be read. OpenVINO computes the
encoder in fp32, fp16 and bf16, and with some of its convolutions in int8 (the others in fp32). Told are the processor's
time per slice and the largest moves of validation scores and of made-up series, with the mean shift put back.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seriatim.deploy.parity import stretch
from seriatim.deploy.pictures import gather_calibration, read_validation, spread
from seriatim.deploy.quantise import Reader
from seriatim.models import encode_in_chunks
from seriatim.tasks.predict import SeriesScores, embed_series
from seriatim.trained import Model, load_model
from seriatim.trained.backends.exported import folder_of
from seriatim.trained.backends.openvino import OpenVinoSession

LENGTHS = (1, 2, 3, 17, 60, 500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--series", type=int, default=6, help="series of the validation split")
    parser.add_argument("--slices", type=int, default=128, help="training slices to calibrate with")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.run)
    slices = spread(gather_calibration(model)[0], args.slices)
    held_out = [one.slices for one, _ in zip(read_validation(model), range(args.series), strict=False)]
    exact = [embed_series(model.network, one) for one in (slices, *held_out)]
    with tempfile.TemporaryDirectory() as folder:
        for name, path, hint in list_ways(args.run, Path(folder), slices):
            session = OpenVinoSession(path, shape=(model.network.chunk_size, *slices.shape[1:]), hint=hint)
            measure(model, name, session, exact, [slices, *held_out])


def list_ways(run: Path, folder: Path, slices: Tensor) -> Iterator[tuple[str, Path, Any]]:
    """Name, file and precision of each way."""
    plain = folder_of(run, "openvino", "fp32") / "encoder.xml"
    yield from ((hint, plain, hint) for hint in ("f32", "f16", "bf16"))
    import onnx
    from onnxruntime import quantization

    logging.disable(logging.WARNING)
    prepared, path = folder / "prepared.onnx", folder / "some.onnx"
    quantization.shape_inference.quant_pre_process(
        str(folder_of(run, "onnx", "fp32") / "encoder.onnx"), str(prepared)
    )
    found = [one for one in onnx.load(prepared).graph.node if one.op_type == "Conv"]
    ways = {"the last convolution": found[-1:], "the last 10": found[-10:], "all": found,
            "1x1 of the last 10": _pointwise(found[-10:]), "1x1 but in the first 9": _pointwise(found[9:])}
    for name, nodes in ways.items():
        quantization.quantize_static(
            str(prepared), str(path), Reader(slices[::2]), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            nodes_to_quantize=[one.name for one in nodes],
        )
        yield f"int8: {name} ({len(nodes)})", path, "f32"


def _pointwise(nodes: Sequence[Any]) -> list[Any]:
    return [one for one in nodes if not any(given.name == "group" and given.i > 1 for given in one.attribute)]


def measure(
    model: Model, name: str, session: OpenVinoSession, exact: Sequence[Tensor], given: Sequence[Tensor]
) -> None:
    """Print what one way costs and moves; the first of ``given`` are the training slices."""

    def encode(chunk: Tensor) -> Tensor:
        return torch.from_numpy(session.run(chunk.contiguous().numpy())[0])

    began = process_time()
    first = encode_in_chunks(encode, given[0])
    cost = 1e3 * (process_time() - began) / len(first)
    shift = (exact[0].double().mean(dim=0) - first.double().mean(dim=0)).float()
    found = [first + shift, *(encode_in_chunks(encode, one) + shift for one in given[1:])]
    pairs = list(zip(exact[1:], found[1:], strict=True))
    pairs += [(stretch(exact[0][::4], length), stretch(found[0][::4], length)) for length in LENGTHS]
    moves: dict[str, float] = {}
    for pair in pairs:
        for part, moved in _compare(*(model.read([one]) for one in pair)).items():
            moves[part] = max(moves.get(part, 0.0), moved)
    spread_out = (exact[0] - exact[0].mean(dim=0)).norm()
    print(f"{name:32} {cost:6.2f} ms a slice   embeddings {float((found[0] - exact[0]).norm() / spread_out):.4f}   "
          + ", ".join(f"{part} {moved:.4f}" for part, moved in moves.items()), flush=True)


def _compare(one: SeriesScores, other: SeriesScores) -> dict[str, float]:
    names = ("probabilities", "attention", "slice_probabilities")
    return {name: float(np.abs(getattr(one, name).numpy() - getattr(other, name).numpy()).max()) for name in names}


if __name__ == "__main__":
    main()
