"""AnomalyNetwork: the shared encoder and the detectors that read what it makes of a sequence."""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from seriatim.models.chunks import encode_in_chunks
from seriatim.models.detectors.detector import Detector, Evidence
from seriatim.models.detectors.future import FutureSettings
from seriatim.models.detectors.gaussian import GaussianSettings
from seriatim.models.detectors.memory import MemorySettings
from seriatim.models.detectors.prediction import PredictionSettings
from seriatim.models.encoder import Encoder

DetectorSettings = Annotated[
    PredictionSettings | MemorySettings | GaussianSettings | FutureSettings, Field(discriminator="kind")
]


class AnomalyNetwork(nn.Module):
    """An encoder for slices of ``in_channels`` and one detector for each of ``methods``. Always in eval mode to score.

    Raises:
        ModelError: a method reads maps, and the encoder has none.
    """

    def __init__(self, methods: Sequence[DetectorSettings], *, encoder: Encoder, in_channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.detectors = nn.ModuleList(_build(method, encoder, in_channels) for method in methods)

    @property
    def methods(self) -> tuple[Detector, ...]:
        """The detectors, in the order of the settings."""
        return tuple(one for one in self.detectors if isinstance(one, Detector))

    @property
    def fewest_frames(self) -> int:
        """The shortest sequence that all detectors can say something about."""
        return 1 + max(max(one.before, one.after) for one in self.methods)

    def look(self, slices: Float[Tensor, "slices channels rows columns"], reads: str) -> Tensor:
        """What a detector that reads ``embeddings``, ``maps`` or ``slices`` is given, in chunks of one size."""
        if reads == "slices":
            return slices
        if reads == "embeddings":
            return encode_in_chunks(self.encoder, slices)
        return torch.cat([self.encoder.feature_maps(one[None]) for one in slices])

    def examine(self, slices: Float[Tensor, "slices channels rows columns"]) -> list[Evidence]:
        """The evidence of every detector about one sequence."""
        seen = {reads: self.look(slices, reads) for reads in {one.reads for one in self.methods}}
        return [one.examine(seen[one.reads]) for one in self.methods]


def _build(method: DetectorSettings, encoder: Encoder, in_channels: int) -> Detector:
    if isinstance(method, FutureSettings):
        return method.build()
    return method.build(_measure_depth(encoder, in_channels) if isinstance(method, MemorySettings)
                        else encoder.embedding_size)


def _measure_depth(encoder: Encoder, in_channels: int) -> int:
    """How many channels the encoder's maps have."""
    before = encoder.training
    encoder.eval()
    with torch.inference_mode():
        depth = encoder.feature_maps(torch.zeros(1, in_channels, 64, 64)).shape[1]
    encoder.train(before)
    return depth
