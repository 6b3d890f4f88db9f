"""Full precision on CUDA wherever a number is made that somebody reads: training may round where it learns."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

EXACT = {"allow_tf32": False, "deterministic": True, "benchmark": False}
"""What cuDNN is told. By default it rounds the inputs of fp32 convolutions and LSTMs to TF32, which has 10 bits, and
may choose kernels that add up in any order."""


@contextmanager
def in_full(device: torch.device) -> Iterator[None]:
    """On CUDA cuDNN computes by ``EXACT`` until the context ends, so that validation has the numbers of scoring.

    The setting is the process's, so threads that score side by side need it set for good (``compute_exactly``).
    """
    cudnn = torch.backends.cudnn
    before = {name: getattr(cudnn, name) for name in EXACT}
    wanted = EXACT if device.type == "cuda" else {}
    try:
        for name, value in wanted.items():
            setattr(cudnn, name, value)
        yield
    finally:
        for name in wanted:
            setattr(cudnn, name, before[name])
