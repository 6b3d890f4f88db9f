"""How long maps of pixels take for one slice, by encoder: what a series has to wait for its overlay.

usage: map_times.py [--device cpu] [--slices 3]

Encoders have random weights: the time does not depend on them. Prints seconds a slice on one thread.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from seriatim.explanation.attribution.reading import Reading
from seriatim.explanation.faithfulness.maps import make_maps
from seriatim.explanation.methods import PIXEL_METHODS
from seriatim.models import NetworkSettings
from seriatim.tasks import DiagnosisSettings
from seriatim.tasks.predict import embed_series

SERIES = 30
ENCODERS: tuple[tuple[dict[str, Any], int], ...] = (
    ({"kind": "small_cnn"}, 96),
    ({"kind": "torchvision", "name": "resnet18", "weights": None}, 224),
    ({"kind": "torchvision", "name": "convnext_tiny", "weights": None}, 224),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--slices", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    task = DiagnosisSettings(labels=("finding",)).build()
    for encoder, size in ENCODERS:
        network = NetworkSettings.model_validate({"encoder": encoder}).build(3, 1).eval().to(args.device)
        slices = torch.rand(SERIES, 3, size, size, device=args.device)
        reading = Reading(network=network, task=task, embeddings=embed_series(network, slices).clone())
        shown = list(range(args.slices))
        make_maps(reading, slices, names=["grad_cam"], class_index=0, shown=shown)  # libraries start up
        found = make_maps(reading, slices, names=PIXEL_METHODS, class_index=0, shown=shown).seconds
        told = ", ".join(f"{name} {seconds:.2f}" for name, seconds in found.items())
        print(f"{encoder.get('name', encoder['kind'])} {size} x {size}: {told} s a slice", flush=True)


if __name__ == "__main__":
    main()
