"""What is read by somebody is computed in full on CUDA, whatever training does beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from seriatim.models import NetworkSettings
from seriatim.models.detectors import network as anomaly
from seriatim.models.detectors.gaussian import GaussianSettings
from seriatim.models.detectors.network import AnomalyNetwork
from seriatim.models.exact import EXACT, in_full
from seriatim.tasks import DiagnosisSettings, predict

CUDNN = torch.backends.cudnn


def read_flags() -> dict[str, bool]:
    return {name: getattr(CUDNN, name) for name in EXACT}


def test_on_cuda_the_setting_holds_as_long_as_the_context_and_not_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in EXACT.items():
        monkeypatch.setattr(CUDNN, name, not value)
    loose = read_flags()
    with in_full(torch.device("cpu")):
        assert read_flags() == loose
    with pytest.raises(LookupError), in_full(torch.device("cuda")), in_full(torch.device("cuda:1")):  # noqa: PT012
        assert read_flags() == EXACT
        raise LookupError
    assert read_flags() == loose


def test_encoder_sequence_model_and_detectors_are_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    depth, told = [0], []

    @contextmanager
    def watched(device: torch.device) -> Iterator[None]:
        assert device.type == "cpu"
        depth[0] += 1
        yield
        depth[0] -= 1

    def watch(module: torch.nn.Module) -> None:
        module.register_forward_pre_hook(lambda *_: told.append(depth[0]))

    monkeypatch.setattr(predict, "in_full", watched)
    monkeypatch.setattr(anomaly, "in_full", watched)
    settings = NetworkSettings.model_validate({"encoder": {"kind": "small_cnn", "widths": [4, 8]}})
    network = settings.build(1, 1).eval()
    for module in (network.encoder, network.temporal):
        watch(module)
    predict.score_series(network, DiagnosisSettings(labels=("bleed",)).build(), torch.rand(9, 1, 16, 16))
    assert told == [1, 1, 1]
    detecting = AnomalyNetwork([GaussianSettings()], encoder=network.encoder, in_channels=1).eval()
    with torch.inference_mode():
        detecting.look(torch.rand(2, 1, 16, 16), "embeddings")
        monkeypatch.setattr(type(detecting.methods[0]), "examine", lambda *_: told.append(depth[0]))
        detecting.examine(torch.rand(2, 1, 16, 16))
    assert told[3:] == [1, 1, 1, 1, 1]
