"""Exact resume: weights, optimizer and progress in one safetensors file, put in place atomically. Never pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from seriatim.errors import ModelError

Tensors = Mapping[str, Tensor]


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a run has come. ``epoch`` and ``step`` count what is finished."""

    epoch: int = 0
    step: int = 0
    best: list[float] | None = None
    best_epoch: int = 0


def save_checkpoint(
    path: Path, *, weights: Tensors, optimizer: Optimizer, progress: Progress, scaler: Any = None
) -> None:
    """Write the state of a run; a crash leaves the previous checkpoint whole."""
    state = optimizer.state_dict()
    tensors = {f"weights.{name}": tensor for name, tensor in weights.items()}
    plain: dict[str, dict[str, Any]] = {}
    for index, entry in state["state"].items():
        for name, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                plain.setdefault(str(index), {})[name] = value
    metadata = {
        "progress": json.dumps(asdict(progress)),
        "param_groups": json.dumps(state["param_groups"]),
        "plain": json.dumps(plain),
        "scaler": json.dumps(scaler.state_dict() if scaler is not None else None),
    }
    write_tensors(path, tensors, metadata=metadata)


def load_checkpoint(path: Path, *, optimizer: Optimizer, scaler: Any = None) -> tuple[dict[str, Tensor], Progress]:
    """Read a checkpoint: fills ``optimizer`` (and ``scaler``) and returns the weights and the progress.

    Raises:
        ModelError: there is no checkpoint, it is damaged, or it was made with other parameters.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        state: dict[int, dict[str, Any]] = {
            int(index): dict(entry) for index, entry in json.loads(metadata["plain"]).items()
        }
        groups, progress = json.loads(metadata["param_groups"]), Progress(**json.loads(metadata["progress"]))
        scaler_state = json.loads(metadata["scaler"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"There is no usable checkpoint at {path}: {error}. Train anew, without --resume.") from error
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, field = rest.partition(".")
            state.setdefault(int(index), {})[field] = tensor
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except ValueError as error:
        raise ModelError(f"{path} does not fit the run's config. Train anew, without --resume.") from error
    if scaler is not None and scaler_state:
        scaler.load_state_dict(scaler_state)
    return {
        name.removeprefix("weights."): value for name, value in tensors.items() if name.startswith("weights.")
    }, progress


def write_tensors(path: Path, tensors: Tensors, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically."""
    ready = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    partial = path.with_suffix(".partial")
    save_file(ready, partial, metadata=dict(metadata or {}))
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
