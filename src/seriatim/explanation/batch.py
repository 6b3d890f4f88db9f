"""Explain every series below a path: a picture and a table of numbers each."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from seriatim.errors import OutputError, RefusedError, reason_of
from seriatim.experiment.envelope import Outside
from seriatim.explanation.anomaly import explain_frames
from seriatim.explanation.build import ExplainOptions, explain_volume
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.figures import draw_cohort, read_cohort
from seriatim.explanation.figures.paper import UNITS
from seriatim.explanation.index_page import write_index
from seriatim.explanation.known_slices import KnownSlices
from seriatim.explanation.methods import SLICE_METHODS
from seriatim.explanation.series_files import COLUMNS as OF_FILES
from seriatim.explanation.series_files import FIGURES, draw_figures, write_series
from seriatim.explanation.volumes import write_volumes
from seriatim.io import find_series, read_volume
from seriatim.io.isolation.limits import Limits
from seriatim.io.tables.outputs import cell_text, make_folder, write_csv
from seriatim.series import Code, Series
from seriatim.series.findings import Action
from seriatim.trained import AnomalyModel, Models, Scorer, load_scorer

logger = logging.getLogger(__name__)
COLUMNS = ("series_uid", "volume", "path", "status", "reason", *OF_FILES)
MEASURED = ("series_uid", "volume", "class", "method", "measure", "value", "chance", "chance_low", "chance_high")
Report = Callable[[int, int, Series, str], None]
"""(series done, series in all, the series, "" or why there is no picture)."""


def explain(
    path: Path | str,
    *,
    model: Models,
    output: Path | str,
    device: str = "auto",
    top: int = 6,
    only: Collection[str] | None = None,
    actions: Mapping[Code, Action] | None = None,
    outside: Outside | None = None,
    limit: int | None = None,
    limits: Limits | None = None,
    options: ExplainOptions | None = None,
    slice_labels: Path | None = None,
    report: Report | None = None,
) -> list[dict[str, str]]:
    """Write ``<series_uid>.png`` and ``<series_uid>.csv`` for every series below ``path``, and ``explanations.csv``.

    With ``options.page`` there is ``<series_uid>.html`` too, a page to go through the slices, and ``index.html`` over
    all series; with ``options.figures`` a folder of figures for papers, with ``options.nifti`` one of volumes. Where
    faithfulness is measured there is ``faithfulness.csv``, a row for each figure of each series.

    Args:
        path: a folder (searched through), a file, or a ZIP archive or a folder in one.
        model: one or more run folders, the folder of a cross-validation, or what ``load_scorer`` made of them; of
            several models the means are explained.
        output: the folder for pictures and tables; made where it does not exist.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        top: how many slices (of an anomaly model: frames) to show, at most 8.
        only: series UIDs to explain; all others are left alone.
        actions: what to do on findings, where it differs from what the model was trained with.
        outside: whether series outside of what training saw are refused or only noted, where it shall not be as the
            model says; as in ``score``.
        limit: explain at most this many series.
        limits: time and memory for reading a series in its worker process, where not ``data.reading`` of the model.
        options: by which methods, and whether their faithfulness is measured, not of an anomaly model; and what is
            written.
        slice_labels: a CSV of true slice labels, as in training, to measure explanations against and to mark.
        report: told after every series.

    Returns:
        The rows of ``explanations.csv``: series_uid, volume, path, status, reason, and the names of the files and the
        answer.

    Raises:
        InputError: ``path`` does not exist.
        ConfigError: ``slice_labels`` cannot be read.
        ModelError: the model is incomplete, changed or does not fit.
        OutputError: ``output`` cannot be written.
    """
    loaded = load_scorer(model, device=device).with_outside(outside)
    loaded = loaded if limits is None else loaded.with_limits(limits)
    options = replace(options or ExplainOptions(), top=top)
    true = KnownSlices.read(slice_labels, loaded)
    folder = make_folder(Path(output))
    data = loaded.experiment.data
    policy = {**data.findings, **(actions or {})}
    found = find_series(path, policy, sequence=data.sequence, limits=loaded.limits).series
    asked = [series for series in found if only is None or series.series_uid in only][:limit]
    names, rows = unique_names(asked), []
    measured: list[dict[str, str]] = []
    shown = ""
    for done, (series, name) in enumerate(zip(asked, names, strict=True), start=1):
        refusal = loaded.refuse(series)
        made = _Made(status="refused", reason=refusal) if refusal else _explain_into(
            folder / name, series, loaded, options=options, true=true
        )  # fmt: skip
        reason = made.reason
        measured += made.measured
        shown = shown or made.shown
        cells = {"series_uid": series.series_uid, "volume": series.volume, "path": str(series.path),
                 "status": made.status, "reason": reason, **made.cells}
        rows.append({key: cell_text(cells.get(key, "")) for key in COLUMNS})
        if report is not None:
            report(done, len(asked), series, reason)
    if asked and len(true.table) and true.table.unused_count == len(true.table):
        logger.warning("No row of %s labels a slice of these series: nothing is marked, and nothing was measured "
                       "against it. Its UIDs or paths differ; a path counts from the table or from "
                       "the manifest of the run.", slice_labels)
    write_csv(folder / "explanations.csv", COLUMNS, rows)
    if options.measured and not isinstance(loaded, AnomalyModel):
        write_csv(folder / "faithfulness.csv", MEASURED, measured)
    noun = "frame" if {series.axis for series in asked} == {"time"} else "slice"
    _write_overview(folder, rows, options=options, shown=shown, noun=noun)
    return rows


def file_name(series: Series) -> str:
    """A file name from UIDs alone, safe whatever the tags hold."""
    text = series.series_uid + (f"_{series.volume}" if series.volume else "")
    return re.sub(r"[^0-9A-Za-z.-]+", "_", text).strip("._")[:120] or "series"


def unique_names(found: Sequence[Series]) -> list[str]:
    """A file name for each series; where two would share one, each gets a number."""
    names = [file_name(series) for series in found]
    total, seen = Counter(name.lower() for name in names), Counter[str]()
    unique = []
    for name in names:
        seen[name.lower()] += 1
        unique.append(name if total[name.lower()] == 1 else f"{name}-{seen[name.lower()]}")
    return unique


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What became of one series, why where nothing was made, its further cells, the rows of what was measured, and
    what its table calls the values that are shown first.
    """

    status: str = "explained"
    reason: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)
    measured: Sequence[dict[str, str]] = ()
    shown: str = ""


