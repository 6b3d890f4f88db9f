"""How faithful a model's maps of pixels are: of a few series of each split, the slices that would be shown."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from seriatim.errors import InputError
from seriatim.explanation.attribution.reading import Reading
from seriatim.explanation.faithfulness.maps import MapOptions, make_maps, measure_maps
from seriatim.explanation.methods import PIXEL_METHODS
from seriatim.explanation.table import rank_slices
from seriatim.studies.faithful_rows import Row
from seriatim.studies.held_out import HELD_OUT
from seriatim.tasks.predict import embed_series
from seriatim.trained import Model
from seriatim.trained.faithfulness import Figures, Measured
from seriatim.training.dataset import PreparedSeries

logger = logging.getLogger(__name__)


def measure_run_maps(
    model: Model, rows: Sequence[Row], prepared: PreparedSeries, *, shown: str, options: MapOptions
) -> list[Row]:
    """A row for each of the series with the highest probability in each split, as ``MapOptions`` says.

    The slices mapped are those that the attribution ``shown`` ranks first. Maps are made of the plain view of the
    model. A method that took too long on the first series has only its time there, and nothing on the others.
    """
    found: list[Row] = []
    names = list(PIXEL_METHODS)
    for split in HELD_OUT:
        own = sorted((row for row in rows if row.example.split == split), key=lambda row: -row.probability)
        for row in own[: options.series]:
            if not names:
                return found
            try:
                figures = _measure_one(model, row, prepared, shown=shown, names=names, options=options)
            except InputError as error:
                logger.warning("no map measured: %s", error)
                continue
            slow = [name for name, one in figures.items() if one["seconds"].value > options.affordable_s]
            names = [name for name in names if name in figures and name not in slow]
            found.append(Row(run=row.run, example=row.example, label=row.label, probability=row.probability,
                             figures=figures))
    return found


def _measure_one(
    model: Model, row: Row, prepared: PreparedSeries, *, shown: str, names: Sequence[str], options: MapOptions
) -> Figures:
    network, device = model.network, next(model.network.parameters()).device
    slices = prepared.slices(row.example.series)[:].to(device)
    reading = Reading(network=network, task=model.task, embeddings=embed_series(network, slices).clone())
    values = row.attributions.get(shown, next(iter(row.attributions.values())))
    chosen = [int(index) for index in np.argsort(rank_slices(values))[: options.slices]]
    class_index = model.task.class_names.index(row.label)
    maps = make_maps(reading, slices, names=names, class_index=class_index, shown=chosen)
    quick = maps.keep(name for name, seconds in maps.seconds.items() if seconds <= options.affordable_s)
    measured = measure_maps(
        reading, slices, quick, class_index=class_index, shown=chosen, options=options
    ) if quick.heat else {}  # fmt: skip
    slow = {name: {"seconds": Measured(value=one)} for name, one in maps.seconds.items() if name not in measured}
    return {**measured, **slow}
