"""The two graphs of a network as ONNX: slices to embeddings, and the embeddings of one series to its answer."""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from seriatim.errors import ConfigError, ModelError
from seriatim.models.detectors.network import AnomalyNetwork
from seriatim.models.network import SequenceNetwork
from seriatim.models.temporal import Recurrent
from seriatim.trained.backends.network import SEQUENCE_OUTPUTS, Gives

OPSET = 20
GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""The order of ONNX's gates among torch's: input, output, forget, cell of i f g o; update, reset, hidden of r z n."""
EXAMPLE_SLICES = 7
Network = SequenceNetwork | AnomalyNetwork


def import_onnx() -> ModuleType:
    """The library that writes ONNX, or a ConfigError that says how to get it."""
    try:
        importlib.import_module("onnxscript")
        return importlib.import_module("onnx")
    except ImportError as error:
        raise ConfigError("Export needs ONNX: pip install 'seriatim[onnx]'.") from error


class EncoderGraph(nn.Module):
    """Slices (N,C,H,W) to embeddings (N,E), or to the last maps (N,D,h,w)."""

    def __init__(self, network: Network, gives: Gives) -> None:
        super().__init__()
        self.encoder, self.gives = network.encoder, gives

    def forward(self, slices: Tensor) -> Tensor:
        found: Tensor = self.encoder.feature_maps(slices) if self.gives == "maps" else self.encoder(slices)
        return found


class SequenceGraph(nn.Module):
    """Embeddings (1,S,E) of one series to its context, slice logits, volume logits and attentions (1,S,1 or K)."""

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        encoder = network.encoder
        network.encoder = nn.Identity()  # type: ignore[assignment]  # not copied: the graph has no part in it
        try:
            self.network = copy.deepcopy(network)
        finally:
            network.encoder = encoder
        if isinstance(self.network.temporal, Recurrent):
            self.network.temporal = UnpackedRecurrent(self.network.temporal)  # type: ignore[assignment]

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mask = torch.ones(embeddings.shape[:2], dtype=torch.bool)
        return self.network.answer(embeddings, mask)


class UnpackedRecurrent(nn.Module):
    """A ``Recurrent`` of one series without padding, where nothing needs packing: ONNX has no packed sequences."""

    def __init__(self, recurrent: Recurrent) -> None:
        super().__init__()
        self.project, self.skip, self.rnn = recurrent.project, recurrent.skip, OnnxRecurrent(recurrent.rnn)

    def forward(self, embeddings: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002  the contract of Temporal
        projected = self.project(embeddings)
        context: Tensor = self.rnn(projected)
        return context if self.skip is None else context + self.skip(projected)


class OnnxRecurrent(nn.Module):
    """An LSTM or GRU as ONNX's own operator, one for each layer, for any number of slices.

    Tracing the one of torch would fix the number of slices, or unroll it.
    """

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.mode, self.layers, self.hidden = rnn.mode, rnn.num_layers, rnn.hidden_size
        direction = "bidirectional" if rnn.bidirectional else "forward"
        gru = {"linear_before_reset": 1} if rnn.mode == "GRU" else {}
        self.attributes: dict[str, Any] = {"hidden_size": rnn.hidden_size, "direction": direction, **gru}
        for layer in range(rnn.num_layers):
            for name, value in zip("wrb", _convert_layer(rnn, layer), strict=True):
                self.register_buffer(f"{name}{layer}", value)

    def forward(self, values: Tensor) -> Tensor:
        sequence = values.transpose(0, 1)
        for layer in range(self.layers):
            weights = [self.get_buffer(f"{name}{layer}") for name in "wrb"]
            shape = (sequence.shape[0], len(weights[0]), sequence.shape[1], self.hidden)
            found = torch.onnx.ops.symbolic(
                self.mode, [sequence, *weights], self.attributes, dtype=values.dtype, shape=shape, version=OPSET
            )
            sequence = found.transpose(1, 2).flatten(2)
        return sequence.transpose(0, 1)


def write_encoder(network: Network, path: Path, *, gives: Gives, shape: tuple[int, int, int]) -> None:
    """Write the encoder for slices of ``shape`` (C,H,W), any number of them.

    Raises:
        ConfigError: the library that writes ONNX is not installed.
        ModelError: the encoder cannot be exported; the reason is in it.
    """
    _write(EncoderGraph(network, gives), path, torch.rand(2, *shape), names=("slices", (gives,)), axis=0)


def write_sequence(network: SequenceNetwork, path: Path) -> None:
    """Write all that follows the encoder, for one series of any number of slices. Raises as ``write_encoder``."""
    example = torch.rand(1, EXAMPLE_SLICES, network.encoder.embedding_size)
    _write(SequenceGraph(network), path, example, names=("embeddings", SEQUENCE_OUTPUTS), axis=1)


def _write(
    graph: nn.Module, path: Path, example: Tensor, *, names: tuple[str, tuple[str, ...]], axis: int
) -> None:
    onnx = import_onnx()
    given, outputs = names
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph.eval().cpu(), (example,), dynamo=True, opset_version=OPSET, verbose=False, external_data=False,
                dynamic_shapes=({axis: torch.export.Dim.DYNAMIC},), input_names=[given], output_names=list(outputs),
            )
        assert program is not None
        model = program.model_proto
    except Exception as error:  # torch has kinds of its own, some only in their text
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else type(error).__name__
        raise ModelError(f"This {given} graph cannot be exported: {reason} Score with --backend torch.") from error
    _forget_origin(model)
    onnx.save_model(model, str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's words about its own code, and without operators that torch fuses for itself alone."""
    fast: Callable[[bool], None] = torch.backends.mha.set_fastpath_enabled
    before = torch.backends.mha.get_fastpath_enabled()
    fast(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        fast(before)


def _forget_origin(model: Any) -> None:
    """Take out where in whose files each node was written: paths of this machine, and most of the graph's text."""
    graph = model.graph
    for one in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        one.ClearField("metadata_props")
        one.ClearField("doc_string")


def _convert_layer(rnn: nn.RNNBase, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """(D,GH,I) input weights, (D,GH,H) recurrent weights, (D,2GH) biases of D directions; gates in ONNX's order."""
    sides = ("", "_reverse") if rnn.bidirectional else ("",)
    order = GATES[rnn.mode]

    def gather(kind: str) -> Tensor:
        found = [getattr(rnn, f"{kind}_l{layer}{side}").detach() for side in sides]
        return torch.stack([torch.cat([one.chunk(len(order))[place] for place in order]) for one in found])

    return gather("weight_ih"), gather("weight_hh"), torch.cat([gather("bias_ih"), gather("bias_hh")], dim=1)
