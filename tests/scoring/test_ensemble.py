"""Several models as one: the mean of their probabilities, their disagreement, and who may be averaged at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seriatim.errors import ModelError
from seriatim.scoring import score
from seriatim.trained import Model, ensemble, load_ensemble, load_model
from seriatim.training import train
from tiny_runs import CommandLine, make_experiment, read_header, read_rows, write_rows

TWO_STAGE = ("training.mode=two-stage", "training.epochs=1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, head_ct: Path, tiny_run: Path) -> list[Path]:
    """The tiny run, another of its kind, and one that sees other pictures in four views."""
    folder = tmp_path_factory.mktemp("members")
    train(make_experiment(folder, head_ct, "training.epochs=1", "seed=1"), folder / "other")
    views = "test_time={flip_left_right: true, reverse_order: true}"
    train(make_experiment(folder, head_ct, "training.epochs=1", "seed=2", "preprocessing.size=24", views),
          folder / "views")
    return [tiny_run, folder / "other", folder / "views"]


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory, head_ct: Path) -> list[Path]:
    """Two runs with one frozen encoder."""
    folder = tmp_path_factory.mktemp("frozen")
    for name in ("lstm", "gru"):
        train(make_experiment(folder, head_ct, *TWO_STAGE, f"network.temporal.kind={name}"), folder / name)
    return [folder / "lstm", folder / "gru"]


def score_into(output: Path, data: Path, model: object, **options: object) -> dict[str, dict[str, str]]:
    score(data, model=model, output=output, device="cpu", **options)
    return {row["series_uid"]: row for row in read_rows(output / "scores.csv")}


def some(head_ct: Path, count: int = 2) -> set[str]:
    return {row["series_uid"] for row in read_rows(head_ct / "labels.csv")[:count]}


def test_the_score_is_the_mean_and_the_disagreement_the_spread(
    tmp_path: Path, head_ct: Path, runs: list[Path]
) -> None:
    only = some(head_ct)
    alone = [score_into(tmp_path / str(place), head_ct, run, only=only) for place, run in enumerate(runs)]
    found = score_into(tmp_path / "all", head_ct, runs, only=only)
    assert read_header(tmp_path / "all" / "scores.csv")[-1] == "disagreement_bleed"
    for uid, row in found.items():
        members = np.array([float(one[uid]["probability_bleed"]) for one in alone])
        assert float(row["probability_bleed"]) == pytest.approx(members.mean(), abs=1e-12)
        assert float(row["disagreement_bleed"]) == pytest.approx(members.std(), abs=1e-12)
        assert members.std() > 0
    slices = [read_rows(tmp_path / name / "slices.csv") for name in ("0", "1", "2", "all")]
    for *own, row in zip(*slices, strict=True):
        assert {one["sop_instance_uid"] for one in own} == {row["sop_instance_uid"]}
        for column in ("attention", "score_bleed"):
            assert float(row[column]) == pytest.approx(np.mean([float(one[column]) for one in own]), abs=1e-12)


def test_the_order_of_the_models_changes_no_bit(tmp_path: Path, head_ct: Path, runs: list[Path]) -> None:
    only = some(head_ct, 1)
    score_into(tmp_path / "a", head_ct, runs, only=only)
    score_into(tmp_path / "b", head_ct, runs[::-1], only=only)
    assert (tmp_path / "a" / "slices.csv").read_bytes() == (tmp_path / "b" / "slices.csv").read_bytes()
    told = [json.loads((tmp_path / name / "run.json").read_text()) for name in "ab"]
    assert told[0]["model"] == told[1]["model"]
    assert {one["digest"] for one in told[0]["model"]["members"]} == {load_model(run).digest for run in runs}
    assert [one["test_time"]["reverse_order"] for one in told[0]["model"]["members"]].count(True) == 1


def test_thresholds_are_the_mean_of_the_members_and_said_to_be(
    tmp_path: Path, head_ct: Path, runs: list[Path]
) -> None:
    found = score_into(tmp_path, head_ct, runs)
    told = json.loads((tmp_path / "run.json").read_text())
    expected = np.mean([load_model(run).thresholds["bleed"] for run in runs])
    assert told["thresholds"]["bleed"] == pytest.approx(expected)
    assert "not validated" in told["thresholds_from"]
    assert all((row["prediction"] == "1") == (float(row["probability_bleed"]) >= expected) for row in found.values())


def test_what_one_model_was_trained_on_all_were(
    tmp_path: Path, head_ct: Path, runs: list[Path]
) -> None:
    rows = read_rows(runs[1] / "manifest.csv")
    test = next(row for row in rows if row["split"] == "test")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("model.safetensors", "model.json"):
        (other / name).write_bytes((runs[1] / name).read_bytes())
    write_rows(other / "manifest.csv", [row | {"split": "train", "status": "used"} for row in rows])
    both = load_ensemble([runs[0], other])
    assert load_ensemble(runs[0]).read_splits()[test["series_uid"]] == "test"
    assert both.read_splits()[test["series_uid"]] == "train"
    assert both.find_split("train") == {row["series_uid"] for row in rows}


def test_the_file_is_read_once_and_prepared_and_embedded_once_per_kind(
    tmp_path: Path, head_ct: Path, runs: list[Path], frozen: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.scoring import engine
    from seriatim.trained import ensemble

    calls: list[str] = []

    def counted(name: str, original: object) -> object:
        def call(*arguments: object, **options: object) -> object:
            calls.append(name)
            return original(*arguments, **options)

        return call

    monkeypatch.setattr(engine, "read_volume", counted("read", engine.read_volume))
    monkeypatch.setattr(ensemble, "prepare_series", counted("prepare", ensemble.prepare_series))
    monkeypatch.setattr(Model, "embed", counted("embed", Model.embed))
    together = score_into(tmp_path / "all", head_ct, [*runs, *frozen], only=some(head_ct, 1))
    assert [calls.count(name) for name in ("read", "prepare", "embed")] == [1, 2, 4]
    pair = score_into(tmp_path / "pair", head_ct, frozen, only=some(head_ct, 1))
    alone = [score_into(tmp_path / run.name, head_ct, run, only=some(head_ct, 1)) for run in frozen]
    for uid in together:
        members = [float(one[uid]["probability_bleed"]) for one in alone]
        assert float(pair[uid]["probability_bleed"]) == pytest.approx(np.mean(members), abs=1e-15)


def test_a_series_that_one_model_refuses_is_refused(tmp_path: Path, head_ct: Path, runs: list[Path]) -> None:
    first, second = (load_model(run) for run in runs[:2])
    narrow = replace(second, envelope=replace(second.envelope, planes=("sagittal",)))
    found = score_into(tmp_path, head_ct, [first, narrow], only=some(head_ct))
    assert {row["status"] for row in found.values()} == {"refused"}
    assert all(row["reason"].startswith("PLANE: ") and "Model " in row["reason"] for row in found.values())
    assert {row["disagreement_bleed"] for row in found.values()} == {""}


def changed(model: Model, **parts: object) -> Model:
    task = model.experiment.task.model_copy(update=parts)
    return replace(model, digest="another", experiment=model.experiment.model_copy(update={"task": task}))


def test_models_of_different_questions_are_not_averaged(runs: list[Path]) -> None:
    first = load_model(runs[0])
    wrong = {
        "task.labels": changed(first, labels=("fracture",)),
        "task.target": changed(first, target="multilabel"),
        "the axis of series": replace(first, digest="x", envelope=replace(first.envelope, axis="time")),
        "data.findings": replace(
            first, digest="x", experiment=first.experiment.model_copy(
                update={"data": first.experiment.data.model_copy(update={"findings": {"GAP": "keep"}})}
            ),
        ),
    }
    for name, other in wrong.items():
        with pytest.raises(ModelError, match=name):
            load_ensemble([first, other])
    mr = replace(first, digest="x", envelope=replace(first.envelope, modalities=("MR",)))
    assert ensemble._tell_modalities(first, mr) == ("", "")  # preprocessing says CT for both
    with pytest.raises(ModelError, match="given twice"):
        load_ensemble([runs[0], runs[0]])
    with pytest.raises(ModelError, match="No model"):
        load_ensemble([])


def test_several_models_have_no_prediction_sets(tmp_path: Path, head_ct: Path, runs: list[Path]) -> None:
    """Each member's promise is about its own probabilities, and none is made about their mean."""
    from seriatim.tasks.conformal import Conformal

    sets = Conformal(coverage=0.9, bounds=(0.1, 0.1))
    first, second = (replace(one, task=replace(one.task, conformal=sets)) for one in map(load_model, runs[:2]))
    assert score_into(tmp_path / "one", head_ct, first, only=some(head_ct, 1)).popitem()[1]["prediction_set"]
    assert not score_into(tmp_path / "two", head_ct, [first, second], only=some(head_ct, 1)).popitem()[1][
        "prediction_set"
    ]


def test_the_commands_take_several_models(
    tmp_path: Path, head_ct: Path, runs: list[Path], seriatim_command: CommandLine
) -> None:
    case = head_ct / read_rows(head_ct / "labels.csv")[0]["path"]
    models = ("--model", runs[0], "--model", runs[1])
    done = seriatim_command("score", case, *models, "--output", tmp_path / "out")
    assert done.code == 0, done.err
    assert "disagreement_bleed" in read_header(tmp_path / "out" / "scores.csv")
    held_out = seriatim_command("score", head_ct, *models, "--output", tmp_path / "held", "--split", "test")
    assert held_out.code == 0
    assert {row["split"] for row in read_rows(tmp_path / "held" / "scores.csv")} == {"test"}
    explained = seriatim_command("explain", case, *models, "--output", tmp_path / "pictures")
    assert explained.code == 0
    assert read_rows(tmp_path / "pictures" / "explanations.csv")[0]["status"] == "explained"
