"""OpenVINO: the same gate, its own files, and no word to anybody."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seriatim.trained import load_model, load_scorer
from seriatim.trained.backends import choose_compute

pytest.importorskip("openvino", reason="needs seriatim[openvino]")
pytest.importorskip("onnxscript", reason="needs seriatim[openvino]")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    """The tiny run in fp32. Never write into it."""
    from seriatim.deploy import export_run

    run = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(tiny_run, run)
    export_run(load_model(run), choose_compute(backend="openvino", device="cpu"))
    return run


def export_in(run: Path, precision: str, *, tolerance: float) -> None:
    from seriatim.deploy import export_run
    from seriatim.trained.backends.openvino import has_bf16

    if precision == "bf16" and not has_bf16():
        pytest.skip("this processor has no bf16")
    export_run(load_model(run), choose_compute(backend="openvino", precision=precision, device="cpu"),
               tolerance=tolerance)


@pytest.mark.parametrize(("precision", "most"), [
    ("fp32", 1e-4), pytest.param("bf16", 0.2, marks=pytest.mark.slow), pytest.param("int8", 0.2, marks=pytest.mark.slow)
])
def test_openvino_scores_nearly_as_the_run_whatever_stands_beside(
    exported: Path, precision: str, most: float, tmp_path: Path
) -> None:
    run = exported
    if precision != "fp32":
        run = shutil.copytree(exported, tmp_path / "run")
        export_in(run, precision, tolerance=most)
    model = load_scorer(run, backend="openvino", precision=precision).members[0]
    plain = load_model(run)
    torch.manual_seed(0)
    slices = torch.rand(11, 2, 32, 32)
    mine, theirs = (one.read(one.embed(slices)) for one in (plain, model))
    assert 0 < float((theirs.probabilities - mine.probabilities).abs().max()) < most
    alone = torch.cat([model.embed(one[None])[0] for one in slices])
    assert torch.equal(alone, model.embed(slices)[0])


def test_scores_are_the_same_on_any_number_of_lanes(exported: Path) -> None:
    slices = torch.rand(21, 2, 32, 32)
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            model = load_scorer(exported, backend="openvino").members[0]
            found.append(model.read(model.embed(slices)).probabilities)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_openvino_is_loaded_without_its_telemetry() -> None:
    code = (
        "import sys\n"
        "from seriatim.trained.backends.openvino import import_openvino\n"
        "import_openvino().Core()\n"
        "assert sys.modules.get('openvino_telemetry') is None, 'telemetry was loaded'\n"
        "from openvino.tools.ovc.telemetry_utils import init_ovc_telemetry\n"
        "assert type(init_ovc_telemetry()).__module__ == 'openvino.tools.ovc.telemetry_stub'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
