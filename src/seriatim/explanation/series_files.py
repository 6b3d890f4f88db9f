"""The files that explain one series: a picture, a table, a page, a thumbnail for the index, and figures for papers."""

from __future__ import annotations

from pathlib import Path

from seriatim.explanation.anomaly import FrameExplanation
from seriatim.explanation.anomaly_figure import draw_frames
from seriatim.explanation.anomaly_table import write_frames_csv
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.figure import draw_explanation
from seriatim.explanation.figures import draw_class_curves, draw_paper_montage, draw_strip
from seriatim.explanation.index_page import THUMBNAILS
from seriatim.explanation.page.build import Explained, write_page
from seriatim.explanation.table import as_number, write_explanation_csv
from seriatim.io.pictures.encode import encode_thumbnail
from seriatim.io.tables.outputs import make_folder, write_bytes
from seriatim.series import Volume
from seriatim.trained import Scorer

FIGURES = "figures"
COLUMNS = ("picture", "page", "thumbnail", "label", "score", "prediction")
"""What ``explanations.csv`` says of the files of a series, and of its answer."""
PAPER_FIGURES = {"strip": draw_strip, "montage": draw_paper_montage, "curves": draw_class_curves}


def write_series(
    volume: Volume, explanation: Explained, stem: Path, *, model: Scorer, page: bool
) -> dict[str, str]:
    """Write ``stem``.png and .csv, and with ``page`` .html and a thumbnail; the cells of COLUMNS.

    ``stem`` may hold dots, as UIDs do.

    Raises:
        OutputError: a file cannot be written.
    """
    picture, table, html = (stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "csv", "html"))
    if isinstance(explanation, FrameExplanation):
        draw_frames(explanation, picture)
        write_frames_csv(explanation, table)
    else:
        draw_explanation(explanation, picture)
        write_explanation_csv(explanation, table)
    cells = {"picture": picture.name, **_tell_answer(explanation)}
    if not page:
        return cells
    write_page(volume, explanation, html, model=model)
    return {**cells, "page": html.name, "thumbnail": _write_thumbnail(explanation, stem)}


def draw_figures(explanation: Explanation, stem: Path, *, kinds: tuple[str, ...]) -> None:
    """Write the figures for papers into the folder ``figures`` beside ``stem``, as each of ``kinds``: png, svg.

    Raises:
        OutputError: a figure cannot be written.
    """
    folder = make_folder(stem.parent / FIGURES) if kinds else stem.parent
    for name, draw in PAPER_FIGURES.items():
        for kind in kinds:
            draw(explanation, folder / f"{stem.name}_{name}.{kind}")


def _tell_answer(explanation: Explained) -> dict[str, str]:
    if isinstance(explanation, FrameExplanation):
        score, prediction = explanation.scores.level, explanation.title.lower()
        return {"label": "anomaly", "score": as_number(score), "prediction": prediction}
    return {"label": explanation.label, "score": as_number(explanation.probability),
            "prediction": explanation.prediction}


def _write_thumbnail(explanation: Explained, stem: Path) -> str:
    """The slice that counts most, small; the name of its file."""
    place = 0
    if isinstance(explanation, FrameExplanation):
        place = max(range(len(explanation.shown)), key=lambda at: explanation.scores.levels[explanation.shown[at]])
    name = f"{stem.name}.webp"
    write_bytes(make_folder(stem.parent / THUMBNAILS) / name, encode_thumbnail(explanation.images[place]))
    return name
