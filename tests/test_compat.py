"""torchvision beside any torch: importable, also where its compiled operators do not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from seriatim import compat

WITHOUT_OPERATORS = """
from seriatim import compat
compat._operators_load = lambda package: {loads}
torchvision = compat.import_torchvision()
assert compat.import_torchvision() is torchvision
import torch
network = torchvision.models.squeezenet1_1()
assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
"""


def test_torchvision_is_imported_once_and_works() -> None:
    torchvision = compat.import_torchvision()
    assert torchvision is compat.import_torchvision()
    assert torchvision.models.mobilenet_v2() is not None


@pytest.mark.parametrize("order", ["torchvision", "monai"])
def test_the_import_works_in_a_fresh_process(order: str) -> None:
    code = f"from seriatim.compat import import_torchvision; import_torchvision(); import {order}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_operators_are_declared_where_they_do_not_load() -> None:
    from pathlib import Path

    if compat._operators_load(Path(compat.import_torchvision().__file__).parent):
        pytest.skip("the operators of this torchvision load, and cannot be declared twice")
    subprocess.run([sys.executable, "-c", WITHOUT_OPERATORS.format(loads=False)], check=True, timeout=120)
