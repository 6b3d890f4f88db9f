"""Where in a slice the evidence for a class lies: Grad-CAM, Grad-CAM++ and occlusion, through the sequence model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from seriatim.errors import ModelError
from seriatim.explanation.alignment import locate_cells, resize_heat
from seriatim.explanation.attribution.backward import differentiating, evaluating, require_finite
from seriatim.explanation.attribution.reading import AT_ONCE, Reading
from seriatim.models.chunks import encode_in_chunks

MAPS_CHUNK = 8
"""Slices whose maps are computed at a time, so that the memory taken does not grow with the slices chosen."""
CELLS, SPAN = 12, 2
"""Occlusion: cells along an edge of the slice, and cells along an edge of the patch that is moved over them."""


def grad_cam(reading: Reading, slices: Tensor, *, class_index: int, slice_indices: Sequence[int]) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) of a series' logit on chosen slices: (T,H,W), at least 0.

    The gradient runs through the head, the pooling and the sequence model, so a slice that the attention passes over
    has a weak map. Not scaled: see ``common_scale``.

    Args:
        reading: its network is left in the modes it had; no parameter receives a gradient.
        slices: (S,C,H,W), the whole series on the network's device, as the embeddings were made of it.
        class_index: which of the K volume logits.
        slice_indices: the T slices to explain, distinct and within 0..S-1.

    Raises:
        ModelError: the encoder has no convolutional feature maps (a vision transformer), or a gradient is not finite.
        ValueError: ``slice_indices`` is empty, repeats a slice or leaves the series.
    """
    maps, gradient = _differentiate(reading, slices, class_index=class_index, slice_indices=slice_indices)
    return _place(reading, slices, maps, gradient.mean(dim=(2, 3), keepdim=True))


