"""An encoder as a graph: the answers of the encoder, of each chunk its own, and the encoder where there can be none."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fake_cuda import FakeCuda
from seriatim.errors import ConfigError
from seriatim.io import find_series
from seriatim.models import NetworkSettings
from seriatim.models.chunks import encode_in_chunks
from seriatim.models.small_cnn import SmallCNN
from seriatim.scoring.engine import score_one
from seriatim.trained import load_ensemble, load_model, load_scorer, scorer
from seriatim.trained.backends import Compute
from seriatim.trained.backends.captured import WARM_UP, CapturedEncoder


def draw_chunks(count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(8, 1, 16, 16, generator=generator).contiguous(memory_format=torch.channels_last)
            for _ in range(count)]


def test_a_graph_answers_each_chunk_as_the_encoder_does_and_keeps_its_answers_apart(fake_cuda: FakeCuda) -> None:
    encoder = SmallCNN(1, widths=(4, 8)).eval().requires_grad_(False)
    calls: list[Tensor] = []
    captured = CapturedEncoder(lambda chunk: calls.append(chunk) or encoder(chunk))
    chunks = draw_chunks()
    before = [chunk.clone() for chunk in chunks]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(captured, chunks))
    for one, chunk, same in zip(found, chunks, before, strict=True):
        assert torch.equal(one, encoder(chunk))
        assert torch.equal(chunk, same)
    assert len(fake_cuda.graphs) == 1
    assert fake_cuda.graphs[0].replayed == len(chunks)
    assert len(calls) == WARM_UP + 1
    assert fake_cuda.current is fake_cuda.default


def test_what_cannot_be_recorded_is_computed_all_the_same_and_said_once(
    fake_cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    def encode(chunk: Tensor) -> Tensor:
        if fake_cuda.current is not fake_cuda.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        return chunk.sum(dim=(1, 2, 3))

    captured = CapturedEncoder(encode)
    with caplog.at_level(logging.WARNING, logger="seriatim"):
        for chunk in draw_chunks():
            assert torch.equal(captured(chunk), encode(chunk))
    (told,) = caplog.messages
    assert told.endswith("CUDA graph, and computes without: operation not permitted when stream is capturing")
    assert fake_cuda.current is fake_cuda.default


def test_what_is_recorded_is_the_form_that_scores(fake_cuda: FakeCuda) -> None:
    settings = {"encoder": {"kind": "torchvision", "name": "mobilenet_v3_small"}}
    encoder = NetworkSettings.model_validate(settings).encoder.build(1).eval().requires_grad_(False)
    captured, chunk = CapturedEncoder(encoder), torch.rand(8, 1, 32, 32)
    found = captured(chunk.contiguous(memory_format=torch.channels_last))
    with torch.inference_mode():
        assert torch.equal(found, encode_in_chunks(encoder, chunk))


def test_a_model_in_graphs_scores_the_same_and_has_a_key_of_its_own(
    tiny_run: Path, head_ct: Path, fake_cuda: FakeCuda
) -> None:
    plain = load_model(tiny_run)
    graphed = plain.with_compute(Compute(graphs=True))
    for series in find_series(head_ct).series[:2]:
        expected, found = (score_one(series, load_ensemble([one])) for one in (plain, graphed))
        assert found.probabilities == expected.probabilities
    (graph,) = fake_cuda.graphs
    assert graph.replayed > 2
    assert plain.compute.key != graphed.compute.key
    assert "CUDA graphs" in graphed.compute.line
    assert graphed.compute.describe()["cuda_graphs"]
    assert graphed.with_compute(plain.compute).backed is None


def test_graphs_where_there_can_be_none_are_refused(tiny_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"--cuda-graphs .* torch on cpu was chosen \(asked for\)"):
        load_scorer(tiny_run, device="cpu", cuda_graphs=True)
    with pytest.raises(ConfigError, match=r"--cuda-graphs .* openvino on cpu"):
        load_scorer(tiny_run, backend="openvino", device="cpu", cuda_graphs=True)


def test_an_anomaly_model_is_not_recorded(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "choose_compute", lambda **_asked: Compute(device="cuda", graphs=True))
    monkeypatch.setattr(scorer, "is_anomaly_model", lambda _run: True)
    with pytest.raises(ConfigError, match="models of a diagnosis"):
        load_scorer(tiny_run, device="cuda", cuda_graphs=True)
