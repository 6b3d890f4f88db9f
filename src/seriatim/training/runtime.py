"""Device, precision and processes, through Lightning Fabric."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from seriatim.errors import ConfigError
from seriatim.experiment import TrainingSettings
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


PATIENCE = timedelta(hours=12)
"""How long processes wait for one another, such as for the first, which alone scores validation and describes the model
at the end: half an hour, which is torch's own, would end a run of many series there, and every resume again."""


def start_fabric(training: TrainingSettings) -> Fabric:
    """Fabric for the settings, launched: one process per device, DDP where there is more than one.

    It takes its place where torchrun or SLURM started the processes, and else starts those of this machine.

    Raises:
        ConfigError: this machine has no such accelerator, or not as many devices, or the launcher started another
            number of processes.
    """
    choose_device(training.accelerator)
    # a head without labels gets no gradient, which plain DDP waits for forever
    several = training.devices * training.nodes > 1
    try:
        fabric = Fabric(
            accelerator=training.accelerator, devices=training.devices, num_nodes=training.nodes,
            precision=training.precision,
            strategy=DDPStrategy(find_unused_parameters=True, timeout=PATIENCE) if several else "auto",
        )
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(
            f"training.accelerator={training.accelerator} with training.devices={training.devices}, "
            f"training.nodes={training.nodes} and training.precision={training.precision} cannot be had here: "
            f"{' '.join(str(error).split())}"
        ) from error
    fabric.launch()
    return fabric


def seed_epoch(seed: int, epoch: int, *, rank: int) -> None:
    """Seed torch for an epoch from the stage's seed alone, so that a resumed run drops out the same units."""
    torch.manual_seed((seed * 1_000_003 + epoch) * 1_009 + rank)


def share_buffers(fabric: Fabric, module: nn.Module) -> None:
    """Give all processes the buffers of the first: BatchNorm's statistics, which are not averaged as gradients are."""
    if fabric.world_size > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)


def add_up(fabric: Fabric, values: Mapping[str, float]) -> dict[str, float]:
    """The sum of each number over all processes."""
    if fabric.world_size == 1:
        return dict(values)
    given = torch.tensor(list(values.values()), dtype=torch.float64, device=fabric.device)
    return dict(zip(values, fabric.all_reduce(given, reduce_op="sum").tolist(), strict=True))


def share(plan: list[list[Any]], *, rank: int, world: int) -> list[list[Any]]:
    """The batches of one process; where there are too few, some are repeated, so that all make equally many steps.

    Of process ``rank`` the first ``len(plan[rank::world])`` are its own; what comes after must weigh nothing.
    """
    padded = [plan[index % len(plan)] for index in range(-(-len(plan) // world) * world)]
    return padded[rank::world]


def gather_rows(fabric: Fabric, mine: Mapping[int, NDArray[np.float64]], count: int) -> NDArray[np.float64]:
    """(N,K) of all processes: each brings its own rows, the sum puts them together."""
    width = max(map(len, mine.values()), default=0)
    if fabric.world_size > 1:
        width = int(fabric.all_reduce(torch.tensor(width), reduce_op="max"))
    table = torch.zeros(count, width, dtype=torch.float64)
    for row, values in mine.items():
        table[row] = torch.from_numpy(values)
    if fabric.world_size > 1:  # which brings it to the device, as MPS could not hold
        table = fabric.all_reduce(table, reduce_op="sum").cpu()
    return table.numpy()


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
