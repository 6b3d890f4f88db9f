"""AnomalyNetwork: the shared encoder and the detectors that read what it makes of a sequence."""

from collections.abc import Sequence, Set
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from seriatim.errors import ModelError
from seriatim.models.chunks import encode_in_chunks
from seriatim.models.detectors.detector import Detector, Evidence
from seriatim.models.detectors.future import FutureSettings
from seriatim.models.detectors.gaussian import GaussianSettings
from seriatim.models.detectors.memory import MemorySettings
from seriatim.models.detectors.prediction import PredictionSettings
from seriatim.models.detectors.supervised import SupervisedSettings
from seriatim.models.encoder import Encoder
from seriatim.models.exact import in_full
from seriatim.models.lanes import on_lanes

DetectorSettings = Annotated[
    PredictionSettings | MemorySettings | GaussianSettings | FutureSettings | SupervisedSettings,
    Field(discriminator="kind"),
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

    chunk_size = 1
    """Frames are encoded one by one, as a live one comes: an encoder rounds otherwise in a larger batch."""

    @property
    def device(self) -> torch.device:
        """Where its weights are; a detector may have none, and the encoder's may be in an exported file."""
        return next((one.device for one in (*self.parameters(), *self.buffers())), torch.device("cpu"))

    @property
    def methods(self) -> tuple[Detector, ...]:
        """The detectors, in the order of the settings."""
        return tuple(one for one in self.detectors if isinstance(one, Detector))

    @property
    def fewest_frames(self) -> int:
        """The shortest sequence that all detectors can say something about."""
        return 1 + max(max(one.before, one.after) for one in self.methods)

    def look(self, slices: Float[Tensor, "slices channels rows columns"], reads: str) -> Tensor:
        """What a detector that reads ``embeddings``, ``maps`` or ``slices`` is given, frame by frame."""
        with in_full(self.device):
            return self._see(slices, {reads})[reads]

    def examine(self, slices: Float[Tensor, "slices channels rows columns"]) -> list[Evidence]:
        """The evidence of every detector about one sequence."""
        with in_full(self.device):
            seen = self._see(slices, {one.reads for one in self.methods})
            return on_lanes(lambda one: one.examine(seen[one.reads]), self.methods)

    def follow(
        self, frame: Float[Tensor, "channels rows columns"], states: Sequence[Any] | None
    ) -> tuple[list[Evidence], list[Any]]:
        """The evidence about the next frame of a sequence, and the states to go on from; None begins one.

        The same numbers as ``examine`` of the whole sequence, bit for bit.

        Raises:
            ValueError: a detector needs later frames.
        """
        seen = self._see(frame[None], {one.reads for one in self.methods})
        before = states or [None] * len(self.methods)
        told = on_lanes(lambda pair: pair[0].follow(seen[pair[0].reads][0], pair[1]),
                        zip(self.methods, before, strict=True))
        return [evidence for evidence, _ in told], [state for _, state in told]

    def _see(self, slices: Tensor, wanted: Set[str]) -> dict[str, Tensor]:
        """What the detectors read, by its name.

        Raises:
            ModelError: something in it is not a number. A detector would say nothing of it, which is no surprise.
        """
        seen = self._encode(slices, wanted)
        for name, values in seen.items():
            if not bool(torch.isfinite(values).all()):
                raise ModelError(f"BAD_VALUE: the {name} of a frame are not numbers. Check the file, or train anew.")
        return seen

    def _encode(self, slices: Tensor, wanted: Set[str]) -> dict[str, Tensor]:
        """Maps that are pooled to embeddings are computed once."""
        seen = {"slices": slices} if "slices" in wanted else {}
        if "maps" not in wanted:
            if "embeddings" in wanted:
                seen["embeddings"] = encode_in_chunks(self.encoder, slices, chunk_size=self.chunk_size)
            return seen
        encoder = self.encoder.for_inference()
        maps = on_lanes(lambda frame: encoder.feature_maps(frame[None].contiguous(memory_format=torch.channels_last)),
                        slices)
        if "embeddings" in wanted:
            seen["embeddings"] = torch.cat(on_lanes(encoder.pool_maps, maps))
        return seen | {"maps": torch.cat(maps)}


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
