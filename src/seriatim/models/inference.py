"""The form in which a network computes where nothing is learnt: the same function, in fewer steps.

Jacob et al. 2018 (arXiv:1712.05877, section 3.2) fold a norm with fixed statistics into the convolution before it. Last
bits change, so all that embeds without learning must use this one form (decision 0015).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

REVISION = 2
"""Part of every key of what was embedded: raised whenever embeddings of the same slices would come out otherwise."""

NAMED = (("conv", "bn"), ("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("conv1", "norm2"))
"""A convolution and the norm that torchvision's own blocks apply to what it gives (the last is DenseNet's)."""

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class _Made:
    """A form, None where it is the module itself, and the tensors it was made of with the state they were in."""

    form: nn.Module | None
    tensors: Sequence[Tensor]
    state: Sequence[tuple[int, int]]


_made: MutableMapping[nn.Module, _Made] = WeakKeyDictionary()


def inference_form(module: Module) -> Module:
    """A copy of ``module`` with its norms joined into the convolutions before them and weights held channels last.

    It is the module itself while a part of it is in training mode or gradients are recorded, and where no norm follows
    a convolution. A copy is kept, and made anew once a tensor of the module was replaced, moved or changed in place;
    what torch does not count as a change (``.data``, collectives, fused optimizers) needs ``forget_forms``.
    """
    parts = list(module.modules())
    if torch.is_grad_enabled() or any(part.training for part in parts):
        return module
    tensors = [*module.parameters(), *module.buffers()]
    if any(one.is_inference() for one in tensors):  # torch does not count their changes
        return make_inference_form(module)
    state = [(one.data_ptr(), one._version) for one in tensors]  # noqa: SLF001  how autograd's documentation names it
    known = _made.get(module)
    if known is None or known.state != state or any(a is not b for a, b in zip(known.tensors, tensors, strict=True)):
        form = make_inference_form(module)
        known = _made[module] = _Made(None if form is module else form, tensors, state)  # no key may hold itself
    return module if known.form is None else cast("Module", known.form)


def forget_forms() -> None:
    """Make every form anew when it is next asked for: after a step of learning."""
    _made.clear()


def make_inference_form(module: Module) -> Module:
    """The form made anew, also where gradients are recorded; the module itself where no norm follows a convolution."""
    if next(_pairs(module), None) is None:
        return module
    with torch.inference_mode(mode=False), torch.no_grad():
        form = copy.deepcopy(module)
        for part, first, second in list(_pairs(form)):
            setattr(part, first, fuse_conv_bn_eval(getattr(part, first), getattr(part, second)))
            setattr(part, second, nn.Identity())
        form.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        return form.requires_grad_(False)


def _pairs(module: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Where a norm with fixed statistics reads nothing but a convolution: the parent, and the names of both.

    In chains by their order, elsewhere by the names in torchvision's own blocks: what the children of any other module
    are called does not say which is computed first.
    """
    for part in module.modules():
        chained = isinstance(part, nn.Sequential) and type(part).forward is nn.Sequential.forward
        own = type(part).__module__.startswith("torchvision.models.") and not chained
        children = dict(part.named_children())
        for first, second in pairwise(children) if chained else NAMED if own else ():
            norm = children.get(second)
            fixed = isinstance(norm, nn.BatchNorm2d) and not norm.training and norm.running_mean is not None
            if fixed and type(children.get(first)) is nn.Conv2d:
                yield part, first, second