def grad_cam_plus_plus(reading: Reading, slices: Tensor, *, class_index: int, slice_indices: Sequence[int]) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018, arXiv:1710.11063): (T,H,W), at least 0; arguments as of ``grad_cam``.

    Only places that speak for the class count, each weighed by higher derivatives of the exponential of the logit, so
    that several findings in one slice are all seen. The exponential itself, equal for all pixels, is left out.
    """
    maps, gradient = _differentiate(reading, slices, class_index=class_index, slice_indices=slice_indices)
    below = 2 * gradient**2 + (maps * gradient**3).sum(dim=(2, 3), keepdim=True)
    alpha = gradient**2 / torch.where(below != 0, below, 1.0)
    return _place(reading, slices, maps, (alpha * gradient.relu()).sum(dim=(2, 3), keepdim=True))


def occlude(reading: Reading, slices: Tensor, *, class_index: int, slice_indices: Sequence[int]) -> Tensor:
    """Where covering a patch lets the logit fall (Zeiler and Fergus 2014, arXiv:1311.2901): (T,H,W), at least 0.

    It needs no gradient and no feature maps, so it explains any encoder, at the price of 121 encodings of each slice.
    Arguments as of ``grad_cam``.
    """
    falls = measure_falls(reading, slices, class_index=class_index, slice_indices=slice_indices)
    size = (slices.shape[2], slices.shape[3])
    heat = require_finite(falls).relu()
    return functional.interpolate(heat[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def measure_falls(
    reading: Reading, slices: Tensor, *, class_index: int, slice_indices: Sequence[int], cells: int = CELLS,
    span: int = SPAN,
) -> Tensor:  # fmt: skip
    """By how much the logit falls when a patch of a slice is covered: (T, cells, cells), below 0 where it rises.

    A patch of ``span`` x ``span`` cells, of which an edge of the slice has ``cells``, moves by a cell at a time and is
    covered with the mean of the slice; a cell gets the mean of the patches that cover it. With
    ``preprocessing.neighbours`` the slice stays as it is where it is a neighbour.
    """
    indices = check_indices(slice_indices, len(slices))
    rows, columns = (_edges(length, cells) for length in slices.shape[2:])
    span = min(span, len(rows) - 1, len(columns) - 1)
    found = []
    with evaluating(reading.network), torch.inference_mode():
        whole = reading.logits(reading.embeddings[None])[0, class_index]
        for index in indices:
            covered = _cover(slices[index], rows=rows, columns=columns, span=span)
            embeddings = encode_in_chunks(reading.network.encoder, covered)
            falls = whole - _read_with(reading, index, embeddings)[:, class_index]
            found.append(_spread_over_cells(falls, rows=rows, columns=columns, span=span))
    return torch.stack(found).float()


def common_scale(heat: Tensor) -> Tensor:
    """(T,H,W) on one scale, on which the strongest pixel of all is 1; all 0 where nothing speaks for the class."""
    strongest = require_finite(heat).max()
    return heat / strongest if strongest > 0 else heat


PIXEL_WAYS = {"grad_cam": grad_cam, "grad_cam_plus_plus": grad_cam_plus_plus, "occlusion": occlude}
"""By the names of ``PIXEL_METHODS``."""


def check_indices(slice_indices: Sequence[int], count: int) -> list[int]:
    """The indices as a list. Raises ValueError where they are none, repeat one, or leave 0..count-1."""
    chosen = [int(index) for index in slice_indices]
    if not chosen or len(set(chosen)) != len(chosen) or not all(0 <= index < count for index in chosen):
        raise ValueError(f"Choose distinct slices of 0..{count - 1} to explain, not {chosen}.")
    return chosen


def _differentiate(
    reading: Reading, slices: Tensor, *, class_index: int, slice_indices: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """The feature maps (T,D,h,w) of the chosen slices, and the gradient of the logit at them."""
    network = reading.network
    with differentiating(network):
        chosen = torch.tensor(check_indices(slice_indices, len(slices)), device=slices.device)
        with torch.no_grad():
            maps = torch.cat([network.encoder.feature_maps(piece) for piece in torch.split(slices[chosen], MAPS_CHUNK)])
        if maps.ndim != 4:
            raise ModelError(
                f"The encoder's feature maps have the shape {tuple(maps.shape)}, and Grad-CAM needs (N,D,h,w). "
                "Explain this model with occlusion, and with attributions of slices."
            )
        # Clones made outside inference mode are ordinary tensors, which autograd may save.
        leaf = maps.clone().requires_grad_()
        embeddings = reading.embeddings.clone()
        placed = embeddings.index_copy(0, chosen, network.encoder.pool_maps(leaf).to(embeddings.dtype))
        (gradient,) = torch.autograd.grad(reading.logits(placed[None])[0, class_index], leaf)
    return maps.float(), require_finite(gradient.float())


def _place(reading: Reading, slices: Tensor, maps: Tensor, weights: Tensor) -> Tensor:
    heat = (weights * maps).sum(dim=1).relu()
    size = (slices.shape[2], slices.shape[3])
    return resize_heat(heat, locate_cells(reading.network.encoder, slices), size=size)


def _edges(length: int, cells: int) -> list[int]:
    """Where cells begin and end on an edge of ``length`` pixels; no cell is empty."""
    count = min(cells, length)
    return [round(length * place / count) for place in range(count + 1)]


def _cover(image: Tensor, *, rows: list[int], columns: list[int], span: int) -> Tensor:
    """(C,H,W) -> (P,C,H,W): one copy for each place of the patch."""
    grey = image.mean(dim=(1, 2), keepdim=True)
    copies = []
    for top, bottom in zip(rows, rows[span:], strict=False):
        for left, right in zip(columns, columns[span:], strict=False):
            copy = image.clone()
            copy[:, top:bottom, left:right] = grey
            copies.append(copy)
    return torch.stack(copies)


def _read_with(reading: Reading, index: int, embeddings: Tensor) -> Tensor:
    """(P,K) logits of the series with slice ``index`` replaced by each of P embeddings."""
    rows = max(1, AT_ONCE // len(reading.embeddings))
    found = []
    for part in torch.split(embeddings, rows):
        series = reading.embeddings.repeat(len(part), 1, 1)
        series[:, index] = part
        found.append(reading.logits(series))
    return torch.cat(found)


def _spread_over_cells(falls: Tensor, *, rows: list[int], columns: list[int], span: int) -> Tensor:
    """(P,) falls of the patches -> (cells, cells) means over the patches that cover a cell."""
    down, across = len(rows) - 1, len(columns) - 1
    patches = falls.reshape(down - span + 1, across - span + 1)
    total, count = falls.new_zeros(down, across), falls.new_zeros(down, across)
    for row in range(span):
        for column in range(span):
            place = (slice(row, row + patches.shape[0]), slice(column, column + patches.shape[1]))
            total[place] += patches
            count[place] += 1
    return total / count
