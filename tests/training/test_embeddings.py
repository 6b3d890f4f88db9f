"""Embeddings of two-stage runs: the same numbers from memory and from disk, and never those of something else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from seriatim.errors import ConfigError
from seriatim.io import find_series
from seriatim.training import train
from seriatim.training.dataset import PreparedSeries
from seriatim.training.embeddings import Embedder, EmbeddingStore, digest_series, make_recipe
from tiny_runs import make_experiment, read_rows

TWO_STAGE = ("training.mode=two-stage", "training.epochs=2")
NOISE = "augmentation={noise: 0.1}"


def validation(run: Path) -> list[dict[str, str]]:
    return read_rows(run / "validation.csv")


def files_of(store: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in store.rglob("*.npy")}


def test_a_store_changes_nothing_and_later_runs_embed_nothing(tmp_path: Path, head_ct: Path) -> None:
    store = tmp_path / "store"
    train(make_experiment(tmp_path, head_ct, *TWO_STAGE), tmp_path / "plain")
    stored = make_experiment(tmp_path, head_ct, *TWO_STAGE, f"training.embedding_store={store}")
    train(stored, tmp_path / "first")
    made = files_of(store)
    rows = read_rows(tmp_path / "first" / "manifest.csv")
    assert len(made) == sum(row["split"] != "test" for row in rows) + len(rows)  # embeddings, and the traits of all
    train(stored, tmp_path / "second")
    assert files_of(store) == made
    assert validation(tmp_path / "plain") == validation(tmp_path / "first") == validation(tmp_path / "second")


def test_another_encoder_preprocessing_or_file_is_another_key(tmp_path: Path, head_ct: Path) -> None:
    experiment = make_experiment(tmp_path, head_ct, *TWO_STAGE)
    torch.manual_seed(0)
    network = experiment.network.build(experiment.preprocessing.channels, 1)
    recipes = {make_recipe(experiment, network)}
    assert make_recipe(experiment, network) in recipes
    with torch.no_grad():
        next(network.encoder.parameters()).reshape(-1)[0] += 1e-6
    recipes.add(make_recipe(experiment, network))
    other = make_experiment(tmp_path, head_ct, *TWO_STAGE, "preprocessing.size=33")
    recipes.add(make_recipe(other, network))
    assert len(recipes) == 3
    source = next((head_ct / "series").iterdir())
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    (first,), (second,) = (find_series(one).series for one in (source, copy))
    assert digest_series(first) == digest_series(second)
    path = next(copy.iterdir())
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    assert digest_series(find_series(copy).series[0]) != digest_series(first)


def test_a_damaged_or_foreign_file_of_the_store_is_made_again(tmp_path: Path, head_ct: Path) -> None:
    series = find_series(next((head_ct / "series").iterdir())).series[0]
    store = EmbeddingStore(tmp_path / "store", recipe=b"recipe")
    right = torch.rand(len(series.instances), 5)
    assert torch.equal(store.fetch(series, "", lambda: right), right)
    assert torch.equal(store.fetch(series, "", lambda: right + 1), right)
    (path,) = (tmp_path / "store").rglob("*.npy")
    whole = path.read_bytes()
    for damage in (whole[:-7], whole[:40], b"", b"no array"):
        path.write_bytes(damage)
        assert torch.equal(store.fetch(series, "", lambda: right), right)
        assert path.read_bytes() == whole
    assert torch.equal(store.fetch(series, "other view", lambda: right + 1), right + 1)


def test_views_are_changed_ways_of_the_same_series_and_always_the_same_ones(tmp_path: Path, head_ct: Path) -> None:
    experiment = make_experiment(tmp_path, head_ct, *TWO_STAGE, NOISE, "training.embedding_views=2")
    torch.manual_seed(0)
    network = experiment.network.build(experiment.preprocessing.channels, 1).eval()
    series = find_series(next((head_ct / "series").iterdir())).series[0]

    def embed() -> list[torch.Tensor]:
        prepared = PreparedSeries(experiment.preprocessing, cache=False)
        augment = experiment.augmentation.build(experiment.preprocessing.size)
        embedder = Embedder(network, prepared, experiment, augment=augment)
        return [embedder.embed(series, view) for view in range(3)]

    first, second = embed(), embed()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])
    train(experiment, tmp_path / "run")
    assert (tmp_path / "run" / "model.json").is_file()


@pytest.mark.parametrize(
    "overrides",
    [(*TWO_STAGE, NOISE), (*TWO_STAGE, "training.embedding_views=2"), ("training.embedding_store=somewhere",)],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, head_ct: Path, overrides: tuple[str]) -> None:
    with pytest.raises(ConfigError, match=r"two-stage|needs augmentation"):
        make_experiment(tmp_path, head_ct, *overrides)
