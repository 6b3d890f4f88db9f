"""Deterministic mode holds while a run lasts, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from seriatim.training import loop, train
from seriatim.training.determinism import CUBLAS, deterministic_algorithms
from tiny_runs import make_experiment


def state() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    return (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
            cudnn.deterministic, cudnn.benchmark, os.environ.get(CUBLAS))


@pytest.mark.parametrize("mode", ["end-to-end", "two-stage"])
def test_a_run_is_deterministic_while_it_lasts_and_its_cpu_result_is_the_same(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    seen, before, whole = [], state(), loop._step

    def step(*arguments: object, **options: object) -> dict[str, float]:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return whole(*arguments, **options)

    monkeypatch.setattr(loop, "_step", step)
    for wanted in (False, True):
        options = (f"training.mode={mode}", f"training.deterministic={wanted}", "training.epochs=1")
        train(make_experiment(tmp_path, head_ct, *options), tmp_path / str(wanted))
        assert set(seen) == {wanted}
        seen.clear()
        assert state() == before
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("False", "True"))
    assert first == second


def test_an_error_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CUBLAS, raising=False)
    before = state()

    def stop() -> None:
        with deterministic_algorithms(True):
            assert state() == (True, False, True, False, ":4096:8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert state() == before
    monkeypatch.setenv(CUBLAS, ":16:8")  # what the user set is used
    with deterministic_algorithms(True):
        assert os.environ[CUBLAS] == ":16:8"
    assert os.environ[CUBLAS] == ":16:8"
