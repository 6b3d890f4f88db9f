"""Which library computes, in which numbers, and where. What was asked for is done or refused, never replaced."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, get_args

from seriatim.errors import ConfigError
from seriatim.models.inference import REVISION
from seriatim.trained.device import choose_device

Backend = Literal["torch", "onnx", "openvino"]
Precision = Literal["fp32", "bf16", "int8"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
ASKED = "asked for"
RUNTIMES: dict[Backend, tuple[str, ...]] = {
    "torch": ("torch",), "onnx": ("onnxruntime", "onnxruntime-gpu"), "openvino": ("openvino",)
}

NO_SUCH_PAIR: dict[tuple[Backend, Precision], str] = {
    ("torch", "int8"): "torch computes in fp32 or bf16 here. For int8 run `seriatim export RUN --to onnx --precision "
    "int8` (or --to openvino), and score with that --backend.",
    ("onnx", "bf16"): "ONNX Runtime has no bf16 for CPUs. Use openvino or torch with bf16, or onnx with int8.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """What computes: the library, the numbers of the encoder, and the device as torch names it.

    The sequence model always computes in fp32. ``why`` says how the device was chosen. ``export`` is the SHA-256 of the
    exported files that are used, and ``encoder`` of the part of them that embeds slices; "" where there are none.
    ``tolerance`` is how far scores were allowed to move when they were exported. ``graphs``: the encoder of torch is
    recorded as a CUDA graph.
    """

    backend: Backend = "torch"
    precision: Precision = "fp32"
    device: str = "cpu"
    why: str = ASKED
    export: str = ""
    encoder: str = ""
    tolerance: float = 0.0
    graphs: bool = False

    @property
    def needs_export(self) -> bool:
        """Whether it computes by files that ``seriatim export`` made."""
        return (self.backend, self.precision) != ("torch", "fp32")

    @property
    def home(self) -> str:
        """Where tensors of torch are: other libraries take them from the CPU."""
        return self.device if self.backend == "torch" else "cpu"

    @property
    def key(self) -> str:
        """All of it that scores depend on: where two are equal on one machine, so are the scores."""
        kind = self.device.partition(":")[0]  # cards of a machine are alike
        graphs = " graphs" if self.graphs else ""
        return f"{self.backend} {version_of(self.backend)} {self.precision} {kind} {self.export} {REVISION}{graphs}"

    @property
    def line(self) -> str:
        """For people, in one line."""
        graphs = " in CUDA graphs" if self.graphs else ""
        return f"{self.backend} in {self.precision} on {self.device}{graphs} ({self.why})"

    def describe(self) -> dict[str, Any]:
        """For ``run.json``."""
        told: dict[str, Any] = {"backend": self.backend, "precision": self.precision, "device": self.device,
                                "device_because": self.why, "version": version_of(self.backend)}
        told |= {"tolerance": self.tolerance} if self.needs_export else {}
        return told | ({"cuda_graphs": True} if self.graphs else {})


TORCH = Compute()


def version_of(backend: Backend) -> str:
    """The version of the library; "" where it is not installed."""
    for name in RUNTIMES[backend]:
        with suppress(PackageNotFoundError):
            return version(name)
    return ""


def choose_compute(
    *, backend: str = "torch", precision: str = "fp32", device: str = "auto", graphs: bool = False
) -> Compute:
    """What computes, by the names a user gives; what is not there is refused.

    Args:
        backend: ``torch``, ``onnx`` or ``openvino``.
        precision: of the encoder: ``fp32``, ``bf16`` or ``int8``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``. ``auto`` takes CUDA where the backend has it.
        graphs: record the encoder as a CUDA graph.

    Raises:
        ConfigError: a name is unknown, two choices do not go together, or the device or the library is not there.
    """
    chosen: Backend | None = next((name for name in BACKENDS if name == backend), None)
    numbers: Precision | None = next((name for name in PRECISIONS if name == precision), None)
    if chosen is None:
        raise ConfigError(f"There is no backend {backend!r}; there are {', '.join(BACKENDS)}.")
    if numbers is None:
        raise ConfigError(f"There is no precision {precision!r}; there are {', '.join(PRECISIONS)}.")
    if (reason := NO_SUCH_PAIR.get((chosen, numbers))) is not None:
        raise ConfigError(f"--backend {chosen} --precision {numbers}: {reason}")
    place, why = _choose_device(chosen, device)
    if graphs and (chosen != "torch" or place.partition(":")[0] != "cuda"):
        raise ConfigError(f"--cuda-graphs records what torch does on CUDA, and {chosen} on {place} was chosen ({why}). "
                          "Leave it out, or use --backend torch --device cuda.")
    return Compute(backend=chosen, precision=numbers, device=place, why=why, graphs=graphs)


def _choose_device(backend: Backend, name: str) -> tuple[str, str]:
    """The device, and why."""
    if backend == "torch":
        place = choose_device(name)
        return place, _explain(name, found="" if place == "cpu" else place)
    if backend == "onnx":
        from seriatim.trained.backends.onnx import find_onnx_device

        place = find_onnx_device(name)
        return place, _explain(name, found="" if place == "cpu" else place)
    if name not in ("auto", "cpu"):
        raise ConfigError(f"--backend openvino computes on the CPU here, not on {name!r}. Use --device cpu or auto.")
    return "cpu", "auto: OpenVINO computes on the CPU here" if name == "auto" else ASKED


def _explain(name: str, *, found: str) -> str:
    if name != "auto":
        return ASKED
    return f"auto: {found} is there" if found else "auto: there is no CUDA device that this backend can use"
