"""What a run learns of the series that it is made for: ranges of the used ones, and what is familiar to the encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seriatim.series.geometry import plane_of
from seriatim.trained import Envelope
from seriatim.trained.familiarity import Familiarity, Points, mean_direction
from seriatim.training.examples import Example
from seriatim.training.familiarity import learn_familiarity
from seriatim.training.series_traits import SeriesTraits
from seriatim.training.session import Session


def learn_envelope(session: Session) -> tuple[Envelope, Familiarity | None]:
    """The envelope of the series of train and val, and the familiarity of train; None where there are too few patients,
    or `envelope.distance` is ignore.
    """
    examples = session.examples
    envelope = measure_envelope([*examples.of("train"), *examples.of("val")], session.traits)
    asked = session.experiment.envelope
    if asked.distance == "ignore":
        return envelope, None
    train, held_out = (_directions(session, examples.of(split)) for split in ("train", "val"))
    patients = [example.case.patient for example in examples.of("train")]
    return envelope, learn_familiarity(
        train, patients=patients, held_out=held_out, false_refusals=asked.false_refusals
    )


def _directions(session: Session, examples: Sequence[Example]) -> Points:
    return np.stack([mean_direction(session.embed(example)) for example in examples])


def measure_envelope(examples: Sequence[Example], traits: SeriesTraits) -> Envelope:
    """What the used examples cover."""
    intensity = np.array([traits.of(example.series).intensity for example in examples])
    ranges = zip(intensity.min(axis=0), intensity.max(axis=0), strict=True)
    series = [example.series for example in examples]
    counts = [len(one.instances) for one in series]
    spacings = [one.spacing_mm[2] for one in series if one.spacing_mm is not None]
    return Envelope(
        modalities=tuple(sorted({one.modality for one in series})),
        planes=tuple(sorted({plane_of(one.affine) for one in series if one.affine is not None})),
        axis=series[0].axis,
        slices=(min(counts), max(counts)),
        slice_spacing_mm=(min(spacings), max(spacings)) if spacings else None,
        body_parts=tuple(sorted({part for one in series for part in one.body_parts})),
        intensity=tuple((float(low), float(high)) for low, high in ranges),
    )
