"""Where a model computes."""

from __future__ import annotations

import os

from seriatim.errors import ConfigError

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

    By default cuDNN rounds the inputs of fp32 convolutions and LSTMs to TF32, which has 10 bits, and may choose kernels
    that add up in any order; so may cuBLAS, below cuDNN's LSTMs too, without workspaces of a fixed size (cuBLAS
    documentation, reproducibility), which it reads when it is first used.
    """
    import torch

    if device.partition(":")[0] == "cuda":
        cudnn = torch.backends.cudnn
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, True, False
        torch.backends.cuda.matmul.allow_tf32 = False
        os.environ.setdefault(CUBLAS, CUBLAS_WORKSPACE)
