"""OpenVINO."""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from numpy.typing import NDArray

from seriatim.errors import ConfigError, ModelError
from seriatim.trained.backends.session import Array

TELEMETRY = "openvino_telemetry"


@functools.cache
def import_openvino() -> ModuleType:
    """The library, without its telemetry: nothing that is done with a hospital's images is reported to anybody.

    Raises:
        ConfigError: it is not installed.
    """
    known = sys.modules.get(TELEMETRY)
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # importing it fails, and openvino does without
    try:
        library = importlib.import_module("openvino")
        importlib.import_module("openvino.tools.ovc")  # converts, and would report that it was imported
    except ImportError as error:
        raise ConfigError("--backend openvino needs OpenVINO: pip install 'seriatim[openvino]'.") from error
    finally:
        if known is not None:
            sys.modules[TELEMETRY] = known
    return library


def has_bf16() -> bool:
    """Whether OpenVINO computes in bf16 on this processor, and not in fp32 under that name."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoSession:
    """A graph in OpenVINO, as many calls side by side as torch may use threads, each in a thread of its own.

    ``shape`` fixes the input's, -1 where it varies; ``hint`` is the precision of what the file leaves open.

    Raises:
        ModelError: the file cannot be loaded.
    """

    def __init__(self, path: Path, *, shape: tuple[int, ...], hint: Literal["f32", "bf16"] = "f32") -> None:
        lanes = torch.get_num_threads()
        settings = {
            "INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": lanes, "INFERENCE_NUM_THREADS": lanes,
            "ENABLE_CPU_PINNING": False,
        }
        try:
            graph = _core().read_model(path)
            graph.reshape(list(shape))
            self._compiled = _core().compile_model(graph, "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {path}: {type(error).__name__}. Export the run again.") from error
        self._own = threading.local()

    def run(self, values: Array) -> list[NDArray[Any]]:
        """The outputs, in the order of the graph."""
        request = getattr(self._own, "request", None)
        if request is None:  # a request serves one call at a time
            request = self._own.request = self._compiled.create_infer_request()
        found = request.infer([values])
        return [found[place].copy() for place in range(len(self._compiled.outputs))]


@functools.cache
def _core() -> Any:
    return import_openvino().Core()


def convert_onnx(path: Path) -> None:
    """Write OpenVINO's own files (.xml and .bin, weights in full precision) beside an ONNX file.

    Raises:
        ConfigError: OpenVINO is not installed.
        ModelError: the graph holds something OpenVINO does not know.
    """
    try:
        graph = _core().read_model(path)
        import_openvino().save_model(graph, path.with_suffix(".xml"), compress_to_fp16=False)
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot convert this network: {type(error).__name__}. Export it to onnx.") from error
