"""What an explanation of one volume holds: of one model or several, in all views, with what was measured."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seriatim.errors import ConfigError
from seriatim.explanation import ExplainOptions, explain, explain_volume
from seriatim.explanation.faithfulness.series import MeasureOptions
from seriatim.explanation.known_slices import KnownSlices
from seriatim.io import find_series, read_volume
from seriatim.series import Volume
from seriatim.tasks.views import ViewSettings
from seriatim.trained import Model, load_ensemble, load_model, load_scorer
from seriatim.trained.faithfulness import FAITHFULNESS, Choice, Faithfulness, Measured
from tiny_runs import CommandLine, read_header, read_rows, write_rows

FEW = MeasureOptions(orders=10, draws=1, shuffles=1)


@pytest.fixture(scope="module")
def volume(head_ct: Path) -> Volume:
    path = next(row["path"] for row in read_rows(head_ct / "labels.csv") if row["bleed"] == "1")
    return read_volume(find_series(head_ct / path).series[0])


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> Model:
    return load_model(tiny_run)


@pytest.fixture(scope="module")
def other(model: Model) -> Model:
    """A model with the same encoder that learnt something else."""
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        network.volume_head.weight.mul_(-2)
    return replace(model, network=network, digest="0" * 64)


def test_several_models_are_explained_by_their_mean(volume: Volume, model: Model, other: Model) -> None:
    alone = [explain_volume(volume, one, top=3) for one in (model, other)]
    both = explain_volume(volume, load_ensemble([model, other]), options=ExplainOptions(top=3, measured=True,
                                                                                        measure=FEW))
    for name, values in both.attributions.items():
        np.testing.assert_allclose(
            values, np.mean([one.attributions[name] for one in alone], axis=0), rtol=1e-4, atol=1e-6
        )
    assert both.probability == pytest.approx(np.mean([one.probability for one in alone]))
    assert both.faithfulness is not None
    assert set(both.faithfulness.methods) == set(both.attributions)
    assert -1 <= both.faithfulness.methods["leave_out"]["agreement"].value < 0
    turned = explain_volume(volume, load_ensemble([other, model]), top=3)
    for name, values in both.attributions.items():
        assert np.array_equal(values, turned.attributions[name])


def test_views_are_put_back_upright_and_in_order(volume: Volume, model: Model) -> None:
    plain = explain_volume(volume, model, top=2)
    views = ViewSettings(flip_left_right=True, reverse_order=True)
    seen = replace(model, experiment=model.experiment.model_copy(update={"test_time": views}))
    found = explain_volume(volume, seen, options=ExplainOptions(top=2, show="attention", pixels=("grad_cam",)))
    ensemble = load_ensemble([seen])
    scores = ensemble.score(ensemble.prepare(volume))
    assert found.probability == float(scores.probabilities[0])
    np.testing.assert_allclose(found.attributions["attention"], scores.attention, atol=1e-9)
    mirrored = replace(volume, array=np.ascontiguousarray(volume.array[..., ::-1]))
    again = explain_volume(mirrored, seen, options=ExplainOptions(top=2, show="attention"))
    for name, values in found.attributions.items():  # the mean over both sides knows no side
        np.testing.assert_allclose(values, again.attributions[name], rtol=1e-3, atol=1e-5)
    assert found.heat is not None
    assert again.heat is not None
    assert found.top == again.top
    np.testing.assert_allclose(found.heat, again.heat[..., ::-1], atol=0.05)
    assert plain.heat is not None


def test_what_is_shown_can_be_chosen_and_maps_asked_for(volume: Volume, model: Model) -> None:
    options = ExplainOptions(top=2, show="attention", pixels=("occlusion", "grad_cam_plus_plus"))
    found = explain_volume(volume, model, options=options)
    assert found.shown_attribution == "attention"
    assert "asked for" in found.shown_because
    assert sorted(found.attention[list(found.top)]) == sorted(found.attention)[-2:]
    assert list(found.pixel_maps) == ["occlusion", "grad_cam_plus_plus"]
    assert found.shown_map == "occlusion"
    assert found.heat is found.pixel_maps["occlusion"]
    assert found.completeness is not None
    assert found.completeness < 0.05
    assert found.frames == (None,) * len(found.positions)
    assert found.faithfulness is None


def test_names_that_are_none_are_told(volume: Volume, model: Model) -> None:
    with pytest.raises(ConfigError, match="'saliency'"):
        ExplainOptions(show="saliency")
    with pytest.raises(ConfigError, match="'rise'"):
        ExplainOptions(pixels=("rise",))
    blind = replace(model, task=replace(model.task, settings=model.task.settings.model_copy(
        update={"slice_loss_weight": 0.0})))
    with pytest.raises(ConfigError, match="has no attribution slice_scores"):
        explain_volume(volume, blind, options=ExplainOptions(show="slice_scores"))


def test_what_measured_best_on_the_model_is_shown(tmp_path: Path, volume: Volume, tiny_run: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    digest = load_model(tmp_path / "run").digest
    known = Faithfulness(about="model", methods={"attention": {"gap": Measured(value=0.2)}}, best="attention",
                         words=("Attention.",), count=4, split="test", choice=Choice(split="val", count=3, methods={}))
    known.save(tmp_path / "run" / FAITHFULNESS, digest=digest)
    found = explain_volume(volume, load_model(tmp_path / "run"), top=1)
    assert found.shown_attribution == "attention"
    assert "3 validation series" in found.shown_because
    assert found.model_faithfulness == known
    assert found.shown_map == "grad_cam"
    assert "was not measured" in found.map_because
    maps = replace(known, best="grad_cam_plus_plus")
    replace(known, pixels=maps).save(tmp_path / "run" / FAITHFULNESS, digest=digest)
    found = explain_volume(volume, load_model(tmp_path / "run"), top=1)
    assert (found.shown_map, list(found.pixel_maps)) == ("grad_cam_plus_plus", ["grad_cam_plus_plus"])
    assert "best of the maps of pixels on 3 validation series" in found.map_because
    asked = explain_volume(volume, load_model(tmp_path / "run"), options=ExplainOptions(top=1, pixels=("grad_cam",)))
    assert list(asked.pixel_maps) == ["grad_cam"]
    assert "asked for" in asked.map_because
    replace(known, choice=None, best="").save(tmp_path / "run" / FAITHFULNESS, digest=digest)
    found = explain_volume(volume, load_model(tmp_path / "run"), top=1)
    assert found.shown_attribution == "integrated_gradients"
    assert "no validation series could be read" in found.shown_because
    known.save(tmp_path / "run" / FAITHFULNESS, digest="of another model")
    assert explain_volume(volume, load_model(tmp_path / "run"), top=1).model_faithfulness is None


def test_the_command_measures_and_marks(
    tmp_path: Path, head_ct: Path, tiny_run: Path, seriatim_command: CommandLine
) -> None:
    row = next(row for row in read_rows(head_ct / "labels.csv") if row["bleed"] == "1")
    told = seriatim_command(
        "explain", head_ct / row["path"], "--model", tiny_run, "--output", tmp_path / "out", "--faithfulness",
        "--slice-labels", head_ct / "slices.csv", "--show", "integrated_gradients", "--top", "1", "--device", "cpu",
    )  # fmt: skip
    assert told.code == 0, told.err
    rows = read_rows(tmp_path / "out" / "faithfulness.csv")
    assert read_header(tmp_path / "out" / "faithfulness.csv")[:5] == [
        "series_uid", "volume", "class", "method", "measure",
    ]  # fmt: skip
    found = {(one["method"], one["measure"]): float(one["value"]) for one in rows}
    assert found["leave_out", "leave_one_out"] == pytest.approx(1.0)
    assert 0 <= found["slice_scores", "average_precision"] <= 1
    table = read_rows(tmp_path / "out" / f"{row['series_uid']}.csv")
    top = max(table, key=lambda one: float(one["integrated_gradients"]))
    assert top["rank"] == "1"
    refused = seriatim_command("explain", head_ct, "--model", tiny_run, "--output", tmp_path / "no", "--show", "x")
    assert refused.code == 2


def test_soft_and_unknown_slice_labels_are_not_measured_against(
    tmp_path: Path, head_ct: Path, tiny_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = read_rows(head_ct / "labels.csv")[0]
    slices = tmp_path / "none.csv"
    slices.write_text("series_uid,index,bleed\n1.2.3,0,1\n")
    rows = explain(head_ct / row["path"], model=tiny_run, output=tmp_path / "out", device="cpu", top=1,
                   slice_labels=slices)
    assert rows[0]["status"] == "explained"
    assert "labels a slice of these series" in caplog.text


def test_slice_labels_by_path_are_found_as_in_training(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    rows = [row for row in read_rows(head_ct / "labels.csv") if row["bleed"] == "1"][:1]
    series = find_series(head_ct / rows[0]["path"]).series[0]
    true = [row for row in read_rows(head_ct / "slices.csv") if row["series_uid"] == series.series_uid]
    marked = [bool(int(row["bleed"])) for row in sorted(true, key=lambda row: int(row["index"]))]
    named = [{"path": rows[0]["path"], "index": row["index"], "bleed": row["bleed"]} for row in true]
    model = load_scorer(tiny_run)
    by_manifest = write_rows(tmp_path / "elsewhere" / "slices.csv", named)
    shutil.copytree(head_ct / rows[0]["path"], tmp_path / "moved" / "one")
    moved = find_series(tmp_path / "moved" / "one").series[0]
    for one in (series, moved):  # the run's manifest tells where a series lay
        known = KnownSlices.read(by_manifest, model).of(one)
        assert known is not None
        assert (known[:, 0] == 1).tolist() == marked
    by_table = write_rows(tmp_path / "moved" / "slices.csv", [{**row, "path": "one"} for row in named])
    known = KnownSlices.read(by_table, model).of(moved)
    assert known is not None
    assert (known[:, 0] == 1).tolist() == marked
    other = write_rows(tmp_path / "other.csv", [{**row, "path": "two"} for row in named])
    assert KnownSlices.read(other, model).of(moved) is None
