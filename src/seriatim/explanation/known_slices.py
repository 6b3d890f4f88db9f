"""The true labels of the slices of the series that are explained, found in a table as training finds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.explanation.build import mark_truth
from seriatim.io.tables.manifest import Case, read_table
from seriatim.io.tables.slice_labels import SliceLabels, read_slice_labels
from seriatim.series import Series
from seriatim.series.batch import IGNORE
from seriatim.tasks import DiagnosisTask
from seriatim.trained import AnomalyModel, Scorer
from seriatim.trained.lineage import MANIFEST


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSlices:
    """The rows of a table of slice labels; nothing is known of any slice without one.

    A row without a series UID has a ``path``: the text of the manifest's row. Here there is no manifest, so that text
    is made again, from where a series lies or (``places``, by UID and volume) lay when the model was trained, as
    counted from each of the ``folders``: that of the table, and that of the run's manifest.
    """

    table: SliceLabels
    task: DiagnosisTask | None
    folders: tuple[Path, ...] = ()
    places: Mapping[tuple[str, str], Path] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None, model: Scorer) -> KnownSlices:
        """Read a table, if there is one. Raises ConfigError where it cannot be read."""
        if path is None or isinstance(model, AnomalyModel):
            return cls(table=SliceLabels(), task=None)
        settings = model.experiment.task
        table = read_slice_labels(path, labels=settings.slice_labels or settings.labels)
        manifests = [one.path / MANIFEST for one in model.members if (one.path / MANIFEST).is_file()]
        rows = [row for manifest in manifests for row in read_table(manifest)]
        return cls(
            table=table, task=model.task, folders=(path.absolute().parent, model.experiment.data.manifest.parent),
            places={(row["series_uid"], row["volume"]): Path(row["path"]) for row in rows},
        )

    def of(self, series: Series) -> NDArray[np.float64] | None:
        """(S,K), nan where a label is not known; None where none is."""
        if self.task is None:
            return None
        unknown = (float(IGNORE),) * self.task.outputs
        for text in dict.fromkeys(self._texts(series)):
            rows = self.table.of(series, Case(path=series.path, patient="", row={"path": text}))
            if any(row is not None for row in rows):
                labels = [unknown if row is None else self.task.encode_slice_labels(row) for row in rows]
                return mark_truth(self.task, np.array(labels))
        return None

    def _texts(self, series: Series) -> Iterator[str]:
        """What a table may call the path of a series."""
        before = self.places.get((series.series_uid, series.volume))
        for place in (series.path.absolute(), *([before] if before is not None else [])):
            for folder in self.folders:
                if place.is_relative_to(folder):
                    yield place.relative_to(folder).as_posix()
            yield str(place)
