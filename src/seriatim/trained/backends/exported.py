"""What ``seriatim export`` leaves in a run folder: graphs, the shift of reduced precision, and the report that proves
both. Read back only where the report belongs to this very model and to these very files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from seriatim.errors import ModelError
from seriatim.trained.backends.choice import Backend, Compute, Precision

FOLDER, REPORT, SHIFT, FORMAT = "exported", "report.json", "shift.safetensors", 1
GRAPHS: dict[Backend, tuple[str, str] | None] = {
    "torch": None, "onnx": ("encoder.onnx", "sequence.onnx"), "openvino": ("encoder.xml", "sequence.xml")
}
"""The file that loads the encoder, and that of the sequence model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A folder of exported files that fit their report; ``digest`` is that of all of them, ``encoder_digest`` that of
    what embeds slices.
    """

    folder: Path
    report: Mapping[str, Any]
    shift: Tensor
    digest: str
    encoder_digest: str


def folder_of(run: Path, backend: Backend, precision: Precision) -> Path:
    """Where the files of a run for a backend and a precision lie."""
    return run / FOLDER / backend / precision


def write_shift(folder: Path, shift: Tensor) -> None:
    """Keep the shift (E,) of the embeddings."""
    save_file({"shift": shift.contiguous()}, folder / SHIFT)


def digest_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file in a folder but the report, by name."""
    found = sorted(path for path in folder.iterdir() if path.is_file() and path.name != REPORT)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def read_export(run: Path, digest: str, compute: Compute) -> Exported:
    """What was exported of the run, whose model has this digest, for a backend and a precision.

    Raises:
        ModelError: there is none, it is of another model (a stale export), or a file was changed.
    """
    folder, again = folder_of(run, compute.backend, compute.precision), _command(compute)
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        made_of, files = str(report["model_digest"]), {str(key): str(value) for key, value in report["files"].items()}
        legal = report["format"] == FORMAT
    except FileNotFoundError as error:
        raise ModelError(
            f"{run} is not exported for --backend {compute.backend} --precision {compute.precision}. {again}"
        ) from error
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder / REPORT} cannot be read: {error}. {again}") from error
    if not legal:
        raise ModelError(f"{folder / REPORT} is not of format {FORMAT}, the one this version reads. {again}")
    if made_of != digest:
        raise ModelError(f"{folder} was exported from another model than the one in {run} now. {again}")
    if digest_files(folder) != files:
        raise ModelError(f"The files in {folder} are not those that were checked when they were exported. {again}")
    embeds = [value for name, value in sorted(files.items()) if not name.startswith("sequence")]
    return Exported(
        folder=folder, report=report, shift=_read_shift(folder), digest=_join(sorted(files.values())),
        encoder_digest=_join(embeds),
    )


def _command(compute: Compute) -> str:
    return f"Run: seriatim export RUN --to {compute.backend} --precision {compute.precision}"


def _join(digests: list[str]) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _read_shift(folder: Path) -> Tensor:
    try:
        return load_file(folder / SHIFT)["shift"].to(torch.float32)
    except (SafetensorError, OSError, KeyError) as error:
        raise ModelError(f"{folder / SHIFT} cannot be read: {error}. Export the run again.") from error
