"""Device, precision and processes, through Lightning Fabric."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import AdamW, Optimizer

from seriatim.errors import ConfigError
from seriatim.experiment import LoopSettings, TrainingSettings
from seriatim.models.network import SequenceNetwork
from seriatim.trained import choose_device

PACKAGES = (
    "seriatim",
    "torch",
    "torchvision",
    "monai",
    "lightning-fabric",
    "numpy",
    "pydicom",
    "SimpleITK",
    "safetensors",
)


def start_fabric(training: TrainingSettings) -> Fabric:
    """Fabric for the settings, launched: one process per device, DDP where there is more than one.

    Raises:
        ConfigError: this machine has no such accelerator, or not as many devices.
    """
    choose_device(training.accelerator)
    # a head without labels gets no gradient, which plain DDP waits for forever
    strategy = "ddp_find_unused_parameters_true" if training.devices > 1 else "auto"
    try:
        fabric = Fabric(
            accelerator=training.accelerator, devices=training.devices, precision=training.precision, strategy=strategy
        )
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(
            f"training.accelerator={training.accelerator} with training.devices={training.devices} and "
            f"training.precision={training.precision} cannot be had here: {' '.join(str(error).split())}"
        ) from error
    fabric.launch()
    return fabric


def build_optimizer(network: SequenceNetwork, settings: LoopSettings) -> Optimizer:
    """AdamW; the encoder has its own rate, and biases and norms no weight decay (Loshchilov and Hutter, 2019)."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            rate = settings.encoder_rate if name.startswith("encoder.") else 1.0
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return AdamW(
        [
            {"params": members, "rate": rate, "weight_decay": decay}
            for (rate, decay), members in groups.items()
            if rate > 0
        ],
        lr=settings.learning_rate,
    )


def set_learning_rate(optimizer: Optimizer, settings: LoopSettings, *, step: int, steps: int) -> float:
    """Set every group's rate for ``step`` of ``steps``: linear warm-up, then cosine to zero or constant."""
    warmup = max(1, round(settings.warmup * steps))
    scale = min(1.0, (step + 1) / warmup)
    if settings.schedule == "cosine" and step >= warmup:
        scale = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * group["rate"] * scale
    return settings.learning_rate * scale


def seed_epoch(seed: int, epoch: int, *, rank: int) -> None:
    """Seed torch for an epoch from the stage's seed alone, so that a resumed run drops out the same units."""
    torch.manual_seed((seed * 1_000_003 + epoch) * 1_009 + rank)


def share(plan: list[list[Any]], *, rank: int, world: int) -> list[list[Any]]:
    """The batches of one process; the first are repeated so that every process makes the same number of steps."""
    padded = [plan[index % len(plan)] for index in range(-(-len(plan) // world) * world)]
    return padded[rank::world]


def gather_rows(fabric: Fabric, mine: Mapping[int, NDArray[np.float64]], count: int) -> NDArray[np.float64]:
    """(N,K) of all processes: each brings its own rows, the sum puts them together."""
    width = fabric.all_reduce(torch.tensor(max(map(len, mine.values()), default=0)), reduce_op="max")
    table = torch.zeros(count, int(width), dtype=torch.float64)
    for row, values in mine.items():
        table[row] = torch.from_numpy(values)
    return np.asarray(fabric.all_reduce(table, reduce_op="sum"))


def scaler_of(fabric: Fabric) -> Any:
    """What scales the loss in float16; None in any other precision."""
    return getattr(fabric.strategy.precision, "scaler", None)


def unfreeze(encoder: nn.Module) -> None:
    """Let an encoder learn, also one that its settings freeze whole; where they freeze only BatchNorm, that stays."""
    encoder.requires_grad_(True)
    if getattr(encoder, "frozen", "none") == "batchnorm":
        for module in encoder.modules():
            if isinstance(module, _BatchNorm):
                module.requires_grad_(False)


def describe_environment(fabric: Fabric) -> dict[str, Any]:
    """Versions and hardware of a run; no host or user name."""
    return {
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "device": str(fabric.device),
        "device_name": torch.cuda.get_device_name(fabric.device)
        if fabric.device.type == "cuda"
        else platform.processor(),
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
