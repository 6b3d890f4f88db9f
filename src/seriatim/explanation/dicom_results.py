"""DICOM results of many series: a folder each, a row each, and no bad one stops the others."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from seriatim import __version__
from seriatim.errors import ConfigError, OutputError, reason_of
from seriatim.explanation.batch import file_name
from seriatim.explanation.results import add_explanation, gather_numbers
from seriatim.io import read_volume
from seriatim.io.results import require_highdicom
from seriatim.io.tables.outputs import cell_text, make_folder
from seriatim.series import Prediction, Series
from seriatim.trained import Scorer

logger = logging.getLogger(__name__)
TABLE = "dicom_results.csv"
COLUMNS = ("study_uid", "series_uid", "volume", "model_digest", "result", "status", "reason", "folder", "files",
           "replaced")


class DicomResults:
    """Writes what a model said of series below ``folder`` as DICOM, and a row for each in ``dicom_results.csv``.

    The table is added to, never written anew: a second run adds its rows, and leaves alone what is there already, told
    by a digest of its numbers. ``counts`` are of series by status (``written``, ``partly``: some objects were left out,
    ``none``) or ``kept``, and of files that were ``replaced``.

    Args:
        folder: made where it does not exist.
        model: as for scoring.
        top: how many slices are key images, and are shown, at most 8.
        show: the attribution that ranks slices, as of ``ExplainOptions``.
        searched: where the series come from; the folder must not lie in it.

    Raises:
        ConfigError: highdicom is not installed, or ``folder`` lies in what is scored.
        OutputError: the folder cannot be made.
    """

    def __init__(
        self, folder: Path, *, model: Scorer, top: int = 6, show: str | None = None, searched: Path | None = None
    ) -> None:
        require_highdicom()
        if searched is not None and searched.is_dir() and folder.resolve().is_relative_to(searched.resolve()):
            raise ConfigError(f"{folder} lies in {searched}: its pictures would be scored the next time. Choose a "
                              "folder beside it for DICOM results.")
        self._folder, self._model, self._top, self._show = make_folder(folder), model, top, show
        self.counts: Counter[str] = Counter(written=0, partly=0, none=0, kept=0, replaced=0)
        self._there = self._read_table()

    def add(self, series: Series, prediction: Prediction) -> str:
        """Write what was said of one series; why nothing or not all was written, or "".

        Raises:
            OutputError: the table cannot be written.
        """
        folder, known = self._folder / self._name(series), self._tell(series, prediction)
        if known in self._there:
            self.counts["kept"] += 1
            return ""
        try:
            files, left_out, replaced = self._write(series, prediction, folder)
        except Exception as error:  # noqa: BLE001 - the boundary: one bad result must never stop the others
            logger.warning("series %s: no DICOM results: %s", series.series_uid, type(error).__name__)
            files, left_out, replaced = [], {"all": reason_of(error, files=series.files)}, []
        status = "none" if not files else "partly" if left_out else "written"
        reason = "; ".join(why if kind == "all" else f"{kind}: {why}" for kind, why in left_out.items())
        self.counts.update([status, *("replaced" for _ in replaced)])
        told = [status, reason, folder.name if files else "", ";".join(files), ";".join(replaced)]
        self._add_row([*known, *map(cell_text, told)])
        return reason

    def _write(
        self, series: Series, prediction: Prediction, folder: Path
    ) -> tuple[list[str], dict[str, str], list[str]]:
        """The names of the files, what is left out and why, and the names of those that stood there before."""
        from seriatim.io.results.write import write_results

        if prediction.status != "scored":
            return [], {"all": prediction.reason}, []
        result, left_out = gather_numbers(series, prediction, self._model, top=self._top), {}
        if series.format == "dicom":
            try:
                volume = read_volume(series, limits=self._model.limits)
                result = add_explanation(result, volume, self._model, top=self._top, show=self._show)
            except Exception as error:  # noqa: BLE001 - the numbers are there all the same
                left_out["summary"] = reason_of(error, files=series.files)
        filed = write_results(result, folder)
        for one in filed.files:
            if one.outcome == "replaced":
                logger.warning("%s held another result of this model, and was replaced", one.path)
        replaced = [one.path.name for one in filed.files if one.outcome == "replaced"]
        return [one.path.name for one in filed.files], {**left_out, **filed.left_out}, replaced

    def _tell(self, series: Series, prediction: Prediction) -> tuple[str, ...]:
        """The first cells of a row: which series, which model, and a digest of what it said."""
        numbers = hashlib.sha256(f"{__version__} {self._top} {self._show} {self._model.compute.key}".encode())
        for name, value in asdict(prediction).items():
            if name not in ("path", "seconds"):
                numbers.update(f"{name} {_plain(value)!r}".encode("utf-8", "backslashreplace"))
        cells = (series.study_uid, series.series_uid, series.volume, self._model.digest, numbers.hexdigest()[:16])
        return tuple(map(cell_text, cells))

    def _read_table(self) -> set[tuple[str, ...]]:
        """The first cells of the rows whose files are still there; a row that was cut short is none."""
        path = self._folder / TABLE
        if not path.exists():
            return set()
        try:
            with path.open(newline="", encoding="utf-8", errors="replace") as file:
                rows = [row for row in csv.DictReader(file) if row.get("replaced") is not None and row["files"]]
        except (OSError, csv.Error) as error:
            raise OutputError(f"{path} cannot be read: {error}. Choose another folder.") from error
        return {tuple(row[name] for name in COLUMNS[:5]) for row in rows
                if all((self._folder / row["folder"] / name).is_file() for name in row["files"].split(";"))}

    def _name(self, series: Series) -> str:
        """A folder for the series and the model: from UIDs alone, and no two share one."""
        told = repr((series.study_uid, series.series_uid, series.volume, self._model.digest))
        return f"{file_name(series)[:100]}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"

    def _add_row(self, cells: list[str]) -> None:
        path = self._folder / TABLE
        try:
            before = path.read_bytes()[-1:] if path.exists() else b""
            with path.open("a", newline="", encoding="utf-8", errors="backslashreplace") as file:
                file.write("\r\n" if before not in (b"", b"\n") else "")  # ends a row that was cut short
                csv.writer(file).writerows([cells] if before else [COLUMNS, cells])
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}. Free space, or choose another.") from error


def _plain(value: Any) -> Any:
    """A value whose repr tells all of it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, dict) else value
