"""How well the questions without labels are answered on held-out series, beside what needs no network."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from seriatim.tasks.metrics import roc_auc
from seriatim.training.pretext import Answers, Questions, Scale


class PretextScores:
    """Collects answers batch by batch; all figures count every series, slice and draw once."""

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self._series: list[tuple[Tensor, Tensor]] = []
        self._slices: list[tuple[Tensor, Tensor]] = []
        self._errors: dict[str, list[Tensor]] = {}

    def add(self, answers: Answers, questions: Questions) -> None:
        """Add one batch."""
        exchanged = questions.exchanged
        any_exchanged = exchanged.any(dim=1)
        self._series.append((any_exchanged, answers.series_order))
        real = questions.mask & any_exchanged[:, None]
        self._slices.append((exchanged[real], answers.slice_order[real]))
        targets = self._scale.standardise(questions.targets)
        told = {"": answers.pictures, "_mean": torch.zeros_like(targets), **guess_hidden(targets, questions)}
        for name, values in told.items():
            error = (values - targets)[questions.hidden].square().mean(dim=1)
            self._errors.setdefault(name, []).append(error)

    def figures(self, *, order: bool, hidden: bool) -> dict[str, float]:
        """The figures of the tasks asked for.

        ``order_auc`` and ``order_accuracy`` (at 0.5): was a series exchanged; ``slice_order_auc``: which slices of an
        exchanged one. ``hidden_error``: mean squared error of hidden slices' standardised embeddings; ``_mean``,
        ``_nearest`` and ``_between`` are those of telling the mean of all slices, the nearest slice that is seen, and
        the straight line between the two nearest.
        """
        found: dict[str, float] = {}
        if order:
            truth, logits = _join(self._series)
            found["order_auc"] = roc_auc(truth, logits)
            found["order_accuracy"] = float(((logits > 0) == truth).mean())
            found["slice_order_auc"] = roc_auc(*_join(self._slices))
        if hidden:
            found |= {f"hidden_error{name}": float(torch.cat(parts).mean()) for name, parts in self._errors.items()}
        return found


def guess_hidden(targets: Tensor, questions: Questions) -> dict[str, Tensor]:
    """(B,T,E) each: every slice told from the nearest slices seen, without a network."""
    nearest, between = torch.zeros_like(targets), torch.zeros_like(targets)
    for row in range(len(targets)):
        seen = torch.nonzero(questions.mask[row] & ~questions.hidden[row]).flatten()
        for place in torch.nonzero(questions.hidden[row]).flatten().tolist():
            before, behind = seen[seen < place], seen[seen > place]
            ends = [int(side) for side in (*before[-1:], *behind[:1])]
            closest = min(ends, key=lambda end: abs(end - place))
            nearest[row, place] = targets[row, closest]
            share = (place - ends[0]) / (ends[-1] - ends[0]) if len(ends) == 2 else 0.0
            between[row, place] = torch.lerp(targets[row, ends[0]], targets[row, ends[-1]], share)
    return {"_nearest": nearest, "_between": between}


def _join(parts: Iterable[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    labels, values = zip(*parts, strict=True)
    return torch.cat(labels).cpu().numpy(), torch.cat(values).float().cpu().numpy()
