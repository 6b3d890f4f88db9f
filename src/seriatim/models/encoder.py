"""Encoder: slices in, one embedding per slice out. The contract of every CNN, and how published weights enter one."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seriatim.errors import ModelError
from seriatim.models.inference import inference_form

HEADS = ("fc", "classifier", "head", "heads", "aux1", "aux2", "AuxLogits")
"""The names torchvision gives to classifier heads; their tensors are no part of an encoder."""

RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),  # DenseNet files of 2017
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),  # ViT files of 2022
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
"""Names that torchvision's published files still use for tensors its code calls otherwise."""


class Encoder(nn.Module, ABC):
    """A network from slices in [0,1] to embeddings, in two steps that Grad-CAM can part.

    ``forward(slices) == pool_maps(feature_maps(slices))``. The encoder owns its normalisation: callers give [0,1].
    """

    embedding_size: int

    @abstractmethod
    def feature_maps(self, slices: Float[Tensor, "n channels rows columns"]) -> Float[Tensor, "n depth h w"]:
        """The last convolutional maps. Raises ModelError where the network has none."""

    @abstractmethod
    def pool_maps(self, maps: Float[Tensor, "n depth h w"]) -> Float[Tensor, "n embedding"]:
        """Embeddings from the last maps."""

    def for_inference(self) -> "Encoder":
        """What computes in its place where nothing is learnt, for validation, scoring and explanations alike.

        It is kept until the weights change, and is the encoder itself in training mode or where gradients are recorded.
        """
        return inference_form(self)

    def blocks(self) -> list[list[nn.Parameter]]:
        """Its parameters by depth, from the input on: the steps of its chain; a norm belongs to the step before it."""
        blocks: list[list[nn.Parameter]] = []
        for step in chain_steps(self):
            own = list(step.parameters())
            if blocks and all(parameter.ndim == 1 for parameter in own):
                blocks[-1] += own
            else:
                blocks.append(own)
        return [block for block in blocks if block]

    def forward(self, slices: Float[Tensor, "n channels rows columns"]) -> Float[Tensor, "n embedding"]:
        return self.pool_maps(self.feature_maps(slices))


def chain_steps(module: nn.Module) -> Iterator[nn.Module]:
    """The children of a module in order; in the place of a plain chain, those within it one by one."""
    for child in module.children():
        if type(child) is nn.Sequential:
            yield from chain_steps(child)
        else:
            yield child


def load_encoder_weights(module: nn.Module, weights: Mapping[str, Tensor], *, name: str) -> None:
    """Copy ``weights`` into ``module``: every tensor of the module must be there; classifier tensors are ignored.

    Raises:
        ModelError: tensors are missing, of another shape, or belong to another network; the first three are named.
    """
    given = {_rename(key): tensor for key, tensor in weights.items()}
    own = module.state_dict()
    given = {key: tensor for key, tensor in given.items() if key in own or key.split(".")[0] not in HEADS}
    wrong = [f"{key} is missing" for key in own if key not in given and not key.endswith("num_batches_tracked")]
    wrong += [f"{key} is no part of {name}" for key in given if key not in own]
    wrong += [
        f"{key} is {tuple(tensor.shape)}, expected {tuple(own[key].shape)}"
        for key, tensor in given.items()
        if key in own and tensor.shape != own[key].shape
    ]
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise ModelError(
            f"The weights do not fit {name}: {'; '.join(wrong[:3])}{more}. "
            f"Give weights made for {name}, or name the network they were made for."
        )
    with torch.no_grad():
        for key, tensor in given.items():
            own[key].copy_(tensor)


def digest_weights(module: nn.Module) -> bytes:
    """The SHA-256 of a module's parameters and buffers, by name: equal where two modules compute the same."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()


def _rename(key: str) -> str:
    for old, new in RENAMED:
        key = old.sub(new, key)
    return key
