"""Questions that need no labels: pairs of slices are exchanged, and slices are hidden.

*Order*: in half of the draws disjoint pairs of slices change places, and the network says whether that happened and to
which slices (Misra, Zitnick and Hebert 2016, "Shuffle and Learn"; Xu 2019, clip order; Zhuang 2019 for volumes).
Exchanges, not other permutations: after a shift many slices stand elsewhere though all but one still follow each
other, and whether a whole series runs backwards cannot be told in principle, so both are never asked.
*Hidden*: the embedding of a hidden slice is told from those before and behind it (Devlin 2019; Pathak 2016).

No short cuts: the network is given embeddings in order and nothing else, no position, time or number. All slices of a
draw are changed by one augmentation. Where neighbour slices are channels (2.5D), only slices that share no picture are
shown, else the same picture on two slices would give both answers away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from seriatim.experiment.pretraining import PretrainingSettings
from seriatim.models.network import SequenceNetwork
from seriatim.models.pretext import PretextHeads
from seriatim.tasks.objective import WHOLE
from seriatim.training.sampling import sample_slices

FEWEST = 3
"""Of two slices no exchange can be told from the series run backwards, and none stands between two others."""
Generator = np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What one draw asks of a series of which T slices are shown.

    ``shown`` (T,) are their indices in the series, in order; ``order`` (T,) is where in ``shown`` the slice at each
    place comes from; ``hidden`` (T,) bool. The two questions are asked one after the other, never of one reading.
    """

    shown: Tensor
    order: Tensor
    hidden: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """B questions padded to the longest: ``inputs`` (B,T,E), or images (B,T,C,h,w) to be embedded, ``targets`` (B,T,E),
    the rest (B,T).
    """

    inputs: Tensor
    targets: Tensor
    order: Tensor
    hidden: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> Questions:
        """The same on another device."""
        return Questions(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    @property
    def exchanged(self) -> Tensor:
        """(B,T) True where another slice stands than belongs there."""
        return self.order != torch.arange(self.order.shape[1], device=self.order.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """``series_order`` (B,) and ``slice_order`` (B,T) logits; ``pictures`` (B,T,E), told embeddings, standardised."""

    series_order: Tensor
    slice_order: Tensor
    pictures: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Mean and spread (E,) of each feature over the slices learnt from: targets have mean 0 and spread 1."""

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, embeddings: Tensor) -> Scale:
        """From (N,E). A feature that never changes keeps its size, and so is 0 throughout."""
        spread = embeddings.std(dim=0, correction=0)
        return cls(mean=embeddings.mean(dim=0), spread=torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def standardise(self, embeddings: Tensor) -> Tensor:
        return (embeddings - self.mean) / self.spread


def draw_question(
    count: int, settings: PretrainingSettings, *, apart: int, most: int, seed: int | Sequence[int],
    exchange: bool | None = None,
) -> Question:
    """What to ask of a series of ``count`` slices, a function of ``seed`` alone.

    Args:
        count: slices of the series, at least ``FEWEST * apart``.
        settings: the shares of slices that are exchanged and hidden.
        apart: shown slices are at least so many apart; 2 n + 1 where n neighbours are channels.
        most: show no more than about so many slices, spread over the series.
        seed: of the draw.
        exchange: are slices exchanged; None: in half of the draws.
    """
    generator = np.random.default_rng(seed)
    chosen = sample_slices(count, max(most, FEWEST * apart), int(generator.integers(2**31)))
    shown = keep_apart(chosen, apart, skip=int(generator.integers(apart)))
    length = len(shown)
    exchanged = bool(generator.integers(2)) if exchange is None else exchange
    order = draw_exchanges(length, share=settings.exchanged_share, generator=generator)
    hidden = np.zeros(length, dtype=bool)
    hidden[generator.permutation(length)[: max(1, round(settings.hidden_share * length))]] = True
    return Question(
        shown=shown, order=torch.from_numpy(order) if exchanged else torch.arange(length),
        hidden=torch.from_numpy(hidden),
    )


def draw_exchanges(count: int, *, share: float, generator: Generator) -> NDArray[np.int64]:
    """``arange(count)`` with one or more disjoint pairs exchanged, up to ``share`` of it, never all of it reversed."""
    while True:
        pairs = int(generator.integers(1, max(1, int(share * count / 2)) + 1))
        one, other = generator.permutation(count)[: 2 * pairs].reshape(2, pairs)
        order = np.arange(count)
        order[one], order[other] = other, one
        if not np.array_equal(order, np.arange(count)[::-1]):
            return order


def keep_apart(indices: Tensor, apart: int, *, skip: int) -> Tensor:
    """Those of ascending indices that are ``apart`` or more from the one kept before, without the first ``skip``."""
    kept: list[int] = []
    for index in indices[skip:].tolist():
        if not kept or index - kept[-1] >= apart:
            kept.append(index)
    return torch.tensor(kept)


def pad_questions(questions: Sequence[Question], inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Questions:
    """One batch of questions; ``inputs`` and ``targets`` are (T,E) of the shown slices of each."""
    longest = max(len(one.shown) for one in questions)
    order = torch.arange(longest).repeat(len(questions), 1)
    for row, one in enumerate(questions):
        order[row, : len(one.order)] = one.order
    return Questions(
        inputs=pad_sequence(list(inputs), batch_first=True),
        targets=pad_sequence(list(targets), batch_first=True),
        order=order,
        hidden=pad_sequence([one.hidden for one in questions], batch_first=True),
        mask=torch.stack([torch.arange(longest) < len(one.shown) for one in questions]),
    )


def answer(network: SequenceNetwork, heads: PretextHeads, questions: Questions) -> Answers:
    """Read every series twice: with its slices exchanged, and in order with some hidden."""
    size = questions.inputs.shape[2]
    reordered = questions.inputs.gather(1, questions.order[..., None].expand(-1, -1, size))
    series_order, slice_order = heads.judge_order(network.relate(reordered, questions.mask), questions.mask)
    covered = heads.hide(questions.inputs, questions.hidden)
    pictures = heads.picture(network.relate(covered, questions.mask))
    return Answers(series_order=series_order, slice_order=slice_order, pictures=pictures)


def losses(
    answers: Answers, questions: Questions, settings: PretrainingSettings, scale: Scale,
    shares: Mapping[str, float] = WHOLE,
) -> dict[str, Tensor]:
    """``loss`` and its parts: ``order_loss`` (cross entropy of slices and of series) and ``hidden_loss`` (mean squared
    error of the standardised embeddings of hidden slices).

    Each is a mean over the questions, multiplied by its share where there is one: the part that these have in the
    ``amounts`` of several, whose losses then add up to that of all.
    """
    exchanged, mask = questions.exchanged, questions.mask
    slices = functional.binary_cross_entropy_with_logits(answers.slice_order[mask], exchanged[mask].float())
    series = functional.binary_cross_entropy_with_logits(answers.series_order, exchanged.any(dim=1).float())
    order = slices * shares.get("slices", 1.0) + series * shares.get("series", 1.0)
    wanted = scale.standardise(questions.targets[questions.hidden])
    hidden = functional.mse_loss(answers.pictures[questions.hidden], wanted) * shares.get("hidden", 1.0)
    total = settings.order_weight * order + settings.hidden_weight * hidden
    return {"loss": total, "order_loss": order, "hidden_loss": hidden}


def amounts(questions: Questions) -> dict[str, float]:
    """What the losses of a batch are means over: numbers of slices, of series, and of hidden slices."""
    return {"slices": float(questions.mask.sum()), "series": float(len(questions.mask)),
            "hidden": float(questions.hidden.sum())}
