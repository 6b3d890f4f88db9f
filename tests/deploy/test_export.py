"""From a run to its export and back: kept where scores agree, refused where they do not, and never mixed up."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from anomaly_runs import train_run
from seriatim.deploy import find_doubt, largest_logit_move, largest_moves
from seriatim.errors import ConfigError, ModelError
from seriatim.trained import Model, load_model, load_scorer
from seriatim.trained.backends import choose_compute
from seriatim.trained.device import CUBLAS, CUBLAS_WORKSPACE, compute_exactly
from tiny_runs import CommandLine, read_rows

pytest.importorskip("onnxruntime", reason="needs seriatim[onnx]")
pytest.importorskip("onnxscript", reason="needs seriatim[onnx]")

ROUGH = 0.2
"""Two epochs leave a tiny network that 8 bits move far: these tests are about what is done, not about how well."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    """The tiny run, exported in every way. Never write into it."""
    from seriatim.deploy import export_run

    run = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(tiny_run, run)
    model = load_model(run)
    export_run(model, choose_compute(backend="onnx", device="cpu"))
    export_run(model, choose_compute(backend="onnx", precision="int8", device="cpu"), tolerance=ROUGH)
    export_run(model, choose_compute(precision="bf16", device="cpu"), tolerance=ROUGH)
    return run


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(exported, tmp_path / "run"))


def only(scorer: object) -> Model:
    return scorer.members[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("backend", "precision", "most"), [
    ("onnx", "fp32", 1e-4), ("onnx", "int8", ROUGH), ("torch", "bf16", ROUGH),
])
def test_an_exported_model_scores_nearly_as_the_run_and_the_same_each_time(
    exported: Path, backend: str, precision: str, most: float
) -> None:
    plain, model = load_model(exported), only(load_scorer(exported, backend=backend, precision=precision))
    torch.manual_seed(0)
    slices = torch.rand(19, 2, 32, 32)
    mine, theirs = (one.read(one.embed(slices)) for one in (plain, model))
    moved = float((theirs.probabilities - mine.probabilities).abs().max())
    assert moved < most
    assert precision == "fp32" or moved > 1e-9, "the exported files were not used"
    assert float((theirs.slice_probabilities - mine.slice_probabilities).abs().max()) < most
    assert abs(float(theirs.attention.sum()) - 1) < 1e-5
    again = only(load_scorer(exported, backend=backend, precision=precision))
    alone = torch.cat([again.embed(one[None])[0] for one in slices])
    assert torch.equal(alone, model.embed(slices)[0]), "an embedding depends on the slices beside it"
    assert torch.equal(again.read(again.embed(slices)).probabilities, theirs.probabilities)


def test_the_largest_move_is_that_of_parity_and_of_validation() -> None:
    report = {"parity": {"largest_difference": {"probability": 2e-4, "attention": 1e-6}},
              "validation": {"largest_difference": {"probability": 1e-5, "slice_score": 3e-4}}}
    assert largest_moves(report) == {"probability": 2e-4, "attention": 1e-6, "slice_score": 3e-4}
    assert largest_moves({**report, "validation": {"series": 0}}) == report["parity"]["largest_difference"]


def test_a_model_that_is_certain_of_all_passes_with_a_warning_and_its_logits(
    tiny_run: Path, tmp_path: Path
) -> None:
    """Probabilities near 1e-40 agree to 1e-4 whatever the logits do."""
    from seriatim.deploy.parity import Differences, compare_lengths

    model = load_model(tiny_run)
    saturated, moved = (copy.deepcopy(model) for _ in range(2))
    saturated.network.output_center.fill_(-92.0)
    moved.network.output_center.fill_(-95.0)
    seen, _ = compare_lengths(saturated, moved, torch.rand(4, 2, 32, 32))
    assert seen.largest["probability"] < 1e-30
    assert seen.largest_logit == pytest.approx(3.0, abs=1e-3)
    assert "logit" not in seen.largest, "logits must not decide"
    report = {"parity": seen.describe(), "validation": {"series": 0}}
    assert largest_logit_move(report) == seen.largest_logit
    assert "says little" in find_doubt(report)
    plain, _ = compare_lengths(model, model, torch.rand(4, 2, 32, 32))
    assert (plain.largest_logit, find_doubt({**report, "validation": plain.describe()})) == (0.0, "")
    assert find_doubt({"parity": Differences().describe(), "validation": {}}) == ""


def test_the_report_tells_what_was_measured(exported: Path) -> None:
    report = json.loads((exported / "exported/onnx/int8/report.json").read_text())
    assert report["model_digest"] == load_model(exported).digest
    assert report["parity"]["passed"]
    assert {1, 2, 3, 500} <= set(report["parity"]["lengths"])
    assert set(report["parity"]["largest_difference"]) == {"probability", "attention", "slice_score"}
    assert report["parity"]["largest_logit_difference"] >= 4 * report["parity"]["largest_difference"]["probability"]
    assert 1e-3 < report["parity"]["least_certain"] <= 0.5
    assert report["calibration"]["series"] > 0
    assert report["parity"]["pictures_of_training"] == 32
    validation = report["validation"]
    assert validation["series"] == sum(row["split"] == "val" for row in read_rows(exported / "manifest.csv"))
    assert validation["change"]["auc"] == pytest.approx(validation["after"]["auc"] - validation["before"]["auc"])


def test_reduced_precision_is_centred_on_the_embeddings_of_training(exported: Path) -> None:
    from seriatim.deploy.pictures import gather_calibration

    plain, model = load_model(exported), only(load_scorer(exported, backend="onnx", precision="int8"))
    slices, _ = gather_calibration(plain)
    exact, found = plain.embed(slices)[0], model.embed(slices)[0]
    torch.testing.assert_close(found.mean(dim=0), exact.mean(dim=0), atol=1e-5, rtol=0)


def test_scores_tell_what_computed_them_and_another_backend_scores_again(
    exported: Path, head_ct: Path, tmp_path: Path, seriatim_command: CommandLine
) -> None:
    arguments = ("score", head_ct, "--model", exported, "--output", tmp_path / "scores")
    first = seriatim_command(*arguments)
    plain = read_rows(tmp_path / "scores" / "scores.csv")
    assert first.code == 0
    assert "Computing with torch in fp32 on" in first.err
    done = seriatim_command(*arguments, "--backend", "onnx", "--precision", "int8", "--device", "cpu")
    assert done.code == 0
    assert "Computing with onnx in int8 on cpu (asked for)" in done.err
    told = json.loads((tmp_path / "scores" / "run.json").read_text())
    assert told["device"] == "cpu"
    assert told["compute"]["backend"] == "onnx"
    assert told["compute"]["precision"] == "int8"
    assert told["compute"]["tolerance"] == ROUGH
    assert len(told["model"]["export_sha256"]) == 64
    rows = read_rows(tmp_path / "scores" / "scores.csv")
    assert [row["probability_bleed"] for row in rows] != [row["probability_bleed"] for row in plain]


def test_what_scores_depend_on_has_a_key_of_its_own(exported: Path) -> None:
    ways = [{}, {"backend": "onnx"}, {"backend": "onnx", "precision": "int8"}, {"precision": "bf16"}]
    keys = [load_scorer(exported, **way).answer_key for way in ways]
    assert len(set(keys)) == len(ways)
    assert load_scorer(exported, device="auto").answer_key == (
        load_scorer(exported, device="cuda" if torch.cuda.is_available() else "cpu").answer_key
    )


def test_a_stale_export_is_refused(copied: Path) -> None:
    description = copied / "model.json"
    description.write_text(description.read_text() + "\n")
    with pytest.raises(ModelError, match="was exported from another model"):
        load_scorer(copied, backend="onnx")


def test_a_changed_file_of_an_export_is_refused(copied: Path) -> None:
    graph = copied / "exported/onnx/fp32/sequence.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ModelError, match="are not those that were checked"):
        load_scorer(copied, backend="onnx")


def test_what_was_not_exported_is_refused_with_the_command(tiny_run: Path) -> None:
    with pytest.raises(ModelError, match="seriatim export RUN --to onnx --precision fp32"):
        load_scorer(tiny_run, backend="onnx")
    with pytest.raises(ModelError, match="seriatim export RUN --to torch --precision bf16"):
        load_scorer(tiny_run, precision="bf16")


def test_an_export_that_moves_scores_too_far_is_not_kept(copied: Path, seriatim_command: CommandLine) -> None:
    kept = (copied / "exported/torch/bf16/report.json").read_bytes()
    done = seriatim_command("export", copied, "--to", "torch", "--precision", "bf16", "--tolerance", "1e-9")
    assert done.code == 2
    assert "Not exported: with torch in bf16 scores move too far (probability by" in done.err
    refused = json.loads((copied / "exported/torch/bf16.refused.json").read_text())
    assert not refused["parity"]["passed"]
    assert (copied / "exported/torch/bf16/report.json").read_bytes() == kept, "the export that had passed is gone"
    assert {path.name for path in (copied / "exported/torch").iterdir()} == {"bf16", "bf16.refused.json"}


def test_a_graph_holds_no_path_of_the_machine_it_was_made_on(exported: Path) -> None:
    for path in (exported / "exported/onnx/fp32").iterdir():
        content = path.read_bytes()
        assert b"site-packages" not in content
        assert str(Path(__file__).parents[2]).encode() not in content


def test_lower_precision_without_pictures_to_calibrate_on_is_refused(copied: Path) -> None:
    from seriatim.deploy import export_run

    (copied / "manifest.csv").unlink()
    model = load_model(copied)
    with pytest.raises(ModelError, match="int8 is calibrated on pictures the run learnt from"):
        export_run(model, choose_compute(backend="onnx", precision="int8", device="cpu"))


@pytest.mark.slow
def test_without_pictures_of_the_run_an_export_in_full_precision_is_held_against_made_ones(copied: Path) -> None:
    from seriatim.deploy import export_run

    (copied / "manifest.csv").unlink()
    model = load_model(copied)
    report = export_run(model, choose_compute(backend="onnx", device="cpu"))
    assert report["parity"]["pictures_of_training"] == 0
    assert report["validation"] == {"series": 0}


@pytest.mark.parametrize(("asked", "told"), [
    ({"precision": "int8"}, "export RUN --to onnx"),
    ({"backend": "onnx", "precision": "bf16"}, "ONNX Runtime has no bf16"),
    ({"backend": "openvino", "device": "cuda"}, "OpenVINO computes on the CPU|openvino computes on the CPU"),
    ({"backend": "onnx", "device": "mps"}, "has no device 'mps'"),
    ({"device": "cuda:99"}, "is not there"),
    ({"backend": "tensorrt"}, "no backend 'tensorrt'"),
])
def test_what_cannot_be_is_refused_and_never_replaced(asked: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        choose_compute(**asked)


def test_on_cuda_fp32_is_full_and_kernels_are_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn = torch.backends.cudnn
    for name, value in (("allow_tf32", True), ("deterministic", False), ("benchmark", True)):
        monkeypatch.setattr(cudnn, name, value)
    matmul = torch.backends.cuda.matmul
    matmul.allow_tf32 = True
    monkeypatch.setenv(CUBLAS, "")
    monkeypatch.delenv(CUBLAS)
    compute_exactly("cpu")
    assert cudnn.allow_tf32
    compute_exactly("cuda:1")
    assert (cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark) == (False, True, False)
    assert not matmul.allow_tf32
    assert os.environ[CUBLAS] == CUBLAS_WORKSPACE


def test_auto_says_what_it_chose_and_why() -> None:
    for backend in ("torch", "onnx", "openvino"):
        chosen = choose_compute(backend=backend)
        assert chosen.why.startswith("auto: ")
        assert chosen.why in chosen.line
        assert chosen.describe()["device_because"] == chosen.why


CAUSAL = {"kind": "causal", "epochs": 1, "hidden": 4, "components": 2}


@pytest.mark.parametrize("methods", [
    [CAUSAL], pytest.param([CAUSAL, {"kind": "memory", "size": 50}], marks=pytest.mark.slow),
], ids=["embeddings", "maps"])
def test_an_anomaly_model_is_exported_and_watches_with_it(methods: list[dict[str, object]], tmp_path: Path) -> None:
    from seriatim.deploy import export_run
    from seriatim.trained.anomaly import AnomalyModel, load_anomaly_model

    run = train_run(tmp_path, methods)
    plain = load_anomaly_model(run)
    # a frame that the memory holds is at a distance of 0 from it, whose root makes much of the last bits
    report = export_run(plain, choose_compute(backend="onnx", device="cpu"), tolerance=1e-2)
    assert report["parity"]["lengths"][0] == plain.network.fewest_frames
    assert report["input"]["slices_at_a_time"] == 1
    assert report["input"]["gives"] == ("maps" if len(methods) > 1 else "embeddings")
    model = load_scorer(run, backend="onnx")
    assert isinstance(model, AnomalyModel)
    clip = torch.rand(6, plain.experiment.preprocessing.channels, *plain.experiment.preprocessing.size)
    whole = model.examine(clip)
    for mine, theirs in zip(plain.examine(clip), whole, strict=True):
        for name, values in mine.parts.items():
            torch.testing.assert_close(theirs.parts[name], values, atol=1e-3, rtol=1e-3, equal_nan=True)
    states = None
    for place, frame in enumerate(clip):
        with torch.inference_mode():
            told, states = model.network.follow(frame, states)
        for live, after in zip(told, whole, strict=True):
            for name, values in after.parts.items():
                assert torch.equal(live.parts[name][0].nan_to_num(-1), values[place].nan_to_num(-1))
