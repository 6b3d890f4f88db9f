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
    """How far a stage has come. ``epoch`` and ``step`` count what is finished; ``start`` tells where it began from."""

    epoch: int = 0
    step: int = 0
    best: list[float] | None = None
    best_epoch: int = 0
    start: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a checkpoint holds: ``tensors`` by full name, and the rest as it was."""

    tensors: dict[str, Tensor]
    plain: dict[int, dict[str, Any]]
    groups: list[dict[str, Any]]
    progress: Progress
    scaler: dict[str, Any] | None

    def weights(self, part: str) -> dict[str, Tensor]:
        """The tensors of one part by their names in it."""
        start = f"{part}."
        return {name.removeprefix(start): one for name, one in self.tensors.items() if name.startswith(start)}

    def restore(self, optimizer: Optimizer, scaler: Any) -> None:
        """Fill the optimizer (and the scaler); ValueError where it has other parameters."""
        state = {index: dict(entry) for index, entry in self.plain.items()}
        for name, tensor in self.weights("optimizer").items():
            index, _, entry = name.partition(".")
            state.setdefault(int(index), {})[entry] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": self.groups})
        if scaler is not None and self.scaler:
            scaler.load_state_dict(self.scaler)


def save_checkpoint(
    path: Path, *, weights: Tensors, optimizer: Optimizer, progress: Progress, scaler: Any = None
) -> None:
    """Write the state of a stage, ``weights`` by full names; a crash leaves the previous checkpoint whole."""
    state = optimizer.state_dict()
    tensors = dict(weights)
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


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what ``save_checkpoint`` wrote.

    Raises:
        ModelError: there is no checkpoint, or it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return Checkpoint(
            tensors=tensors,
            plain={int(index): dict(entry) for index, entry in json.loads(metadata["plain"]).items()},
            groups=json.loads(metadata["param_groups"]),
            progress=Progress(**json.loads(metadata["progress"])),
            scaler=json.loads(metadata["scaler"]),
        )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"There is no usable checkpoint at {path}: {error}. Train anew, without --resume.") from error


def write_tensors(path: Path, tensors: Tensors, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically."""
    ready = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    partial = path.with_suffix(".partial")
    save_file(ready, partial, metadata=dict(metadata or {}))
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
