"""What was measured of the scores of an anomaly model, and what has no meaning there, in sentences."""

from __future__ import annotations

from seriatim.explanation.faithfulness.errors import PLACES, SCORE
from seriatim.explanation.faithfulness.words import SPLITS, tell_gap
from seriatim.trained.faithfulness import Faithfulness, Figures

ITSELF = ("The curve is the error of the model itself and no explanation of it: there is nothing to choose, and "
          "shuffled weights, completeness and leaving out have no meaning here.")
UNMEASURED = ("Whether the frames and places with the highest error make the score, and are truly abnormal, was not "
              "measured of this model (seriatim faithfulness).")
BY_CONSTRUCTION = "every method of this model judges a frame by itself, so that this holds by construction"


def tell_errors(figures: Figures, places: Figures, *, split: str, count: int, apart: bool) -> tuple[str, ...]:
    """What was measured over ``count`` series of ``split``; ``apart``: all methods judge frames by themselves."""
    said, over = [ITSELF], f"{count} {SPLITS.get(split, split)} series"
    frames = figures.get(SCORE, {})
    if "gap" in frames:
        said.append(f"Of {over}, the {frames['gap'].n} with the highest score: with frames put in (taken out) by their "
                    f"score, insertion less deletion is {tell_gap(frames)} of the score of the series; random orders "
                    f"give 0{f' ({BY_CONSTRUCTION})' if apart else ''}.")
    if "gap" in places.get(PLACES, {}):
        said.append("With places of the highest frame put right by those of the most normal frame of its series, "
                    f"insertion less deletion is {tell_gap(places[PLACES])} of the score of the frame; random orders "
                    "give 0.")
    else:
        said.append("No method of this model knows places in a frame.")
    if "pointing" in frames:
        one = frames["pointing"]
        said.append(f"The highest frame is truly abnormal in {100 * one.value:.0f} % of {one.n} series; by chance in "
                    f"{100 * (one.chance or 0):.0f} %.")
    else:
        said.append("Whether the highest frames are truly abnormal was not measured: no series with frames of both "
                    "kinds is labelled (data.slice_labels).")
    return tuple(said)


def tell_error_trust(known: Faithfulness | None) -> tuple[str, ...]:
    """What a page says of the scores of an anomaly model."""
    if known is None:
        return ITSELF, UNMEASURED
    return known.words
