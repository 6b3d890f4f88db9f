"""Device, precision and processes, through Lightning Fabric."""

from __future__ import annotations

import math
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.optim import AdamW, Optimizer

from seriatim.errors import ConfigError
from seriatim.experiment import Experiment, TrainingSettings
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


def build_optimizer(network: SequenceNetwork, training: TrainingSettings) -> Optimizer:
    """AdamW; the encoder has its own rate, and biases and norms no weight decay (Loshchilov and Hutter, 2019)."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            rate = training.encoder_rate if name.startswith("encoder.") else 1.0
            decay = training.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return AdamW(
        [
            {"params": members, "rate": rate, "weight_decay": decay}
            for (rate, decay), members in groups.items()
            if rate > 0
        ],
        lr=training.learning_rate,
    )


def set_learning_rate(optimizer: Optimizer, training: TrainingSettings, *, step: int, steps: int) -> float:
    """Set every group's rate for ``step`` of ``steps``: linear warm-up, then cosine to zero or constant."""
    warmup = max(1, round(training.warmup * steps))
    scale = min(1.0, (step + 1) / warmup)
    if training.schedule == "cosine" and step >= warmup:
        scale = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = training.learning_rate * group["rate"] * scale
    return training.learning_rate * scale


def seed_epoch(experiment: Experiment, epoch: int, *, rank: int) -> None:
    """Seed torch for an epoch from the run's seed alone, so that a resumed run drops out the same units."""
    torch.manual_seed((experiment.seed * 1_000_003 + epoch) * 1_009 + rank)


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
