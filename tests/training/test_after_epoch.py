"""The hook after each epoch: told what validation said, once the epoch is saved; what it raises ends the run."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file

from seriatim.training import train
from tiny_runs import make_experiment


class Stopped(Exception):  # noqa: N818 - no error
    pass


def test_a_run_stopped_by_its_watcher_goes_on_as_if_it_had_not_been(
    tmp_path: Path, head_ct: Path, tiny_run: Path
) -> None:
    experiment, told = make_experiment(tmp_path, head_ct), []

    def watch(epoch: int, metrics: Mapping[str, float]) -> None:
        told.append((epoch, metrics["log_loss"]))
        if len(told) == 1:
            raise Stopped

    with pytest.raises(Stopped):
        train(experiment, tmp_path / "run", after_epoch=watch)
    assert not (tmp_path / "run" / "model.json").exists()
    train(experiment, tmp_path / "run", resume=True, after_epoch=watch)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert told == [(line["epoch"], line["val_log_loss"]) for line in lines]
    mine, straight = (load_file(run / "model.safetensors") for run in (tmp_path / "run", tiny_run))
    assert all((mine[name] == straight[name]).all() for name in straight)
