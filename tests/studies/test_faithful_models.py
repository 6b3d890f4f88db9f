"""How faithful a model's explanations are: measured on what it held out, kept in its folder, told by its card."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from seriatim.errors import ConfigError, InputError
from seriatim.explanation.attribution.gather import AttributionOptions
from seriatim.explanation.faithfulness.maps import MapOptions
from seriatim.explanation.faithfulness.series import MeasureOptions
from seriatim.explanation.faithfulness.words import choose_best
from seriatim.explanation.methods import PIXEL_METHODS
from seriatim.io import find_series
from seriatim.scoring.engine import score_one
from seriatim.studies import FaithfulnessOptions, measure_faithfulness
from seriatim.trained import load_model, load_scorer, read_splits
from seriatim.trained.faithfulness import load_faithfulness
from seriatim.training import train
from seriatim.training.card import write_card
from tiny_runs import CommandLine, make_experiment, read_rows

FEW = FaithfulnessOptions(
    device="cpu", limit=3, measure=MeasureOptions(orders=10, draws=1, shuffles=1),
    maps=MapOptions(series=2, slices=1, orders=2, affordable_s=60),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    folder = tmp_path_factory.mktemp("measured") / "run"
    shutil.copytree(tiny_run, folder)
    measure_faithfulness([folder], options=FEW)
    return folder


def test_figures_are_of_series_that_the_model_held_out(run: Path) -> None:
    rows, splits = read_rows(run / "faithfulness.csv"), read_splits(run)
    measured = {row["series_uid"]: row["split"] for row in rows}
    assert sorted(measured.values()) == sorted(["test"] * 3 + ["val"] * (len(measured) - 3))
    assert {uid: splits[uid] for uid in measured} == measured
    assert {row["class"] for row in rows} == {"bleed"}
    content = json.loads((run / "faithfulness.json").read_text())
    assert content["digest"] == load_model(run).digest
    assert content["split"] == "test"
    assert content["count"] == 3
    assert content["choice"]["split"] == "val"
    assert content["choice"]["count"] == len(measured) - 3 > 0


def test_validation_chooses_and_test_is_told_beside_it(run: Path) -> None:
    found = load_faithfulness(run / "faithfulness.json")
    assert found is not None
    assert found.choice is not None
    rows = read_rows(run / "faithfulness.csv")
    for methods, split in ((found.methods, "test"), (found.choice.methods, "val")):
        assert {"attention", "slice_scores", "leave_out", "integrated_gradients"} < set(methods)
        for method, figures in methods.items():
            for measure, one in figures.items():
                values = [float(row["value"]) for row in rows
                          if (row["method"], row["measure"], row["split"]) == (method, measure, split)]
                assert one.n == len(values)
                assert one.value == pytest.approx(sum(values) / len(values), abs=1e-5)
    assert found.best == choose_best(found.choice.methods)
    assert "validation series" in found.words[0]
    assert "On 3 test series, which chose nothing" in found.words[1]


def test_maps_of_pixels_are_measured_on_the_likeliest_series_and_chosen_alike(run: Path) -> None:
    found = load_faithfulness(run / "faithfulness.json")
    assert found is not None
    maps, rows = found.pixels, read_rows(run / "faithfulness.csv")
    assert maps is not None
    assert maps.choice is not None
    assert set(maps.methods) == set(maps.choice.methods) == set(PIXEL_METHODS)
    assert (maps.count, maps.split, maps.choice.split) == (2, "test", "val")
    assert maps.best == max(maps.choice.methods, key=lambda name: maps.choice.methods[name]["gap"].value)
    assert {row["measure"] for row in rows if row["method"] == "occlusion"} == {
        "insertion", "deletion", "gap", "beats_random", "seconds"}
    mapped = {row["series_uid"] for row in rows if row["method"] == "occlusion" and row["split"] == "test"}
    chances, scorer, splits = {}, load_scorer(run), read_splits(run)
    for series in find_series(scorer.experiment.data.manifest.parent).series:
        if splits[series.series_uid] == "test":
            chances[series.series_uid] = score_one(series, scorer).probabilities["bleed"]
    measured = {row["series_uid"] for row in rows if row["split"] == "test"}
    assert mapped == set(sorted(measured, key=lambda uid: -chances[uid])[:2])


def test_a_map_that_takes_too_long_is_left_after_the_first_series(tmp_path: Path, tiny_run: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    found = measure_faithfulness([tmp_path / "run"], options=replace(
        FEW, maps=replace(FEW.maps, affordable_s=-1.0), attribution=AttributionOptions(names=("attention",))
    ))  # fmt: skip
    assert found.pixels is not None
    assert found.pixels.best == ""
    assert "was not chosen" in found.pixels.words[0]
    rows = [row for row in read_rows(tmp_path / "run" / "faithfulness.csv") if row["method"] in PIXEL_METHODS]
    assert [(row["method"], row["measure"], row["split"]) for row in rows] == [
        (name, "seconds", "val") for name in PIXEL_METHODS]


def test_what_is_no_longer_on_disk_chooses_nothing(tmp_path: Path, head_ct: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(head_ct, data)
    train(make_experiment(tmp_path, data, "training.epochs=1"), tmp_path / "run")
    of = {row["path"]: row["split"] for row in read_rows(tmp_path / "run" / "manifest.csv")}
    few = replace(FEW, limit=1)
    for path in (path for path, split in of.items() if split in ("train", "val")):
        shutil.rmtree(data / path)
    found = measure_faithfulness([tmp_path / "run"], options=few)
    assert found.choice is None
    assert found.best == ""
    assert found.split == "test"
    assert "No validation series of the training could be read" in found.words[0]
    for path in (path for path, split in of.items() if split == "test"):
        shutil.rmtree(data / path)
    with pytest.raises(InputError, match="No validation or test series"):
        measure_faithfulness([tmp_path / "run"], options=few)


def test_the_card_tells_them(run: Path) -> None:
    card = write_card(run).read_text()
    assert "## Explanations" in card
    assert "On 3 test series, which chose nothing" in card
    assert "| integrated gradients |" in card


def test_runs_that_hold_out_the_same_series_are_compared(tmp_path: Path, run: Path) -> None:
    shutil.copytree(run, tmp_path / "twin")
    options = replace(FEW, maps=MapOptions(series=0))
    with pytest.raises(ConfigError, match="--output"):
        measure_faithfulness([run, tmp_path / "twin"], options=options)
    found = measure_faithfulness([run, tmp_path / "twin"], output=tmp_path / "both", options=options)
    assert found.pixels is None
    assert found.methods["leave_out"]["agreement"].value == pytest.approx(1.0)
    assert found.methods["leave_out"]["agreement"].n == 3
    assert found.count == 3
    assert len({row["run"] for row in read_rows(tmp_path / "both" / "faithfulness.csv")}) == 2
    assert json.loads((tmp_path / "both" / "faithfulness.json").read_text())["digest"] is None


def test_the_command_prints_a_table(tmp_path: Path, run: Path, seriatim_command: CommandLine) -> None:
    told = seriatim_command("faithfulness", run, "--limit", "1", "--device", "cpu")
    assert told.code == 0, told.err
    assert "integrated" in told.out
    assert "measured best" in told.out
    assert f"Written to {run}" in " ".join(told.out.split())
