"""int8: weights and activations of the encoder on 8 bits, with ranges measured on training's pictures.

Static quantisation with a scale per output channel (Krishnamoorthi 2018, arXiv:1806.08342), written as pairs of
QuantizeLinear and DequantizeLinear, which ONNX Runtime and OpenVINO both turn into their own int8 kernels.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.errors import ModelError
from seriatim.trained.backends.onnx import import_onnxruntime

BATCH = 8


class Reader:
    """Gives the calibration slices batch by batch, as ONNX Runtime asks for them."""

    def __init__(self, slices: Tensor) -> None:
        self._parts = iter(torch.split(slices, BATCH))

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next batch, None after the last."""
        part = next(self._parts, None)
        return None if part is None else {"slices": part.contiguous().numpy()}


def quantise_encoder(path: Path, slices: Tensor) -> None:
    """Replace an encoder's ONNX file by one in int8, calibrated on slices (N,C,H,W).

    Raises:
        ConfigError: ONNX Runtime is not installed.
        ModelError: a part of it cannot be quantised.
    """
    import_onnxruntime()
    quantization = importlib.import_module("onnxruntime.quantization")
    prepared = path.with_name("prepared.onnx")
    try:
        with _quiet():
            quantization.shape_inference.quant_pre_process(str(path), str(prepared))
            quantization.quantize_static(
                str(prepared), str(path), Reader(slices), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
                activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            )
    except Exception as error:  # the library raises kinds of its own
        raise ModelError(f"The encoder cannot be quantised ({type(error).__name__}). Export it in fp32.") from error
    finally:
        prepared.unlink(missing_ok=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's advice, which it logs as warnings on the root logger."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
