"""The commands as a user meets them: exit codes, one sentence per error, nothing heavy where none is needed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
import yaml

from seriatim import __version__
from tiny_runs import CommandLine, Outcome, read_header, read_rows, write_config, write_rows

COMMANDS = ("inspect", "synth", "train", "tune", "learning-curve", "score", "explain", "evaluate")
LIGHT = """
import sys
from seriatim.cli import main
try:
    main()
finally:
    heavy = {"torch", "monai", "torchvision", "matplotlib", "lightning_fabric"} & set(sys.modules)
    assert not heavy, heavy
"""


def run_light(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own that fails when something heavy was imported."""
    command = [sys.executable, "-c", LIGHT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def assert_one_sentence(outcome: Outcome) -> None:
    """Exit code 2, and on stderr the error alone."""
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("seriatim: "), outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


@pytest.fixture
def case(tmp_path: Path, head_ct: Path) -> Path:
    folder = tmp_path / "studies" / "good"
    shutil.copytree(head_ct / read_rows(head_ct / "labels.csv")[1]["path"], folder)
    return folder


def add_pet(case: Path) -> Path:
    """A second series beside the first, of another modality."""
    folder = case.parent / "pet"
    shutil.copytree(case, folder)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.Modality, dataset.SeriesInstanceUID = "PT", "1.2.3.4"
        dataset.save_as(path)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_is_light(command: str) -> None:
    done = run_light(command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"seriatim {command} " in re.sub(r"\s+", " ", done.stdout.replace("│", " "))
    assert "Example" in done.stdout


def test_version_and_overview_are_light() -> None:
    done = run_light("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"seriatim {__version__}"), done.stderr
    overview = run_light("--help")
    assert overview.returncode == 0, overview.stderr
    assert all(command in overview.stdout for command in COMMANDS)


def test_synth_and_inspect_are_light(tmp_path: Path) -> None:
    done = run_light("synth", "head-ct", tmp_path / "data", "--count", 2, "--seed", 3, "--size", 32)
    assert done.returncode == 0, done.stderr
    assert "2 series of 2 patients" in done.stdout
    done = run_light("inspect", tmp_path / "data", "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 series usable" in done.stdout
    assert len(json.loads((tmp_path / "found.json").read_text())["series"]) == 2


def test_train_resume_score_explain_evaluate(tmp_path: Path, head_ct: Path, seriatim_command: CommandLine) -> None:
    config, run, out = write_config(tmp_path, head_ct), tmp_path / "run", tmp_path / "out"
    done = seriatim_command("train", config, "--set", "training.epochs=1", "--output", run)
    assert done.code == 0, done.err
    assert "best epoch 1 of 1; validation auc" in done.out
    done = seriatim_command("train", "--resume", run, "--set", "training.epochs=2")
    assert done.code == 0, done.err
    assert "of 2; validation" in done.out

    done = seriatim_command("score", head_ct, "--model", run, "--output", out, "--split", "test", "--device", "cpu")
    assert done.code == 0, done.err
    expected = {row["series_uid"] for row in read_rows(head_ct / "labels.csv") if row["split"] == "test"}
    assert {row["series_uid"] for row in read_rows(out / "scores.csv")} == expected

    options = ("--split", "test", "--limit", 2, "--device", "cpu")
    done = seriatim_command("explain", head_ct, "--model", run, "--output", tmp_path / "pictures", *options)
    assert done.code == 0, done.err
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2

    tables = ("--labels", head_ct / "labels.csv", "--slices", head_ct / "slices.csv")
    done = seriatim_command("evaluate", out / "scores.csv", *tables, "--output", tmp_path / "eval")
    assert done.code == 0, done.err
    assert "auc" in done.out
    assert (tmp_path / "eval" / "evaluation.json").is_file()


def test_score_exit_codes(tmp_path: Path, case: Path, tiny_run: Path, seriatim_command: CommandLine) -> None:
    options = ("--model", tiny_run, "--device", "cpu", "--output")
    assert seriatim_command("score", case.parent, *options, tmp_path / "all").code == 0
    pet = add_pet(case)
    some = seriatim_command("score", case.parent, *options, tmp_path / "some")
    assert some.code == 8
    assert "1 scored, 1 refused, 0 failed of 2 series" in some.out
    assert "says why" in some.err
    nothing = seriatim_command("score", pet, *options, tmp_path / "none")
    assert nothing.code == 3
    (row,) = read_rows(tmp_path / "none" / "scores.csv")
    assert row["reason"] == "MODALITY: the series is PT, the model is for CT."
    (tmp_path / "empty").mkdir()
    assert seriatim_command("score", tmp_path / "empty", *options, tmp_path / "nothing").code == 3
    assert read_rows(tmp_path / "nothing" / "scores.csv") == []


def test_explain_exit_codes(tmp_path: Path, case: Path, tiny_run: Path, seriatim_command: CommandLine) -> None:
    options = ("--model", tiny_run, "--device", "cpu", "--output")
    pet = add_pet(case)
    some = seriatim_command("explain", case.parent, *options, tmp_path / "some")
    assert some.code == 8
    assert "1 of 2 series explained" in some.out
    assert seriatim_command("explain", pet, *options, tmp_path / "none").code == 3
    assert_one_sentence(seriatim_command("explain", tmp_path / "absent", *options, tmp_path / "x"))


def test_exit_codes_of_the_real_process(tmp_path: Path, case: Path, tiny_run: Path) -> None:
    add_pet(case)
    command = [Path(sys.executable).with_name("seriatim"), "score", case.parent, "--output", tmp_path / "out"]
    some, wrong = (
        subprocess.run([*command, "--model", model], capture_output=True, text=True, check=False, timeout=120)
        for model in (tiny_run, tmp_path)
    )
    assert some.returncode == 8, some.stderr
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("seriatim: ")
    assert "Traceback" not in wrong.stderr
    assert "\x1b" not in some.stdout + some.stderr  # no bar and no colour where there is no terminal


def test_the_package_runs_as_a_module() -> None:
    shown = subprocess.run([sys.executable, "-m", "seriatim", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("seriatim ")


def test_a_changed_model_is_refused(tmp_path: Path, case: Path, tiny_run: Path, seriatim_command: CommandLine) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    weights = bytearray((run / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (run / "model.safetensors").write_bytes(weights)
    done = seriatim_command("score", case, "--model", run, "--output", tmp_path / "out")
    assert_one_sentence(done)
    assert "is not the file that was trained" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epoch=3", "training.epoch is not a setting. Did you mean epochs?"),
        ("trainning.epochs=3", "trainning is not a setting. Did you mean training?"),
        ("network.pooling={kind: attenton}", "'attention'"),
        ("network.encoder.nme=x", "network.encoder"),
        ("training.epochs=many", "training.epochs: "),
        ("training.epochs=0", "greater than or equal to 1"),
        ("training.epochs", "is not KEY=VALUE"),
        ("name.first=x", "holds a value, not a group"),
        ("training.epochs=[1", "not valid YAML"),
        ("data.manifest=absent.csv", "absent.csv"),
        ("task.labels=[haemorrhage]", "'haemorrhage'"),
        ("data.patient=person", "'person'"),
        ("data.fold=9", "fold"),
        ("data.slice_labels=null", "slice_loss_weight needs data.slice_labels"),
        ("training.accelerator=tpu", "training.accelerator"),
        pytest.param(
            "training.accelerator=cuda", "'cuda' is not there; this machine has cpu",
            marks=pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="this machine has a GPU"),
        ),
        ("preprocessing.kind=ctt", "preprocessing"),
        ("network.encoder={kind: torchvision, name: resnet51}", "resnet50"),
        ("network.encoder.weights=absent.safetensors", "absent.safetensors"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_sentence_with_the_repair(
    tmp_path: Path, head_ct: Path, seriatim_command: CommandLine, override: str, said: str
) -> None:
    config = write_config(tmp_path, head_ct)
    done = seriatim_command("train", config, "--set", override, "--output", tmp_path / "run")
    assert_one_sentence(done)
    assert said in done.err
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "not valid YAML"), ("- a\n- b\n", "must hold a mapping"), ("a: &x 1\nb: *x\n", "alias"),
        ("name: tiny\n", "data"), ("", "must hold a mapping"), ("a: !!python/object/apply:os.getcwd []\n", "not valid"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_config_is_one_sentence(
    tmp_path: Path, seriatim_command: CommandLine, text: str, said: str
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    done = seriatim_command("train", tmp_path / "bad.yaml", "--output", tmp_path / "run")
    assert_one_sentence(done)
    assert said in done.err


def test_a_patient_in_two_splits_is_one_sentence_without_the_patient(
    tmp_path: Path, head_ct: Path, seriatim_command: CommandLine
) -> None:
    rows = read_rows(head_ct / "labels.csv")
    for row in rows:
        row["path"] = str(head_ct / row["path"])
    rows[0]["patient"] = next(row["patient"] for row in rows if row["split"] == "val")
    manifest = write_rows(tmp_path / "labels.csv", rows)
    config = write_config(tmp_path, head_ct)
    done = seriatim_command("train", config, "--set", f"data.manifest={manifest}", "--output", tmp_path / "run")
    assert_one_sentence(done)
    assert "in more than one split" in done.err
    assert rows[0]["patient"] not in done.err


def test_train_wants_a_config_or_a_run(tmp_path: Path, tiny_run: Path, seriatim_command: CommandLine) -> None:
    assert_one_sentence(seriatim_command("train"))
    assert_one_sentence(seriatim_command("train", tmp_path / "absent.yaml"))
    assert_one_sentence(seriatim_command("train", tiny_run / "config.yaml", "--output", tiny_run))
    assert_one_sentence(seriatim_command("train", "--resume", tmp_path))
    assert_one_sentence(seriatim_command("train", tiny_run / "config.yaml", "--resume", tiny_run))
    assert_one_sentence(seriatim_command("train", "--resume", tiny_run, "--output", tmp_path / "other"))


def test_a_stopped_training_says_how_to_go_on(
    tmp_path: Path, head_ct: Path, seriatim_command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.training import loop

    config, run = write_config(tmp_path, head_ct), tmp_path / "run"

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as pressed:
        pressed.setattr(loop, "_step", stop)
        done = seriatim_command("train", config, "--output", run)
    assert done.code == 130
    assert f"seriatim train --resume {run}" in done.err
    assert "Traceback" not in done.err
    assert seriatim_command("train", "--resume", run).code == 0


def test_an_interrupted_command_is_exit_code_130(
    tmp_path: Path, head_ct: Path, tiny_run: Path, seriatim_command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.scoring import run as batch_run

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch_run, "predict_all", stop)
    done = seriatim_command("score", head_ct, "--model", tiny_run, "--output", tmp_path / "out")
    assert done.code == 130
    assert "Traceback" not in done.err


def test_wrong_arguments_are_exit_code_2(
    tmp_path: Path, case: Path, tiny_run: Path, seriatim_command: CommandLine
) -> None:
    scoring = ("score", case, "--model", tiny_run, "--output", tmp_path / "out")
    assert seriatim_command("score", case).code == 2
    assert seriatim_command("nonsense").code == 2
    assert seriatim_command(*scoring, "--tpo", "3").code == 2
    for name in ("tpu", "cuda:99"):
        done = seriatim_command(*scoring, "--device", name)
        assert_one_sentence(done)
        assert name in done.err
    done = seriatim_command(*scoring, "--split", "validate")
    assert_one_sentence(done)
    assert "train, val or test" in done.err
    assert_one_sentence(seriatim_command("synth", "hed-ct", tmp_path / "s"))
    assert_one_sentence(seriatim_command("synth", "head-ct", case))
    assert_one_sentence(seriatim_command("inspect", tmp_path / "absent"))


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("seriatim"), "--debug", "inspect", tmp_path / "absent"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert "Traceback" in done.stderr
    assert "InputError" in done.stderr


def test_a_config_with_its_defaults_written_out_is_the_same(tmp_path: Path, head_ct: Path) -> None:
    from seriatim.experiment import Experiment

    experiment = Experiment.read(write_config(tmp_path, head_ct))
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
    assert Experiment.read(again) == experiment


def test_regression_columns_are_values(tmp_path: Path, head_ct: Path, seriatim_command: CommandLine) -> None:
    rows = read_rows(head_ct / "labels.csv")
    slices = {row["series_uid"]: 0 for row in rows}
    for row in read_rows(head_ct / "slices.csv"):
        slices[row["series_uid"]] += int(row["bleed"])
    for row in rows:
        row["path"], row["bleeding_slices"] = str(head_ct / row["path"]), str(slices[row["series_uid"]])
    manifest = write_rows(tmp_path / "labels.csv", rows)
    overrides = ["task={kind: diagnosis, target: regression, labels: [bleeding_slices]}", f"data.manifest={manifest}"]
    config = write_config(tmp_path, head_ct, *overrides)
    done = seriatim_command("train", config, "--output", tmp_path / "refused")
    assert_one_sentence(done)
    assert "or it has no column bleeding_slices" in done.err
    overrides.append("data.slice_labels=null")
    config, run = write_config(tmp_path, head_ct, *overrides), tmp_path / "run"
    assert seriatim_command("train", config, "--output", run).code == 0
    assert seriatim_command("score", rows[0]["path"], "--model", run, "--output", tmp_path / "out").code == 0
    assert "value_bleeding_slices" in read_header(tmp_path / "out" / "scores.csv")
    assert "score_bleeding_slices" not in read_header(tmp_path / "out" / "slices.csv")


def test_an_amount_of_memory_that_is_none(tmp_path: Path, seriatim_command: CommandLine) -> None:
    for amount in ("0", "-1", "nan", "inf"):
        told = seriatim_command("score", tmp_path, "--model", "x", "--output", tmp_path / "out", "--memory", amount)
        assert told.code == 2
        assert_one_sentence(told)
        assert f"--memory {float(amount):g}" in told.err


@pytest.mark.parametrize("options", [
    ("--cluster", "local", "--workers", "2"), ("--cluster", "local", "--memory", "2"),
    ("--dry-run", "--watch"), ("--dry-run", "--cluster", "local"),
    ("--dry-run", "--dicom-results", "results"),
])
def test_options_of_score_that_would_do_nothing_are_refused(
    tmp_path: Path, options: tuple[str, ...], seriatim_command: CommandLine
) -> None:
    told = seriatim_command("score", tmp_path, "--model", tmp_path, "--output", tmp_path / "out", *options)
    assert told.code == 2
    assert "do not go together" in told.err
    assert all(name in told.err for name in options if name.startswith("--"))
    assert not (tmp_path / "out").exists()
