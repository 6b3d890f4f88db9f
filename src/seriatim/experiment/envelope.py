"""What scoring does with series unlike those of training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from seriatim.settings import Settings

Outside = Literal["refuse", "note"]


class EnvelopeSettings(Settings):
    """What scoring does with a series unlike those of training. What is noted is scored, with a code in `findings`."""

    body_part: Outside = "refuse"
    """The files name a body part, and none of those that training's files named (BODY_PART)."""
    intensity: Outside = "refuse"
    """The intensities lie far outside of the range that training's had (INTENSITY)."""
    distance: Literal["refuse", "note", "ignore"] = "refuse"
    """Its mean embedding lies further from training's than all but few of their kind (OUT_OF_DISTRIBUTION)."""
    false_refusals: float = Field(default=0.01, gt=0, lt=0.5)
    """The share of series like those of training that `distance` may take for foreign."""

    def with_outside(self, outside: Outside) -> EnvelopeSettings:
        """The same, with one answer to all; a distance that is ignored stays so."""
        kept = self.distance if self.distance == "ignore" else outside
        return self.model_copy(update={"body_part": outside, "intensity": outside, "distance": kept})
