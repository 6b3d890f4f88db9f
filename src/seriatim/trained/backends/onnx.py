"""ONNX Runtime."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from seriatim.errors import ConfigError, ModelError
from seriatim.trained.backends.session import Array

CUDA = "CUDAExecutionProvider"


def import_onnxruntime() -> ModuleType:
    """The library, or a ConfigError that says how to get it."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ConfigError("--backend onnx needs ONNX Runtime: pip install 'seriatim[onnx]'.") from error


def find_onnx_device(name: str) -> str:
    """The device for a name; ``auto`` takes CUDA where this ONNX Runtime was built with it.

    Raises:
        ConfigError: it is not there.
    """
    has_cuda = CUDA in import_onnxruntime().get_available_providers()
    if name == "auto":
        return "cuda" if has_cuda else "cpu"
    kind, _, number = name.partition(":")
    if name != "cpu" and (kind != "cuda" or not has_cuda or not (number.isdigit() or not number)):
        raise ConfigError(
            f"ONNX Runtime has no device {name!r} here; it has {'cpu, cuda' if has_cuda else 'cpu'}. Choose one, or "
            "auto; for CUDA install onnxruntime-gpu in place of onnxruntime."
        )
    return name


class OnnxSession:
    """A graph in ONNX Runtime, in which the thread that calls it computes.

    Raises:
        ModelError: the file cannot be loaded.
    """

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        runtime = import_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=_providers(device))
        except Exception as error:  # the library raises kinds of its own
            kind = type(error).__name__
            raise ModelError(f"ONNX Runtime cannot load {path}: {kind}. Export the run again.") from error
        if device != "cpu" and self._session.get_providers()[0] != CUDA:  # it falls back without an error
            raise ConfigError(f"ONNX Runtime could not start on {device!r}. Check its CUDA libraries, or use cpu.")
        self._input = self._session.get_inputs()[0].name

    def run(self, values: Array) -> list[NDArray[Any]]:
        """The outputs, in the order of the graph."""
        return list(self._session.run(None, {self._input: values}))


def _providers(device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    number = int(device.partition(":")[2] or 0)
    return [(CUDA, {"device_id": number, "use_tf32": 0, "cudnn_conv_algo_search": "DEFAULT"}), "CPUExecutionProvider"]
