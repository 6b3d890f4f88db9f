"""Grad-CAM of the series' logit, through attention and the sequence model, down to each slice's feature maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from seriatim.errors import ModelError
from seriatim.explanation.alignment import locate_cells, resize_heat
from seriatim.models.chunks import encode_in_chunks
from seriatim.models.network import SequenceNetwork

MAPS_CHUNK = 8
"""Slices whose maps are computed at a time, so that the memory taken does not grow with the slices chosen."""


def grad_cam(
    network: SequenceNetwork,
    slices: Tensor,
    *,
    class_index: int,
    slice_indices: Sequence[int],
    embeddings: Tensor | None = None,
) -> Tensor:
    """Where in the chosen slices the evidence for a class lies: (len(slice_indices), H, W) in [0,1].

    Grad-CAM (Selvaraju et al. 2017) of ``volume_logits[class_index]``. The gradient runs through the head, the pooling
    and the sequence model, so a slice that the attention passes over has a weak map. The maps share one scale, on which
    the strongest pixel of the chosen slices is 1; all are 0 where nothing speaks for the class.

    Args:
        network: left in the modes it had; no parameter receives a gradient.
        slices: (S,C,H,W), the whole series on the network's device.
        class_index: which of the K volume logits.
        slice_indices: the slices to explain, distinct and within 0..S-1.
        embeddings: (S,E) of the whole series where they are known; encoded here otherwise.

    Raises:
        ModelError: the encoder has no convolutional feature maps (a vision transformer), or a gradient is not finite.
        ValueError: ``slice_indices`` is empty, repeats a slice or leaves the series.
    """
    indices = _check_indices(slice_indices, len(slices))
    with evaluating(network), torch.inference_mode(False):
        chosen = torch.tensor(indices, device=slices.device)
        with torch.no_grad():
            if embeddings is None:
                embeddings = encode_in_chunks(network.encoder, slices)
            maps = torch.cat([network.encoder.feature_maps(piece) for piece in torch.split(slices[chosen], MAPS_CHUNK)])
        if maps.ndim != 4:
            raise ModelError(
                f"The encoder's feature maps have the shape {tuple(maps.shape)}, and Grad-CAM needs (N,D,h,w). "
                "Explain this model with attention and contributions only."
            )
        # Clones made outside inference mode are ordinary tensors, which autograd may save.
        leaf = maps.clone().requires_grad_()
        with torch.enable_grad(), differentiable_rnn():
            placed = embeddings.clone().index_copy(0, chosen, network.encoder.pool_maps(leaf).to(embeddings.dtype))
            (gradient,) = torch.autograd.grad(_volume_logit(network, placed, class_index), leaf)
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    heat = (weights * maps.float()).sum(dim=1).relu()
    size = (slices.shape[2], slices.shape[3])
    return _common_scale(resize_heat(heat, locate_cells(network.encoder, slices), size=size))


def slice_contributions(network: SequenceNetwork, embeddings: Tensor, *, class_index: int) -> Tensor:
    """How much each slice moved a class's volume logit, to first order: gradient x input, (S,), in logit units.

    Positive speaks for the class. For a read that is linear in the embeddings, the sum is the logit without its bias.

    Args:
        network: left in the modes it had; no parameter receives a gradient.
        embeddings: (S,E) of the whole series.
        class_index: which of the K volume logits.

    Raises:
        ModelError: a gradient is not finite.
    """
    with evaluating(network), torch.inference_mode(False), torch.enable_grad(), differentiable_rnn():
        leaf = embeddings.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(_volume_logit(network, leaf, class_index), leaf)
    return _check_finite((gradient * leaf.detach()).sum(dim=1))


@contextmanager
def differentiable_rnn() -> Iterator[None]:
    """Let an LSTM in evaluation mode be differentiated on a GPU.

    cuDNN keeps what its backward needs only in training mode, and training mode would switch dropout on. PyTorch's own
    RNN kernels have no such limit, so cuDNN is off for the forward and the backward inside, and as before afterwards.
    """
    with torch.backends.cudnn.flags(enabled=False):
        yield


@contextmanager
def evaluating(network: SequenceNetwork) -> Iterator[None]:
    """Put a network into evaluation mode, and every module back into its own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _volume_logit(network: SequenceNetwork, embeddings: Tensor, class_index: int) -> Tensor:
    mask = torch.ones(1, len(embeddings), dtype=torch.bool, device=embeddings.device)
    return network.read(embeddings[None], mask).volume_logits[0, class_index]


def _check_indices(slice_indices: Sequence[int], count: int) -> list[int]:
    chosen = [int(index) for index in slice_indices]
    if not chosen or len(set(chosen)) != len(chosen) or not all(0 <= index < count for index in chosen):
        raise ValueError(f"Choose distinct slices of 0..{count - 1} to explain, not {chosen}.")
    return chosen


def _common_scale(heat: Tensor) -> Tensor:
    strongest = _check_finite(heat).max()
    return heat / strongest if strongest > 0 else heat


def _check_finite(values: Tensor) -> Tensor:
    if not bool(torch.isfinite(values).all()):
        raise ModelError("The model's gradients are not finite for this series; its weights or its input are damaged.")
    return values
