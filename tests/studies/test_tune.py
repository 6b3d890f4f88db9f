"""Tuning: judged on validation alone, the same after a stop, shared by processes, honest when nested."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from seriatim.errors import ConfigError
from seriatim.experiment import Experiment
from seriatim.studies import tune, tune_nested
from seriatim.training import train
from tiny_runs import CT_CONFIG, CommandLine, read_rows, write_rows

SEARCH: dict[str, Any] = {
    "training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "network.temporal": [{"kind": "lstm", "hidden": 4}, {"kind": "none"}],
    "training.batch_size": {"low": 2, "high": 4},
}
COMPARED = ("trial", "state", "auc", "log_loss", "epochs", "reason", *SEARCH)


def make(head_ct: Path, *overrides: str, search: Mapping[str, Any] = SEARCH, **tuning: object) -> Experiment:
    """Two-stage on ``head_ct`` in three folds, the first left out."""
    content = {
        **CT_CONFIG,
        "data": {"manifest": str(head_ct / "labels.csv"), "slice_labels": str(head_ct / "slices.csv"), "folds": 3,
                 "fold": "0"},
        "training": {**CT_CONFIG["training"], "mode": "two-stage"},
        "tune": {"search": dict(search), "trials": 3, "pruning": "none", **tuning},
    }  # fmt: skip
    config = yaml.safe_load(yaml.safe_dump(content))
    for override in overrides:
        key, _, value = override.partition("=")
        block, _, name = key.partition(".")
        config[block][name] = yaml.safe_load(value)
    return Experiment.from_content(config, where="test")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, head_ct: Path) -> Path:
    """A study whose test series do not exist. Never write into it."""
    folder = tmp_path_factory.mktemp("study")
    tune(without_test_files(make(head_ct), folder), folder / "out")
    return folder / "out"


def without_test_files(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with its folds in a column, and for every series of the left-out fold a path to nothing."""
    from seriatim.training import fold_table

    manifest = experiment.data.manifest
    folds = {row["path"]: row["fold"] for row in fold_table(experiment)}
    rows = [{**row, "fold": folds[row["path"]], "path": str(manifest.parent / row["path"])} for row in
            read_rows(manifest)]  # fmt: skip
    for row in rows:
        if row["fold"] == "0":
            row["path"] += "-is-elsewhere"
    assert sum(not Path(row["path"]).exists() for row in rows) >= 3
    moved = write_rows(folder / "labels.csv", rows)
    return experiment.model_copy(
        update={"data": experiment.data.model_copy(update={"manifest": moved, "folds": None})}
    )


def compared(output: Path) -> list[dict[str, str]]:
    return [{name: row[name] for name in COMPARED} for row in read_rows(output / "trials.csv")]


def test_test_series_are_never_looked_for_and_the_best_is_a_whole_config(study: Path, head_ct: Path) -> None:
    rows = read_rows(study / "trials.csv")
    assert [row["state"] for row in rows] == ["complete"] * 3
    assert len({row["training.learning_rate"] for row in rows}) == 3
    assert "elsewhere" not in "".join(path.read_text() for path in study.glob("trials/*/part0/manifest.csv"))
    best = max(rows, key=lambda row: (float(row["auc"]), -float(row["log_loss"])))
    chosen = json.loads((study / "chosen.json").read_text())
    assert chosen["trial"] == int(best["trial"])
    experiment = Experiment.read(study / "best.yaml")
    assert experiment.training.learning_rate == float(best["training.learning_rate"])
    assert experiment.training.batch_size == int(best["training.batch_size"])
    assert experiment.tune is None
    assert experiment.data.fold == "0"
    assert (study / "trials.png").stat().st_size > 10_000
    assert not list(study.glob("trials/*/part0/*.safetensors"))
    assert list((study / "embeddings").rglob("*.npy"))


