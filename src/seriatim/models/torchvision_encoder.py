"""Any torchvision classification network as an encoder: head removed, first convolution fitted to C channels."""

import difflib
from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from seriatim.compat import import_torchvision
from seriatim.errors import ConfigError, ModelError
from seriatim.models.encoder import HEADS, Encoder, chain_steps, load_encoder_weights
from seriatim.settings import Settings

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INCEPTION_MEAN, INCEPTION_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
INCEPTIONS = ("googlenet", "inception_v3")
DRY_RUN_SIZE = 64

Freeze = Literal["none", "batchnorm", "all"]
Pool = Literal["mean", "max", "both"]


class TorchvisionSettings(Settings):
    """A network of torchvision.models by its name, for example mobilenet_v2, resnet50 or convnext_tiny."""

    kind: Literal["torchvision"] = "torchvision"
    name: str = Field(default="mobilenet_v2", min_length=1)
    """A classification network of torchvision, for example mobilenet_v2, resnet50 or convnext_tiny."""
    weights: str | None = None
    """Path of a state dict (.pth or .safetensors) or of a run folder whose encoder to go on from, "imagenet" to
    download torchvision's own, or null: random."""
    freeze: Freeze = "none"
    """batchnorm: statistics and scales of BatchNorm stay as loaded; all: the whole encoder does."""
    pool: Pool = "mean"
    """How maps become an embedding: their mean, their maximum (Oquab et al. 2015), which a small finding moves more, or
    both, one after the other."""
    stages: int = Field(default=1, ge=1, le=4)
    """Of how many resolutions maps are taken, counted from the last: 2 adds those whose cells are half as wide and show
    smaller things (Hariharan et al. 2015, hypercolumns)."""

    def build(self, in_channels: int, weights: Mapping[str, Tensor] | None = None) -> "TorchvisionEncoder":
        """The encoder, with ``weights`` loaded where given: a whole state dict, or one without the classifier.

        Where ``in_channels`` is not that of the weights (3), the mean of the first convolution over its channels is
        repeated and rescaled, which keeps the response to a grey image.

        Raises:
            ConfigError: torchvision has no classification network of this name, or it has no such stages.
            ModelError: ``weights`` lacks tensors of the encoder, or belongs to another network.
        """
        network = _make_network(self.name)
        first = next(name for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
        if weights is not None:
            kernel = weights.get(f"{first}.weight")
            if kernel is not None and kernel.ndim == 4 and kernel.shape[1] == in_channels:
                _adapt_channels(network, first, in_channels=in_channels)
            load_encoder_weights(network, weights, name=self.name)
        _adapt_channels(network, first, in_channels=in_channels)
        kind = VisionTransformerEncoder if hasattr(network, "conv_proj") else TorchvisionEncoder
        return kind(network, self, in_channels=in_channels)


class TorchvisionEncoder(Encoder):
    """A torchvision network as a chain: its children up to the pooling, then global pooling.

    All torchvision's convolutional classifiers are chains of their children. The hidden linear layers that some have
    between pooling and classifier (VGG, AlexNet, MobileNetV3) are dropped with the head; ConvNeXt's last norm is kept.
    With several stages, the maps of all of them stand on the finest grid, the last stage's first.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Any, settings: TorchvisionSettings, *, in_channels: int) -> None:
        super().__init__()
        self.name, self.frozen, self.pool = settings.name, settings.freeze, settings.pool
        freeze = settings.freeze
        self.smallest, self.only_size = _size_limits(settings.name)
        self._add_normalisation(in_channels)
        self._take_parts(network)
        self._measure(in_channels, stages=settings.stages)
        for module in self.modules():
            if freeze == "all" or (freeze == "batchnorm" and isinstance(module, _BatchNorm)):
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "TorchvisionEncoder":
        """As in torch, but what is frozen stays in eval mode."""
        super().train(mode and self.frozen != "all")
        if self.frozen == "batchnorm":
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def feature_maps(self, slices: Float[Tensor, "n channels rows columns"]) -> Float[Tensor, "n depth h w"]:
        maps, finer = self.prepare(slices), []
        for place, step in enumerate(chain_steps(self.trunk)):
            maps = step(maps)
            if place in self.stage_ends:
                finer.append(maps)
        if not finer:
            return maps
        grid = finer[0].shape[2:]
        return torch.cat([_spread(one, grid) for one in (maps, *reversed(finer))], dim=1)

    def pool_maps(self, maps: Float[Tensor, "n depth h w"]) -> Float[Tensor, "n embedding"]:
        pooled = []
        if self.pool != "max":
            pooled.append(functional.adaptive_avg_pool2d(maps, 1))
        if self.pool != "mean":
            pooled.append(maps.amax(dim=(2, 3), keepdim=True))
        parts = [part for one in pooled for part in (self.norm(one[:, : self.depth]), one[:, self.depth :])]
        return torch.cat(parts, dim=1).flatten(1)

    def prepare(self, slices: Float[Tensor, "n channels rows columns"]) -> Float[Tensor, "n channels rows2 columns2"]:
        """Normalised slices, resized where the network takes one size only."""
        size = slices.shape[-2:]
        if self.only_size is not None and tuple(size) != self.only_size:
            slices = functional.interpolate(slices, self.only_size, mode="bilinear", antialias=True)
        elif min(size) < self.smallest:
            raise ModelError(
                f"{self.name} needs slices of at least {self.smallest} x {self.smallest} pixels, not "
                f"{size[0]} x {size[1]}. Raise the size in preprocessing, or choose another encoder."
            )
        return (slices - self.mean) / self.std

    def _take_parts(self, network: Any) -> None:
        steps: OrderedDict[str, nn.Module] = OrderedDict()
        for name, child in network.named_children():
            if name == "avgpool" or name in HEADS:
                break
            steps[name] = nn.Sequential(*child) if isinstance(child, nn.ModuleList) else child
        if self.name.startswith("densenet"):
            steps["relu"] = nn.ReLU()  # DenseNet.forward applies it outside its children
        self.trunk = nn.Sequential(steps)
        self.norm: nn.Module = network.classifier[0] if self.name.startswith("convnext") else nn.Identity()

    def _add_normalisation(self, in_channels: int) -> None:
        inception = self.name in INCEPTIONS
        mean = torch.tensor(INCEPTION_MEAN if inception else IMAGENET_MEAN)
        std = torch.tensor(INCEPTION_STD if inception else IMAGENET_STD)
        if in_channels != len(mean):
            mean, std = mean.mean().repeat(in_channels), std.mean().repeat(in_channels)
        self.register_buffer("mean", mean[None, :, None, None])
        self.register_buffer("std", std[None, :, None, None])

    def _measure(self, in_channels: int, *, stages: int) -> None:
        """Find where the stages end, and how many maps and numbers a slice gets, on an empty slice."""
        self.eval()
        side = max(self.smallest, DRY_RUN_SIZE)
        slices = torch.zeros(1, in_channels, side, side)
        with torch.no_grad():
            maps, shapes = self.prepare(slices), []
            for step in chain_steps(self.trunk):
                maps = step(maps)
                shapes.append(maps.shape)
            ends = [place for place, (one, after) in enumerate(pairwise(shapes)) if one[-2:] != after[-2:]]
            if stages > 1 and (self.name.startswith("swin") or stages > len(ends) + 1):  # swin's have channels last
                raise ConfigError(
                    f"{self.name} has no maps of {stages} resolutions. Take another network, or leave "
                    "network.encoder.stages out."
                )
            self.depth, self.stage_ends = int(maps.shape[1]), frozenset(ends[len(ends) - stages + 1 :])
            self.embedding_size = int(self(slices).shape[1])


class VisionTransformerEncoder(TorchvisionEncoder):
    """A ViT: the embedding is its class token. It has no convolutional maps, and takes one slice size (resized)."""

    def feature_maps(
        self,
        slices: Float[Tensor, "n channels rows columns"],  # noqa: ARG002  the contract of Encoder
    ) -> Float[Tensor, "n depth h w"]:
        raise ModelError(
            f"{self.name} has no convolutional maps, so Grad-CAM cannot look into it. "
            "Use a convolutional encoder, or an explanation without Grad-CAM."
        )

    def blocks(self) -> list[list[nn.Parameter]]:
        layers = [list(layer.parameters()) for layer in self.network.encoder.layers]
        first = [self.network.class_token, *self.network.conv_proj.parameters(), self.network.encoder.pos_embedding]
        return [first, *layers[:-1], [*layers[-1], *self.network.encoder.ln.parameters()]]

    def forward(self, slices: Float[Tensor, "n channels rows columns"]) -> Float[Tensor, "n embedding"]:
        embeddings: Tensor = self.network(self.prepare(slices))
        return embeddings

    def _take_parts(self, network: Any) -> None:
        self.network = network

    def _measure(self, in_channels: int, *, stages: int) -> None:  # noqa: ARG002
        if self.pool != "mean" or stages > 1:
            raise ConfigError(f"{self.name} has no maps. Leave network.encoder.pool and stages out.")
        self.embedding_size = int(self.network.hidden_dim)


def _spread(maps: Tensor, grid: torch.Size) -> Tensor:
    """Coarser maps on a finer grid, each cell repeated."""
    return maps if maps.shape[2:] == grid else functional.interpolate(maps, grid, mode="nearest-exact")


def _make_network(name: str) -> Any:
    """The torchvision network of this name with random weights and without its head; other tensors keep their names."""
    models = import_torchvision().models
    names = models.list_models(module=models)
    if name not in names:
        near = difflib.get_close_matches(name.lower(), names, n=5, cutoff=0.4) or names
        raise ConfigError(f"torchvision has no classification network {name!r}. Near: {', '.join(near)}.")
    options: dict[str, Any] = {}
    if name in INCEPTIONS:
        options = {"aux_logits": False, "transform_input": False, "init_weights": True}
    elif name.startswith("vit_"):
        options = {"image_size": _published_size(name)}
    network = models.get_model(name, weights=None, **options)
    head = next(child for child in HEADS if hasattr(network, child))
    keep_norm = name.startswith("convnext")
    setattr(network, head, network.classifier[:1] if keep_norm else nn.Identity())
    return network


def _published_size(name: str) -> int:
    weights = import_torchvision().models.get_model_weights(name).DEFAULT
    return int(weights.meta["min_size"][0])


def _size_limits(name: str) -> tuple[int, tuple[int, int] | None]:
    """The smallest side a network takes, and its one legal size where it has only one."""
    size = _published_size(name)
    if name.startswith(("vit_", "maxvit")):
        return 1, (size, size)
    return (1 if name.startswith("swin") else size), None  # swin pads: its "minimum" is only its training size


def _adapt_channels(network: nn.Module, name: str, *, in_channels: int) -> None:
    """Fit the first convolution to ``in_channels``: a grey image answers as before, since the kernels' sum is kept."""
    first = network.get_submodule(name)
    if isinstance(first, nn.Conv2d) and first.in_channels != in_channels:
        kernel = first.weight.detach().sum(dim=1, keepdim=True) / in_channels
        first.weight = nn.Parameter(kernel.repeat(1, in_channels, 1, 1))
        first.in_channels = in_channels
