"""What every detector of abnormal frames is to the rest: fitted on normal sequences, asked for raw scores."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a detector says about one sequence of S frames.

    ``parts`` are raw scores (S,) by name, each larger where a frame is less normal and each with its own scale; what
    makes them comparable is learnt from normal frames afterwards. A part that says nothing about a frame (the first one
    has no step before it) is NaN there. ``places`` (S,h,w) says where in a frame it is, for detectors that know.
    ``by_level`` is False where a raw score means the same at every place along the sequence: that of a detector which
    was taught what is abnormal has the place in it, and to take it out would take away what was taught.
    """

    parts: Mapping[str, Float[Tensor, " slices"]]
    places: Float[Tensor, "slices h w"] | None = field(default=None)
    by_level: bool = True


class Detector(nn.Module, ABC):
    """Scores frames from their embeddings (S,E), or from the encoder's maps (S,D,h,w) where ``reads`` is "maps".

    ``before`` and ``after`` are how many neighbours a frame's score needs: 0 and 0 for one that looks at each frame
    alone, which can never see that frames are in a wrong order. ``causal`` is True where no later frame is read.
    """

    reads: str = "embeddings"
    before: int = 0
    after: int = 0
    causal: bool = True

    @abstractmethod
    def examine(self, inputs: Tensor) -> Evidence:
        """The evidence about one sequence."""

    def follow(self, frame: Tensor, state: Any) -> tuple[Evidence, Any]:
        """The evidence about the next frame of a sequence, and the state to go on from; None begins one.

        Frame by frame it gives what ``examine`` gives, bit for bit. This is that of detectors that look at each frame
        alone; those that remember have their own.

        Raises:
            ValueError: the detector needs later frames.
        """
        if not self.causal or self.before:
            raise ValueError(f"{type(self).__name__} cannot follow a sequence frame by frame")
        return self.examine(frame[None]), state