def test_the_best_trained_again_says_on_validation_what_its_trial_said(
    study: Path, head_ct: Path, tmp_path: Path
) -> None:
    """The validation split of a trial is that of ``train`` with the same fold left out."""
    best = Experiment.read(study / "best.yaml")
    whole = make(head_ct).data
    summary = train(best.model_copy(update={"data": whole}), tmp_path / "run")
    chosen = json.loads((study / "chosen.json").read_text())
    assert summary["validation"]["auc"] == chosen["value"]
    assert summary["validation"]["log_loss"] == float(read_rows(study / "trials.csv")[chosen["trial"]]["log_loss"])


def test_a_study_stopped_anywhere_ends_as_one_that_was_not(
    study: Path, head_ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.studies import trial

    experiment, output = without_test_files(make(head_ct), tmp_path), tmp_path / "out"
    calls = []

    def watch(self: object, epoch: int, metrics: Mapping[str, float]) -> None:
        calls.append(epoch)
        if len(calls) == 3:  # after the first epoch of the second trial
            raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr(trial._Watch, "__call__", watch)
        with pytest.raises(KeyboardInterrupt):
            tune(experiment, output)
    assert len(read_rows(output / "trials.csv")) == 1
    with (output / "journal.log").open("a") as journal:
        journal.write('{"op_code": 4, "torn')
    tune(experiment, output)
    assert compared(output) == compared(study)
    lines = [json.loads(line) for line in (output / "trials/0001/part0/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]


def test_more_trials_go_on_and_other_settings_or_data_are_refused(study: Path, head_ct: Path, tmp_path: Path) -> None:
    experiment, output = without_test_files(make(head_ct), tmp_path), tmp_path / "out"
    told: list[int] = []
    tune(make_trials(experiment, 1), output)
    tune(experiment, output, report=lambda number, *_: told.append(number))
    assert told == [1, 2]
    assert compared(output) == compared(study)
    with pytest.raises(ConfigError, match="other settings"):
        tune(experiment.model_copy(update={"seed": 5}), output)
    rows = read_rows(tmp_path / "labels.csv")
    write_rows(tmp_path / "labels.csv", [row for row in rows if row["fold"] == "0" or row is not rows[-1]][:-1])
    with pytest.raises(ConfigError, match="manifest changed"):
        tune(experiment, output)


def make_trials(experiment: Experiment, count: int) -> Experiment:
    assert experiment.tune is not None
    return experiment.model_copy(update={"tune": experiment.tune.model_copy(update={"trials": count})})


def test_a_trial_that_diverges_is_a_failed_trial_with_its_reason(head_ct: Path, tmp_path: Path) -> None:
    search = {"training.learning_rate": [1e-3, 1e30], "network.dropout": {"low": 0.0, "high": 0.5}}
    tuned = tune(make(head_ct, search=search, trials=4), tmp_path / "out")
    rows = read_rows(tmp_path / "out" / "trials.csv")
    failed = [row for row in rows if row["state"] == "fail"]
    assert failed
    assert all("diverged" in row["reason"] for row in failed)
    assert all(row["training.learning_rate"] == "1e+30" for row in failed)
    assert tuned.best.training.learning_rate == 1e-3
    assert tuned.counts == {"fail": len(failed), "complete": 4 - len(failed)}


def test_a_study_without_a_finished_trial_says_why(head_ct: Path, tmp_path: Path) -> None:
    search = {"training.learning_rate": [1e29, 1e30]}
    with pytest.raises(ConfigError, match=r"No trial .* was finished; the first one's reason: Training diverged"):
        tune(make(head_ct, search=search, trials=2), tmp_path / "out")


def test_a_hopeless_trial_is_stopped_early(
    head_ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna

    from seriatim.studies import trials

    class StopSecond(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return trial.number == 1 and trial.last_step == 3  # the first epoch of the second part

    monkeypatch.setattr(trials, "_build_pruner", lambda *_, **__: StopSecond())
    tune(make(head_ct, trials=2, folds=2), tmp_path / "out")
    first, second = read_rows(tmp_path / "out" / "trials.csv")
    assert (first["state"], first["epochs"]) == ("complete", "4")
    assert (second["state"], second["epochs"]) == ("pruned", "3")


def test_folds_and_seeds_are_averaged(head_ct: Path, tmp_path: Path) -> None:
    tune(make(head_ct, "training.epochs=1", trials=1, folds=2, seeds=2), tmp_path / "out")
    (row,) = read_rows(tmp_path / "out" / "trials.csv")
    parts = sorted((tmp_path / "out" / "trials" / "0000").glob("part*"))
    values = [json.loads((part / "metrics.jsonl").read_text())["val_auc"] for part in parts]
    assert len(values) == 4
    assert float(row["auc"]) == pytest.approx(sum(values) / 4)
    configs = [yaml.safe_load((part / "config.yaml").read_text()) for part in parts]
    assert [(one["data"]["split"], one["seed"]) for one in configs] == [
        ("tune_split_0", 0), ("tune_split_0", 1), ("tune_split_1", 0), ("tune_split_1", 1)
    ]  # fmt: skip


@pytest.mark.slow
def test_nested_tuning_scores_each_fold_by_what_was_chosen_without_it(head_ct: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = tune_nested(make(head_ct, "training.epochs=1", trials=1), output)
    assert done.evaluation.joined.labelled == len(done.evaluation.samples.labels) == 12
    held_out = {row["path"]: row["fold"] for row in read_rows(output / "folds.csv")}
    for fold, folder in done.folders.items():
        seen = {Path(row["path"]).name for row in read_rows(folder / "tune" / "development.csv")}
        left = {Path(path).name for path, own in held_out.items() if own == fold}
        assert not seen & left
        assert len(seen) + len(left) == 12
        chosen = json.loads((folder / "tune" / "chosen.json").read_text())["values"]
        trained = yaml.safe_load((folder / "run" / "config.yaml").read_text())
        assert trained["training"]["learning_rate"] == chosen["training.learning_rate"]
    assert [row["fold"] for row in read_rows(output / "chosen.csv")] == list(done.folders)


def test_without_optuna_the_repair_is_named(head_ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r'pip install "seriatim\[tune\]"'):
        tune(make(head_ct), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_was_found_and_what_it_is_not(
    study: Path, head_ct: Path, tmp_path: Path, seriatim_command: CommandLine
) -> None:
    config = tmp_path / "config.yaml"
    content = json.loads((study / "tune.json").read_text())["experiment"]
    config.write_text(yaml.safe_dump(content))
    done = seriatim_command("tune", config, "--trials", 3, "--output", study)
    assert done.code == 0, done.err
    assert "3 trials: 3 finished." in done.out
    assert "optimistic" in done.out
    assert f"seriatim train {study / 'best.yaml'}" in done.out.replace("\n", "")
    refused = seriatim_command("tune", config, "--nested", "--fold", 0, "--output", tmp_path / "x")
    assert refused.code == 2


@pytest.mark.slow
def test_killed_and_shared_by_processes_a_study_has_every_trial_once(head_ct: Path, tmp_path: Path) -> None:
    experiment, output = make(head_ct, "training.epochs=3", trials=6), tmp_path / "out"
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
    command = [sys.executable, "-m", "seriatim", "tune", str(config), "--output", str(output)]
    killed = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert killed.stderr is not None
    assert "trial 0" in killed.stderr.readline()
    killed.kill()
    killed.wait()
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.wait(timeout=280) for process in both] == [0, 0]
    tune(experiment, output, jobs=2)
    rows = read_rows(output / "trials.csv")
    assert [row["trial"] for row in rows] == [str(number) for number in range(6)]
    assert {row["state"] for row in rows} == {"complete"}
    assert {row["epochs"] for row in rows} == {"3"}
