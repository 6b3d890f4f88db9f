"""Deterministic mode: a run gives the same bits on an accelerator too. It lasts for a run, not for the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from seriatim.trained.device import CUBLAS, CUBLAS_WORKSPACE


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """While it lasts, torch uses deterministic algorithms alone and raises RuntimeError where it has none; then all is
    as it was. Does nothing where not ``wanted``.

    cuBLAS reads its setting when it is first used: where this process used it before, set it from outside.
    """
    if not wanted:
        yield
        return
    cudnn = torch.backends.cudnn
    before = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
              cudnn.deterministic, cudnn.benchmark, os.environ.get(CUBLAS))
    os.environ.setdefault(CUBLAS, CUBLAS_WORKSPACE)
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        enabled, warn_only, cudnn.deterministic, cudnn.benchmark, workspace = before
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        if workspace is None:
            os.environ.pop(CUBLAS, None)