def _explain_into(stem: Path, series: Series, model: Scorer, *, options: ExplainOptions, true: KnownSlices) -> _Made:
    """Write the files of one series."""
    try:
        volume = read_volume(series, limits=model.limits)
        options = replace(options, top=min(options.top, len(series.instances)))
        if isinstance(model, AnomalyModel):
            frames = explain_frames(volume, model, top=options.top)
            if options.nifti:
                write_volumes(volume, frames, stem)
            return _Made(cells=write_series(volume, frames, stem, model=model, page=options.page), shown="score")
        explanation = explain_volume(volume, model, options=options, truth=true.of(series))
        draw_figures(explanation, stem, kinds=options.figures)
        if options.nifti:
            write_volumes(volume, explanation, stem)
        return _Made(cells=write_series(volume, explanation, stem, model=model, page=options.page),
                     measured=tuple(_tell_measured(explanation, volume=series.volume)),
                     shown=explanation.shown_attribution)
    except OutputError:
        raise  # the folder is at fault, and every series would fail alike
    except RefusedError as error:
        return _Made(status="refused", reason=reason_of(error, files=series.files))
    except Exception as error:  # noqa: BLE001 - the boundary: one bad series must never stop the others
        logger.warning("series %s failed: %s", series.series_uid, type(error).__name__)
        return _Made(status="failed", reason=reason_of(error, files=series.files))


def _write_overview(
    folder: Path, rows: Sequence[Mapping[str, str]], *, options: ExplainOptions, shown: str, noun: str
) -> None:
    """What is about all series: the index, and the cohort's figure of the method ``shown`` ("" where no series was)."""
    if options.page and rows:
        write_index(folder)
    if options.figures and shown:
        method, cohort = SLICE_METHODS.get(shown), read_cohort(folder, column=shown)
        name, unit = (method.title, UNITS[method.unit]) if method else (f"anomaly {shown}", shown)
        for kind in options.figures:
            draw_cohort(cohort, make_folder(folder / FIGURES) / f"cohort.{kind}", name=name, unit=unit, noun=noun)


def _tell_measured(explanation: Explanation, *, volume: str) -> Iterator[dict[str, str]]:
    """A row for each figure that was measured on the series."""
    methods = explanation.faithfulness.methods if explanation.faithfulness else {}
    named = [cell_text(text) for text in (explanation.series_uid, volume, explanation.label)]
    for method, figures in methods.items():
        for measure, one in figures.items():
            numbers = (one.value, one.chance, one.chance_low, one.chance_high)
            cells = [*named, method, measure, *("" if value is None else f"{value:.6g}" for value in numbers)]
            yield dict(zip(MEASURED, cells, strict=True))
