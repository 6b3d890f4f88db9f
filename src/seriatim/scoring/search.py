"""Where series are looked for, and by which rules."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seriatim.experiment.envelope import Outside
from seriatim.io.dicom.known import KnownFiles
from seriatim.io.discover import find_many
from seriatim.io.isolation.limits import Limits
from seriatim.series import Code, Inventory
from seriatim.series.findings import Action
from seriatim.trained import Models, Scorer, load_scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A path, and how the series below it are found and read for a model.

    ``known``: what earlier searches read of the files there, where there are several searches.
    """

    path: Path
    model: Scorer
    policy: Mapping[Code, Action]
    known: KnownFiles | None = None

    def find(self) -> tuple[Inventory, int]:
        """What lies there, and when the search began (``time.time_ns``). Raises InputError where nothing is."""
        began = time.time_ns()
        sequence = self.model.experiment.data.sequence
        found = find_many(self.path, self.policy, sequence=sequence, limits=self.model.limits, known=self.known)
        return found, began

    def describe(self) -> dict[str, Any]:
        """What ``run.json`` says about it."""
        return {"findings": {str(code): action for code, action in self.policy.items()}}


def prepare_search(
    path: Path | str, models: Models, *, device: str = "auto", actions: Mapping[Code, Action] | None = None,
    limits: Limits | None = None, outside: Outside | None = None,
) -> Search:
    """Load the model and join its rules with those given; the arguments are those of ``score``.

    Raises:
        ModelError: a model is incomplete, changed or does not fit.
    """
    loaded = load_scorer(models, device=device)
    model = replace(loaded, limits=limits or loaded.limits).with_outside(outside)
    return Search(path=Path(path), model=model, policy={**model.experiment.data.findings, **(actions or {})})
