"""What keeps end-to-end training within bounds: accumulation, frozen beginnings, rates by block, averaged weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seriatim.errors import ConfigError
from seriatim.experiment import LoopSettings
from seriatim.models import NetworkSettings
from seriatim.models.torchvision_encoder import TorchvisionSettings
from seriatim.training import epochs, loop, read_run_config, train
from seriatim.training.average import Average
from seriatim.training.optimizer import build_optimizer
from tiny_runs import make_experiment, make_uneven, read_rows, write_config

MULTICLASS = ["task.target=multiclass", "task.labels=[grade]", "task.classes=[none, low, high]",
              "task.class_weights=[1, 3, 0.5]", "data.slice_labels=null", "task.slice_loss_weight=0"]
LOSSES = {
    "binary with slices": ["task.class_weights=balanced"],
    "attention": ["task.attention_loss_weight=0.5", "task.focal_gamma=2"],
    "attention by class": ["task.attention_loss_weight=0.5", "network.pooling.per_class=true"],
    "multiclass": MULTICLASS,
    "regression": ["task.target=regression", "task.labels=[age]", "data.slice_labels=null",
                   "task.slice_loss_weight=0"],
}  # fmt: skip


def assert_near(one: Path, other: Path) -> None:
    """Both ended alike, up to rounding: gradients (AdamW's mean of them) and weights. A softmax does not see the bias
    of its scores: that gradient is nothing but rounding, from which AdamW makes whole steps.
    """
    first, second = (load_file(run / "checkpoint.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        if name.startswith("weights.") and not name.endswith("pooling.score.bias"):
            torch.testing.assert_close(second[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
        elif name.endswith("exp_avg"):
            torch.testing.assert_close(second[name], tensor, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    "losses", [pytest.param(one, marks=pytest.mark.slow if one == "attention by class" else ()) for one in LOSSES]
)
def test_accumulated_batches_are_one_batch_so_much_larger(tmp_path: Path, head_ct: Path, losses: str) -> None:
    """7 series: by 1 and 4 the last group is 3 batches, by 2 and 2 it is 2 batches of which one holds one series."""
    options = [*make_uneven(tmp_path, head_ct), *LOSSES[losses], "training.epochs=2", "training.learning_rate=0.001"]
    for size, added in ((4, 1), (1, 4), (2, 2)):
        sizes = [f"training.batch_size={size}", f"training.accumulate={added}"]
        train(make_experiment(tmp_path, head_ct, *options, *sizes), tmp_path / f"{size}x{added}")
    whole = (tmp_path / "4x1" / "metrics.jsonl").read_text().splitlines()
    for name in ("1x4", "2x2"):
        assert_near(tmp_path / "4x1", tmp_path / name)
        for one, other in zip(whole, (tmp_path / name / "metrics.jsonl").read_text().splitlines(), strict=True):
            assert json.loads(one)["loss"] == pytest.approx(json.loads(other)["loss"], rel=1e-4)


def test_the_average_is_that_of_a_computation_by_hand() -> None:
    torch.manual_seed(0)
    network = NetworkSettings(encoder=TorchvisionSettings(name="shufflenet_v2_x0_5")).build(1, 1)
    states = []
    average = Average(network, decay=0.5)
    states.append({name: value.clone() for name, value in network.state_dict().items()})
    for step in range(1, 16):
        with torch.no_grad():
            for value in network.state_dict().values():
                value.copy_(value + 1) if value.dtype == torch.int64 else value.copy_(torch.randn_like(value))
        average.follow(network, step=step)
        states.append({name: value.clone() for name, value in network.state_dict().items()})
    for name, own in average.network.state_dict().items():
        expected = states[0][name].double()
        for step, state in enumerate(states[1:], start=1):
            decay = min(0.5, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * state[name].double()
        if own.is_floating_point():
            torch.testing.assert_close(own.double(), expected, rtol=1e-5, atol=1e-5)
        else:
            assert bool((own == states[-1][name]).all())


def test_averaged_weights_are_judged_and_kept_and_resumed_exactly(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["training.ema_decay=0.6", "training.epochs=3", "joint_stage={epochs: 1, ema_decay: 0.5}"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(make_experiment(tmp_path, head_ct, *options), whole)
    checkpoint, best = load_file(whole / "checkpoint.safetensors"), load_file(whole / "best.safetensors")
    last = json.loads((whole / "metrics.jsonl").read_text().splitlines()[-1])["epoch"]
    assert last == 3
    assert any(bool((checkpoint[f"average.{name}"] != checkpoint[f"weights.{name}"]).any()) for name in best)
    original = epochs.save_checkpoint

    def save(path: Path, **values: object) -> None:
        if values["progress"].epoch == 2:
            raise KeyboardInterrupt
        original(path, **values)

    with monkeypatch.context() as broken:
        broken.setattr(epochs, "save_checkpoint", save)
        with pytest.raises(KeyboardInterrupt):
            train(make_experiment(tmp_path, head_ct, *options), run)
    train(read_run_config(run), run, resume=True)
    for name in ("checkpoint.safetensors", "model.safetensors", "best.safetensors"):
        first, second = load_file(whole / name), load_file(run / name)
        assert first.keys() == second.keys()
        assert all(bool((second[key] == tensor).all()) for key, tensor in first.items()), name


def test_the_kept_weights_are_the_average_of_the_best_epoch(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = iter([[0.1], [0.9], [0.5]])
    monkeypatch.setattr(loop, "rank_epoch", lambda *_: next(ranks))
    averages: list[dict] = []
    original = epochs.save_checkpoint

    def remember(path: Path, **values: object) -> None:
        averages.append({name: tensor.clone() for name, tensor in values["weights"].items()})
        original(path, **values)

    monkeypatch.setattr(epochs, "save_checkpoint", remember)
    train(make_experiment(tmp_path, head_ct, "training.ema_decay=0.6", "training.epochs=3"), tmp_path / "run")
    kept = load_file(tmp_path / "run" / "model.safetensors")
    assert all(bool((averages[1][f"average.{name}"] == tensor).all()) for name, tensor in kept.items())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "convnext_tiny", "vit_b_16", "densenet121"])
def test_each_block_has_its_rate(name: str) -> None:
    network = NetworkSettings(encoder=TorchvisionSettings(name=name)).build(3, 1)
    settings = LoopSettings(encoder_rate=0.5, layer_decay=0.8, learning_rate=0.01)
    optimizer = build_optimizer(network, settings)
    rates = {id(one): group["rate"] for group in optimizer.param_groups for one in group["params"]}
    blocks = network.encoder.blocks()
    assert len(blocks) >= 8
    assert sum(map(len, blocks)) == len(list(network.encoder.parameters()))
    for depth, block in enumerate(reversed(blocks)):
        assert {rates[id(one)] for one in block} == {0.5 * 0.8**depth}
    others = [one for key, one in network.named_parameters() if not key.startswith("encoder.")]
    assert {rates[id(one)] for one in others} == {1.0}
    names = {id(one): key for key, one in network.encoder.named_parameters()}
    order = [names[id(block[0])] for block in blocks]
    first = {"vit_b_16": "network.class_token", "resnet18": "trunk.conv1.weight"}
    assert order[0] == first.get(name, order[0])
    if name == "resnet18":
        assert order[1:] == [f"trunk.layer{layer}.{block}.conv1.weight" for layer in (1, 2, 3, 4) for block in (0, 1)]
    if name == "vit_b_16":
        assert order[1:] == [f"network.encoder.layers.encoder_layer_{layer}.ln_1.weight" for layer in range(12)]


def test_an_encoder_of_rate_0_keeps_its_statistics_too(tmp_path: Path, head_ct: Path) -> None:
    experiment = make_experiment(
        tmp_path, head_ct, "training.encoder_rate=0", "training.epochs=1", "training.max_slices=4",
        "network.encoder={kind: torchvision, name: shufflenet_v2_x0_5}",
    )
    torch.manual_seed(experiment.seed)
    given = experiment.network.build(experiment.preprocessing.channels, 1).state_dict()
    train(experiment, tmp_path / "run")
    ended = load_file(tmp_path / "run" / "model.safetensors")
    moved = {name.partition(".")[0] for name, tensor in given.items() if not torch.equal(ended[name], tensor)}
    assert moved == {"temporal", "pooling", "volume_head", "slice_head"}


def test_the_encoder_is_frozen_until_its_epoch(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict] = []
    original = epochs.save_checkpoint
    options = ["training.unfreeze_epoch=3", "training.epochs=4", "training.max_slices=4", "network.dropout=0.2",
               "network.encoder={kind: torchvision, name: shufflenet_v2_x0_5}", "training.weight_decay=0.1"]

    def remember(path: Path, **values: object) -> None:
        states.append({name: tensor.clone() for name, tensor in values["weights"].items()})
        original(path, **values)

    experiment = make_experiment(tmp_path, head_ct, *options)
    torch.manual_seed(experiment.seed)
    given = experiment.network.build(experiment.preprocessing.channels, 1).state_dict()
    monkeypatch.setattr(epochs, "save_checkpoint", remember)
    train(experiment, tmp_path / "whole")

    def same(epoch: int) -> dict[str, bool]:
        return {name: bool((states[epoch - 1][f"weights.{name}"] == tensor).all()) for name, tensor in given.items()}

    for epoch in (1, 2):
        assert all(kept == name.startswith(("encoder.", "output_")) for name, kept in same(epoch).items())
    still = {name for name, kept in same(3).items() if kept}
    assert not any(name.endswith((".weight", ".running_mean", ".num_batches_tracked")) for name in still)

    def stop(path: Path, **values: object) -> None:
        if values["progress"].epoch == 3:
            raise KeyboardInterrupt
        original(path, **values)

    monkeypatch.setattr(epochs, "save_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        train(experiment, tmp_path / "run")
    monkeypatch.setattr(epochs, "save_checkpoint", original)
    train(read_run_config(tmp_path / "run"), tmp_path / "run", resume=True)
    first, second = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "run"))
    assert first.keys() == second.keys()
    assert all(bool((second[name] == tensor).all()) for name, tensor in first.items())


def test_bounds_that_mean_nothing_are_refused(tmp_path: Path, head_ct: Path) -> None:
    for wrong in (["training.mode=two-stage"], ["network.encoder={kind: torchvision, freeze: all}"]):
        with pytest.raises(ConfigError, match="unfreeze_epoch is for an encoder that learns"):
            make_experiment(tmp_path, head_ct, "training.unfreeze_epoch=2", *wrong)


def test_mixed_precision_learns_in_bfloat16_and_keeps_float32(tmp_path: Path, head_ct: Path) -> None:
    seen: list[torch.dtype] = []
    original = loop.LossModule.forward

    def watch(module: loop.LossModule, *arguments: object) -> dict[str, torch.Tensor]:
        handle = module.network.encoder.register_forward_hook(lambda *given: seen.append(given[2].dtype))
        try:
            return original(module, *arguments)
        finally:
            handle.remove()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop.LossModule, "forward", watch)
        for precision in ("32-true", "bf16-mixed"):
            options = ["training.epochs=1", f"training.precision={precision}"]
            train(make_experiment(tmp_path, head_ct, *options), tmp_path / precision)
    assert set(seen[: len(seen) // 2]) == {torch.float32}
    assert set(seen[len(seen) // 2 :]) == {torch.bfloat16}
    plain, mixed = (load_file(tmp_path / name / "model.safetensors") for name in ("32-true", "bf16-mixed"))
    for name, tensor in mixed.items():
        assert tensor.dtype == plain[name].dtype
        if tensor.is_floating_point() and tensor.numel() > 50:
            moved = (tensor - plain[name]).norm() / plain[name].norm()
            assert float(moved) < 0.05, name
    scored = [read_rows(tmp_path / name / "validation.csv")[0] for name in ("32-true", "bf16-mixed")]
    assert float(scored[0]["probability_bleed"]) == pytest.approx(float(scored[1]["probability_bleed"]), abs=0.02)


@pytest.mark.parametrize("name", ["compile", "gradient"])
def test_checkpoint_and_compile_need_no_other_words(tmp_path: Path, head_ct: Path, name: str) -> None:
    """Both leave validation, and so the files of the run, to the plain encoder."""
    option = {"compile": "training.compile=true", "gradient": "network.gradient_slices=3"}[name]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "compile", lambda module, **_: module)
        train(make_experiment(tmp_path, head_ct, option, "training.epochs=1"), tmp_path / "run")
    names = set(load_file(tmp_path / "run" / "model.safetensors"))
    assert not any("orig_mod" in name or "training_encoder" in name for name in names)


def test_an_encoder_that_cannot_be_compiled_trains_as_it_is_and_says_so(
    tmp_path: Path, head_ct: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from torch._dynamo.exc import InternalTorchDynamoError

    def compile_nothing(_: object, **options: object) -> object:
        assert options == {"dynamic": True}

        def fail(*_: object) -> None:
            raise InternalTorchDynamoError("no compiler\nwas found")

        return fail

    monkeypatch.setattr(torch, "compile", compile_nothing)
    train(make_experiment(tmp_path, head_ct, "training.compile=true"), tmp_path / "run")
    told = [record.message for record in caplog.records if "cannot be compiled" in record.message]
    assert len(told) == 1
    assert told[0].endswith("goes on without: no compiler")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (tiny_run / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_compiled_encoder_learns_what_the_plain_one_learns(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    config = write_config(tmp_path, head_ct, "training.compile=true")
    command = [sys.executable, "-m", "seriatim", "train", str(config), "--output", str(tmp_path / "run")]
    # in a process of its own: the type checks of the tests cannot be compiled
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "goes on without" not in done.stderr
    assert_near(tiny_run, tmp_path / "run")
