"""Make torchvision importable beside a torch of another build.

torchvision's compiled operators load only beside the torch they were built with. Where they do not, the import itself
fails, because fake kernels are registered for operators that were never declared. Declaring the two schemas is enough:
seriatim uses torchvision's networks, and none of its operators.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

MISSING_OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[Any] = []  # a torch.library.Library takes its declarations back when it is collected


@functools.cache
def import_torchvision() -> ModuleType:
    """Import torchvision, first declaring the operators it lacks. Call it before anything else imports torchvision.

    Raises:
        ImportError: torchvision is not installed.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is not None and spec.origin is not None and not _operators_load(Path(spec.origin).parent):
        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in MISSING_OPERATORS:
            library.define(f"{name}{SCHEMA}")
        _declared.append(library)
    return importlib.import_module("torchvision")


def _operators_load(package: Path) -> bool:
    import torch

    for path in package.glob("_C*.so"):
        try:
            torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return True
    return False
