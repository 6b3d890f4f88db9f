"""Embeddings with mean 0 and spread 1 over the slices of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seriatim.errors import ConfigError
from seriatim.models import NetworkSettings
from seriatim.trained import load_model
from seriatim.training import train
from tiny_runs import make_experiment, read_rows


def test_the_sequence_model_reads_standardised_embeddings_and_padding_stays_zero() -> None:
    network = NetworkSettings(standardise=True).build(1, 1).eval()
    known = 5 + 3 * torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    known[:, 7] = 2.0  # what never changes cannot be scaled
    network.set_embedding_scale(known)
    seen: list[torch.Tensor] = []
    network.temporal.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mask = torch.tensor([[True] * 200, [True] * 3 + [False] * 197])
    network.read(torch.stack([known, known]), mask)
    torch.testing.assert_close(seen[0][0].mean(dim=0), torch.zeros(64), atol=1e-4, rtol=0)
    spread = seen[0][0].std(dim=0, correction=0)
    torch.testing.assert_close(spread[torch.arange(64) != 7], torch.ones(63), atol=1e-4, rtol=0)
    assert spread[7] == 0
    assert (seen[0][1, 3:] == 0).all()


def test_a_run_learns_the_scale_from_its_training_series_and_keeps_it(tmp_path: Path, head_ct: Path) -> None:
    overrides = ["training.mode=two-stage", "network.standardise=true", "training.epochs=1"]
    train(make_experiment(tmp_path, head_ct, *overrides), tmp_path / "run")
    model = load_model(tmp_path / "run")
    used = [row for row in read_rows(tmp_path / "run" / "manifest.csv") if row["split"] == "train"]
    assert used
    from seriatim.io import find_series, read_volume

    found = [find_series(Path(row["path"])).series[0] for row in used]
    embedded = torch.cat([model.embed(model.prepare(read_volume(one)))[0] for one in found])
    torch.testing.assert_close(model.network.embedding_center, embedded.mean(dim=0), atol=1e-5, rtol=1e-4)
    spread = embedded.std(dim=0, correction=0)
    changes = spread > 1e-4
    torch.testing.assert_close(model.network.embedding_scale[changes], spread[changes], atol=1e-5, rtol=1e-3)


def test_it_is_for_two_stage_alone(tmp_path: Path, head_ct: Path) -> None:
    with pytest.raises(ConfigError, match="two-stage"):
        make_experiment(tmp_path, head_ct, "network.standardise=true")
