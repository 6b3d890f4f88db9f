"""A memory of normal patches: a frame is as abnormal as the patch that is least like any of them."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from seriatim.models.detectors.detector import Detector, Evidence
from seriatim.settings import Settings

PROJECTED = 128


class MemorySettings(Settings):
    """Nearest neighbours among the patches of normal frames, thinned to a coreset (PatchCore: Roth et al. 2022)."""

    kind: Literal["memory"] = "memory"
    size: int = Field(default=2000, ge=1)
    """Patches kept: those that, one after another, lie farthest from what is kept already."""
    patches: int = Field(default=50_000, ge=1)
    """Patches of the normal frames to choose from, spread evenly over all of them."""
    neighbours: int = Field(default=3, ge=1)
    """The mean distance to so many nearest kept patches is the score of a patch."""

    def build(self, depth: int) -> "MemoryDetector":
        return MemoryDetector(self, depth=depth)


class MemoryDetector(Detector):
    """Raw score: the largest patch distance of a frame. ``places`` are the distances of all its patches."""

    reads = "maps"
    bank: Tensor
    kept: Tensor

    def __init__(self, settings: MemorySettings, *, depth: int) -> None:
        super().__init__()
        self.neighbours = settings.neighbours
        self.size = settings.size
        self.register_buffer("bank", torch.zeros(settings.size, depth))
        self.register_buffer("kept", torch.tensor(0))

    def fit(self, patches: Float[Tensor, "n depth"], *, seed: int) -> None:
        """Keep ``size`` of the normal patches, or fewer where so many do not differ.

        Raises:
            ValueError: no patch is given.
        """
        if not len(patches):
            raise ValueError("a memory needs at least one patch")
        chosen = choose_coreset(patches, self.size, seed=seed)
        self.bank.zero_()[: len(chosen)] = patches[chosen].to(self.bank)
        self.kept.fill_(len(chosen))

    def examine(self, inputs: Float[Tensor, "slices depth h w"]) -> Evidence:
        bank = self.bank[: int(self.kept)]
        # one frame at a time: a product of one shape always, so that a score never depends on the frames beside it
        places = torch.stack([_distances(make_patches(one[None]), bank, self.neighbours) for one in inputs])
        places = places.view(len(inputs), *inputs.shape[-2:])
        return Evidence(parts={"memory": places.flatten(1).amax(dim=1)}, places=places)


def make_patches(maps: Float[Tensor, "n depth h w"]) -> Float[Tensor, "patches depth"]:
    """The patches of frames, row by row: each place of the maps, averaged with the places around it."""
    around = functional.avg_pool2d(maps, kernel_size=3, stride=1, padding=1, count_include_pad=False)
    return around.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def choose_coreset(patches: Float[Tensor, "n depth"], count: int, *, seed: int) -> Int[Tensor, " kept"]:
    """Indices of at most ``count`` patches that cover the others: greedy k-centre (Gonzalez 1985).

    Distances are taken after a random projection to 128 dimensions (Johnson and Lindenstrauss), as in PatchCore.
    """
    generator = torch.Generator().manual_seed(seed)
    projection = torch.randn(patches.shape[1], PROJECTED, generator=generator) / PROJECTED**0.5
    points = patches.float().cpu() @ projection if patches.shape[1] > PROJECTED else patches.float().cpu()
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    farthest = (points - points[chosen[0]]).square().sum(dim=1)
    while len(chosen) < min(count, len(points)):
        index = int(farthest.argmax())
        if farthest[index] <= 0:
            break  # all that is left is kept already
        chosen.append(index)
        farthest = torch.minimum(farthest, (points - points[index]).square().sum(dim=1))
    return torch.tensor(chosen)


def _distances(
    patches: Float[Tensor, "n depth"], bank: Float[Tensor, "m depth"], neighbours: int
) -> Float[Tensor, " n"]:
    """The mean Euclidean distance of each patch to its nearest ones in the bank."""
    centre = bank.mean(dim=0)  # smaller numbers lose less where large squares cancel
    found = torch.cdist(patches - centre, bank - centre, compute_mode="use_mm_for_euclid_dist")
    return found.topk(min(neighbours, len(bank)), largest=False).values.mean(dim=1)
