"""Where a model computes."""

from __future__ import annotations

import os

from seriatim.errors import ConfigError
from seriatim.models.exact import EXACT

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
CUBLAS_WORKSPACE = ":4096:8"
"""Fixed workspaces, without which cuBLAS may add in another order each time (cuBLAS documentation, reproducibility)."""


def choose_device(name: str) -> str:
    """The torch device for a name; ``auto`` takes CUDA where there is one, an explicit choice is never changed.

    Raises:
        ConfigError: the device is unknown or not there.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind == "cuda" and number and (not number.isdigit() or int(number) >= torch.cuda.device_count()):
        raise ConfigError(f"The device {name!r} is not there; there are {torch.cuda.device_count()} CUDA devices.")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind, False):
        have = ", ".join(device for device, present in there.items() if present)
        raise ConfigError(f"The device {name!r} is not there; this machine has {have}. Choose one, or auto.")
    return name


def compute_exactly(device: str) -> None:
    """On CUDA, for the rest of this process: fp32 in full and the same kernels each time. On other devices it is so.

    For cuDNN it is ``EXACT``; cuBLAS, below cuDNN's LSTMs too, needs fixed workspaces, and reads which when it is first
    used.
    """
    import torch

    if device.partition(":")[0] == "cuda":
        for name, value in EXACT.items():
            setattr(torch.backends.cudnn, name, value)
        torch.backends.cuda.matmul.allow_tf32 = False
        os.environ.setdefault(CUBLAS, CUBLAS_WORKSPACE)
