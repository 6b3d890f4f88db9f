"""What every test shares: one thread, tensor shapes checked at run time, one tiny data set and one tiny run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

with install_import_hook("seriatim.models", "beartype.beartype"):
    import seriatim.models  # noqa: F401  checked from here on, wherever a test imports it

import torch

import fake_cuda as fakes
from browser import BROWSER, WHY_NOT, Tab, start_browser
from tiny_runs import CommandLine, make_experiment

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a card is skipped where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and this machine has none"))


@pytest.fixture(scope="session", autouse=True)
def never_waits_for_the_disk() -> Iterator[None]:
    """Flushes to the disk return at once: a tiny run makes ten, each milliseconds long, and no test cuts the power.

    What is flushed, and in which order, tests/scoring/test_crash.py looks at.
    """

    def fsync(handle: int) -> None:
        os.fstat(handle)  # raises OSError, as flushing does, where no file is open

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


@pytest.fixture(scope="session")
def head_ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 synthetic head CT series of 11 patients with labels.csv and slices.csv. Never write into it."""
    from seriatim.synth import synthesize

    folder = tmp_path_factory.mktemp("data") / "head-ct"
    synthesize("head-ct", folder, count=12, size=32)
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, head_ct: Path) -> Path:
    """The run folder of a model trained on ``head_ct`` for two epochs. Never write into it."""
    from seriatim.training import train

    folder = tmp_path_factory.mktemp("runs")
    train(make_experiment(folder, head_ct), folder / "tiny")
    return folder / "tiny"


@pytest.fixture(scope="session")
def tiny_scores(tmp_path_factory: pytest.TempPathFactory, head_ct: Path, tiny_run: Path) -> Path:
    """The scores of ``head_ct`` by ``tiny_run``. Never write into it."""
    from seriatim.scoring import score

    folder = tmp_path_factory.mktemp("scores")
    score(head_ct, model=tiny_run, output=folder, device="cpu")
    return folder


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A headless browser, where there is one."""
    if BROWSER is None:
        pytest.skip(WHY_NOT)
    with start_browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[fakes.FakeCuda]:
    """``torch.cuda`` of one card, whose memory is the CPU's; nothing may be in a race when the test is over."""
    cuda = fakes.install(monkeypatch)
    yield cuda
    assert not cuda.races, cuda.races[:3]


@pytest.fixture
def seriatim_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line as a function: ``seriatim_command("inspect", folder).code``."""
    return CommandLine(monkeypatch, capsys)
