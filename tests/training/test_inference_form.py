"""A network with norms is validated, stored, scored and explained with the numbers of one form, that of its weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch.optim import AdamW

from seriatim.io import find_series
from seriatim.models.inference import make_inference_form
from seriatim.models.network import SequenceNetwork
from seriatim.scoring import score
from seriatim.tasks.predict import embed_series
from seriatim.trained import load_model
from seriatim.training import embeddings, train
from seriatim.training.dataset import PreparedSeries
from seriatim.training.embeddings import make_recipe
from seriatim.training.loop import SequenceStage
from tiny_runs import make_experiment, read_rows

NORMS = "network.encoder={kind: torchvision, name: mobilenet_v3_small}"
STAGES = ("training.mode=two-stage", "training.epochs=1", "joint_stage={epochs: 2, batch_size: 2}")


def test_validation_never_sees_the_form_of_earlier_weights(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fused optimizers change weights without a sign that torch would count, and norms keep their statistics here."""
    monkeypatch.setattr("seriatim.training.optimizer.AdamW", partial(AdamW, fused=True))
    validate, seen = SequenceStage.validate, []

    def spy(stage: SequenceStage) -> dict[str, float]:
        metrics = validate(stage)
        network: SequenceNetwork = stage.judged()
        with torch.inference_mode():
            form = network.encoder.for_inference()
            fresh = make_inference_form(network.encoder)
        if stage.name == "joint":
            for one, other in zip(form.parameters(), fresh.parameters(), strict=True):
                assert torch.equal(one, other)
            seen.append(next(form.parameters()).clone())
        return metrics

    monkeypatch.setattr(SequenceStage, "validate", spy)
    train(make_experiment(tmp_path, head_ct, NORMS, *STAGES), tmp_path / "run")
    assert len(seen) == 3
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


@pytest.mark.parametrize("mode", ["two-stage", "end-to-end"])
def test_validation_the_store_and_scoring_have_the_same_bits(tmp_path: Path, head_ct: Path, mode: str) -> None:
    options = [NORMS, f"training.mode={mode}"]
    if mode == "two-stage":
        options.append(f"training.embedding_store={tmp_path / 'store'}")
    experiment, run = make_experiment(tmp_path, head_ct, *options), tmp_path / "run"
    train(experiment, run)
    model = load_model(run)
    validated = {row["series_uid"]: row["probability_bleed"] for row in read_rows(run / "validation.csv")}
    assert validated
    score(head_ct, model=model, output=tmp_path / "scores", device="cpu", only=set(validated))
    scored = {row["series_uid"]: row["probability_bleed"] for row in read_rows(tmp_path / "scores" / "scores.csv")}
    assert {uid: float(one) for uid, one in validated.items()} == {uid: float(one) for uid, one in scored.items()}
    if mode == "two-stage":
        embedder = embeddings.Embedder(model.network, PreparedSeries(experiment.preprocessing, cache=False), experiment,
                                       augment=None)
        before = len(list((tmp_path / "store").rglob("*.npy")))
        for series in (one for one in find_series(head_ct).series if one.series_uid in validated):
            direct = embed_series(model.network, embedder._slices(series, ""))
            assert torch.equal(embedder.embed(series), direct)
        assert len(list((tmp_path / "store").rglob("*.npy"))) == before, "they came from the store"


def test_what_an_earlier_form_embedded_has_another_key(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make_experiment(tmp_path, head_ct, NORMS)
    network = experiment.network.build(experiment.preprocessing.channels, 1).eval()
    recipe = make_recipe(experiment, network)
    with torch.inference_mode():
        network.encoder.for_inference()
    assert make_recipe(experiment, network) == recipe, "the key is of the plain weights"
    monkeypatch.setattr(embeddings, "REVISION", 1)
    assert make_recipe(experiment, network) != recipe
