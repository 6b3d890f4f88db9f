"""Learning curves: the same test series at every number of labelled patients, nested, resumable, all draws counted."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from seriatim.errors import ConfigError
from seriatim.evaluation import Clusters, Estimate
from seriatim.evaluation.samples import Samples
from seriatim.experiment import Experiment
from seriatim.studies import learning_curve
from seriatim.studies.draws import average_draws
from seriatim.tasks.metrics import roc_auc
from tiny_runs import CommandLine, make_experiment, read_rows, write_config, write_rows

QUICK = ("training.epochs=1", "training.mode=two-stage", "data.folds=2")
Done = tuple[Path, Experiment]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, head_ct: Path) -> Done:
    folder = tmp_path_factory.mktemp("curve")
    experiment = make_experiment(folder, head_ct, *QUICK)
    learning_curve(experiment, folder / "out", counts=[2, None])
    return folder / "out", experiment


def test_every_point_is_tested_on_the_same_series_and_learns_from_more(done: Done) -> None:
    output, _ = done
    folders = sorted(path.parent for path in output.glob("patients_*/draw*/fold*/scores"))
    assert len(folders) == 2 + 2
    tested: dict[str, set[str]] = {}
    learned = {}
    for folder in folders:
        rows = read_rows(folder / "run" / "manifest.csv")
        tested.setdefault(folder.name, set()).add(
            " ".join(sorted(row["series_uid"] for row in read_rows(folder / "scores" / "scores.csv")))
        )
        learned[folder] = {row["patient"] for row in rows if row["split"] in ("train", "val")}
        assert not learned[folder] & {row["patient"] for row in rows if row["split"] == "test"}
        assert all(row["bleed"] == "" for row in rows if row["split"] == "unlabelled")
    assert all(len(series) == 1 for series in tested.values())
    for folder, patients in learned.items():
        everybody = learned[output / "patients_all" / "draw0" / folder.name]
        assert patients < everybody if "patients_2" in str(folder) else patients == everybody
        assert len(patients) == 4 or "patients_2" not in str(folder)


def test_the_table_counts_labelled_patients_and_every_draw(done: Done) -> None:
    output, _ = done
    rows = {(row["patients_per_class"], row["metric"]): row for row in read_rows(output / "learning_curve.csv")}
    assert set(rows) == {(count, name) for count in ("2", "all") for name in ("auc", "auc_mean_of_folds")}
    few, everybody = rows["2", "auc"], rows["all", "auc"]
    assert (few["labelled_patients"], few["draws"], everybody["draws"]) == ("4.0", "1", "1")
    evaluation = json.loads((output / "patients_all" / "draw0" / "evaluation" / "evaluation.json").read_text())
    expected = evaluation["metrics"]["auc"]
    assert [float(everybody[name]) for name in ("value", "low", "high")] == [
        expected[name] for name in ("value", "low", "high")
    ]
    assert (output / "learning_curve.png").stat().st_size > 10_000


@pytest.mark.slow
def test_more_is_added_and_what_is_done_stays(done: Done) -> None:
    output, experiment = done
    told: list[str] = []
    learning_curve(experiment, output, counts=[2], repeats=2, report=lambda name, *_: told.append(name))
    assert sorted(told) == ["patients_2/draw1/fold0", "patients_2/draw1/fold1"]
    (row, _) = read_rows(output / "learning_curve.csv")
    values = json.loads((output / "learning_curve.json").read_text())["points"][0]["values"]
    assert len(values) == int(row["draws"]) == 2
    assert [float(row["least"]), float(row["greatest"])] == sorted(values)
    assert np.mean(values) == pytest.approx(float(row["value"]))
    with pytest.raises(ConfigError, match="other settings"):
        learning_curve(experiment.model_copy(update={"seed": 4}), output, counts=[2])


def test_too_few_patients_and_no_test_are_told_before_anything_is_trained(tmp_path: Path, head_ct: Path) -> None:
    experiment = make_experiment(tmp_path, head_ct, *QUICK)
    with pytest.raises(ConfigError, match=r"patients_per_class=9.*Ask for at most"):
        learning_curve(experiment, tmp_path / "out", counts=[2, 9])
    rows = [{**row, "path": str(head_ct / row["path"]), "split": "train"} for row in read_rows(head_ct / "labels.csv")]
    manifest = write_rows(tmp_path / "labels.csv", rows)
    untested = make_experiment(tmp_path, head_ct, "training.epochs=1", f"data.manifest={manifest}")
    with pytest.raises(ConfigError, match="nothing to test on"):
        learning_curve(untested, tmp_path / "out", counts=[2])
    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_curve(
    done: Done, tmp_path: Path, head_ct: Path, seriatim_command: CommandLine
) -> None:
    config = write_config(tmp_path, head_ct, *QUICK)
    shown = seriatim_command("learning-curve", config, "--few-shot", " 2", "--output", done[0])
    assert shown.code == 0, shown.err
    assert "auc_mean_of_folds" in shown.out
    for wrong in ("", "1,2", "2,many", "-3"):
        refused = seriatim_command("learning-curve", config, f"--few-shot={wrong}", "--output", tmp_path / "x")
        assert refused.code == 2
        assert "is no list of numbers" in refused.err


def test_the_mean_of_draws_is_that_of_their_areas_and_its_interval_counts_patients() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, (60, 2)).astype(float)
    truth[3, 0] = np.nan
    clusters = Clusters(np.arange(60) // 2)
    draws = [truth * 0 + generator.random(truth.shape) + 0.5 * np.nan_to_num(truth) for _ in range(3)]
    for draw in draws:
        draw[np.isnan(truth)] = 0.5
    evaluations = []
    for draw, order in zip(draws, (np.arange(60), np.arange(60)[::-1], np.arange(55)), strict=True):
        samples = Samples(labels=truth, scores=draw, decisions=draw > 0, files=np.zeros(60, int), rows=np.arange(60),
                          clusters=clusters, clustered_by="patient")  # fmt: skip
        pairs = [SimpleNamespace(row=row) for row in range(60)]
        question = SimpleNamespace(target="multilabel", classes=("a", "b"))
        evaluations.append(SimpleNamespace(question=question, samples=samples.take(order), measures={},
                                           joined=SimpleNamespace(pairs=pairs)))  # fmt: skip
    estimates, values = average_draws(evaluations)
    own = []
    for draw in draws:
        both = [np.flatnonzero(~np.isnan(truth[:55, one])) for one in range(2)]
        own.append(np.mean([roc_auc(truth[known, one], draw[known, one]) for one, known in enumerate(both)]))
    assert list(estimates) == ["auc_macro"]
    assert values["auc_macro"] == pytest.approx(own)
    estimate = estimates["auc_macro"]
    assert estimate.value == pytest.approx(np.mean(own))
    assert (estimate.n, estimate.method) == (55, "bootstrap over patients")
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < np.mean(own) < estimate.high


def test_patients_without_a_label_are_not_counted_as_labelled(tmp_path: Path, head_ct: Path) -> None:
    rows = [{**row, "path": str(head_ct / row["path"])} for row in read_rows(head_ct / "labels.csv")]
    used = [row for row in rows if row["split"] != "test"]
    for row in used:
        row["bleed"] = "" if row["patient"] == used[0]["patient"] else row["bleed"]
    manifest = write_rows(tmp_path / "labels.csv", rows)
    experiment = make_experiment(tmp_path, head_ct, f"data.manifest={manifest}")
    plan = importlib.import_module("seriatim.studies.learning_curve")._plan
    (run,) = plan(experiment, tmp_path / "out", counts=[None], repeats=1)
    assert run.labelled == len({row["patient"] for row in used}) - 1


def test_what_changed_since_a_part_of_it_ran_is_refused(tmp_path: Path, head_ct: Path) -> None:
    """Else points of one curve would have learnt, and be tested on, different truths."""
    opened = importlib.import_module("seriatim.studies.learning_curve")._open
    rows = [{**row, "path": str(head_ct / row["path"]), "fold": place % 2, "patient": row["series_uid"]}
            for place, row in enumerate(read_rows(head_ct / "labels.csv"))]  # fmt: skip
    slices = read_rows(head_ct / "slices.csv")
    manifest, table = write_rows(tmp_path / "labels.csv", rows), write_rows(tmp_path / "slices.csv", slices)
    experiment = make_experiment(tmp_path, head_ct, f"data.manifest={manifest}", f"data.slice_labels={table}")

    def flip(row: dict[str, str]) -> dict[str, object]:
        return {**row, "bleed": 1 - int(row["bleed"])}

    first = opened(experiment, tmp_path / "out")
    for path, changed, said in (
        (manifest, [*rows[:-1], flip(rows[-1])], r"Labels of .* changed since"),
        (table, [flip(slices[0]), *slices[1:]], r"Labels of .* changed since"),
        (manifest, [*rows[:-1], {**rows[-1], "fold": 1 - rows[-1]["fold"]}], r"folds or splits of .* changed since"),
        (manifest, rows[:-1], r"The rows, .* changed since"),
    ):
        write_rows(path, changed)
        with pytest.raises(ConfigError, match=said):
            opened(experiment, tmp_path / "out")
        write_rows(path, rows if path == manifest else slices)
        assert opened(experiment, tmp_path / "out") == first


def test_a_draw_without_a_figure_leaves_valid_json(tmp_path: Path) -> None:
    """A fold of one class has no AUC, and JSON has no nan."""
    module = importlib.import_module("seriatim.studies.learning_curve")
    told = {"auc": Estimate(value=0.7, low=0.5, high=0.9, n=8), "auc_mean_of_folds": Estimate(value=None, n=8)}
    draws = {"auc": [0.6, 0.8], "auc_mean_of_folds": [float("nan"), float("nan")]}
    module._write(tmp_path, {"experiment": {"name": "few"}}, [
        module.Point(per_class=2, labelled=4.0, estimates=told, draws=draws)
    ])  # fmt: skip
    text = (tmp_path / "learning_curve.json").read_text()
    assert [one["values"] for one in json.loads(text)["points"]] == [[0.6, 0.8], [None, None]]
    assert "nan" not in (text + (tmp_path / "learning_curve.csv").read_text()).lower()
