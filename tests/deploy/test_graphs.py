"""The exported graphs give the network's own answers, for any number of slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seriatim.errors import ModelError
from seriatim.models import NetworkSettings
from seriatim.models.network import SequenceNetwork
from seriatim.trained.backends.network import BackedNetwork, ExportedEncoder, ReducedEncoder
from seriatim.trained.backends.session import Session

pytest.importorskip("onnxruntime", reason="needs seriatim[onnx]")
pytest.importorskip("onnxscript", reason="needs seriatim[onnx]")

IN_DEFAULT = 3
LENGTHS = (1, 2, 3, 17, 200)
SIZE = 32
NETWORKS: dict[str, dict[str, Any]] = {
    "lstm of two layers, gated attention": {"temporal": {"kind": "lstm", "hidden": 6, "layers": 2}},
    "gru, an attention of each class, deltas": {
        "temporal": {"kind": "gru", "hidden": 6, "project": 7}, "pooling": {"kind": "attention", "per_class": True},
        "deltas": True,
    },
    "transformer, the largest slice scores": {
        "temporal": {"kind": "transformer", "size": 8, "heads": 2, "feedforward": 16},
        "pooling": {"kind": "slice_scores", "how": "top_k"},
    },
    "causal lstm, last state, standardised": {
        "temporal": {"kind": "lstm", "hidden": 6, "bidirectional": False, "skip": False},
        "pooling": {"kind": "last"}, "standardise": True,
    },
    "no sequence model, maximum": {"temporal": {"kind": "none"}, "pooling": {"kind": "max"}},
    "both ends of a bilstm": {"temporal": {"kind": "lstm", "hidden": 6}, "pooling": {"kind": "last"}},
    "smooth maximum of slice scores": {"temporal": {"kind": "lstm", "hidden": 6}, "pooling": {"kind": "slice_scores"}},
}


def build(parts: dict[str, Any], *, outputs: int = 3) -> SequenceNetwork:
    torch.manual_seed(0)
    encoder = {"kind": "small_cnn", "widths": [6, 9]}
    network = NetworkSettings.model_validate({"encoder": encoder, **parts}).build(2, outputs)
    network.set_output_scale([1.0] * outputs, [2.0] * outputs)
    return network.eval().requires_grad_(False)


def open_graph(path: Path, backend: str, *, shape: tuple[int, ...]) -> Session:
    if backend == "onnx":
        from seriatim.trained.backends.onnx import OnnxSession

        return OnnxSession(path)
    pytest.importorskip("openvino", reason="needs seriatim[openvino]")
    from seriatim.trained.backends.openvino import OpenVinoSession, convert_onnx

    convert_onnx(path)
    return OpenVinoSession(path.with_suffix(".xml"), shape=shape)


@pytest.mark.parametrize("name", [
    name if place < IN_DEFAULT else pytest.param(name, marks=pytest.mark.slow) for place, name in enumerate(NETWORKS)
])
def test_an_exported_sequence_model_answers_as_the_network_does(name: str, tmp_path: Path) -> None:
    from seriatim.deploy.graphs import write_sequence

    network = build(NETWORKS[name])
    path = tmp_path / "sequence.onnx"
    write_sequence(network, path)
    for backend in ("onnx", "openvino"):
        backed = BackedNetwork(network, encoder=network.encoder, sequence=open_graph(path, backend, shape=(1, -1, 9)))
        for length in LENGTHS:
            embeddings = torch.randn(1, length, 9)
            mask = torch.ones(1, length, dtype=torch.bool)
            mine, theirs = network.read(embeddings, mask), backed.read(embeddings, mask)
            for part in ("context", "slice_logits", "volume_logits", "attention"):
                torch.testing.assert_close(getattr(theirs, part), getattr(mine, part), atol=2e-6, rtol=1e-5)
            assert (theirs.class_attention is None) == (mine.class_attention is None)


def test_an_exported_sequence_model_refuses_padding_and_a_batch() -> None:
    class Never:
        def run(self, values: np.ndarray) -> list[np.ndarray]:
            raise AssertionError("the graph was asked")

    network = build(NETWORKS["both ends of a bilstm"])
    backed = BackedNetwork(network, encoder=network.encoder, sequence=Never())
    padded = torch.tensor([[True, True, False]])
    for embeddings, mask in ((torch.randn(1, 3, 9), padded), (torch.randn(2, 3, 9), torch.ones(2, 3).bool())):
        with pytest.raises(ValueError, match="one series at a time"):
            backed.read(embeddings, mask)


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder of every network here."""
    from seriatim.deploy.graphs import write_encoder

    path = tmp_path_factory.mktemp("graphs") / "encoder.onnx"
    write_encoder(build(NETWORKS["both ends of a bilstm"]), path, gives="embeddings", shape=(2, SIZE, SIZE))
    return path


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_an_exported_embedding_does_not_depend_on_the_other_slices(backend: str, encoder_file: Path) -> None:
    from seriatim.models import encode_in_chunks

    network = build(NETWORKS["both ends of a bilstm"])
    session = open_graph(encoder_file, backend, shape=(8, 2, SIZE, SIZE))
    encoder = ExportedEncoder(session, inner=network.encoder, shift=torch.zeros(9), gives="embeddings")
    slices = torch.rand(21, 2, SIZE, SIZE)
    whole = encode_in_chunks(encoder, slices)
    torch.testing.assert_close(whole, encode_in_chunks(network.encoder, slices), atol=1e-5, rtol=1e-5)
    order = torch.randperm(21)
    assert torch.equal(encode_in_chunks(encoder, slices[order]), whole[order])
    for count in (1, 5, 9):
        assert torch.equal(encode_in_chunks(encoder, slices[:count]), whole[:count])


def test_a_network_that_cannot_be_exported_is_refused_with_the_reason(tmp_path: Path) -> None:
    from seriatim.deploy.graphs import write_encoder

    class Looks(torch.nn.Module):
        def forward(self, slices: torch.Tensor) -> torch.Tensor:
            return slices if float(slices.sum()) > 0 else -slices

    network = build(NETWORKS["both ends of a bilstm"])
    network.encoder = Looks()  # type: ignore[assignment]
    with pytest.raises(ModelError, match=r"cannot be exported: .+ Score with --backend torch"):
        write_encoder(network, tmp_path / "encoder.onnx", gives="embeddings", shape=(2, SIZE, SIZE))
    assert not list(tmp_path.iterdir())


def test_reduced_precision_moves_embeddings_a_little_and_takes_its_shift() -> None:
    torch.manual_seed(0)
    settings = {"encoder": {"kind": "torchvision", "name": "mobilenet_v3_small"}}
    encoder = NetworkSettings.model_validate(settings).encoder.build(3).eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    slices = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        before = encoder(slices)
        found = ReducedEncoder(encoder, shift=torch.ones(encoder.embedding_size))(slices)
    assert found.dtype == torch.float32
    assert float((found - 1 - before).norm() / before.norm()) < 0.1
    assert not np.allclose(found.numpy() - 1, before.numpy(), atol=1e-7), "bf16 was not used"
