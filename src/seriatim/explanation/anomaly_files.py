"""The files that explain one series of an anomaly model: a picture, a table and a page."""

from __future__ import annotations

from pathlib import Path

from seriatim.explanation.anomaly import explain_frames
from seriatim.explanation.anomaly_figure import draw_frames
from seriatim.explanation.anomaly_table import write_frames_csv
from seriatim.explanation.page.build import write_page
from seriatim.series import Volume
from seriatim.trained import AnomalyModel


def write_frame_explanation(volume: Volume, model: AnomalyModel, stem: Path, *, top: int) -> None:
    """Write ``stem``.csv, .png and .html. ``stem`` may hold dots, as UIDs do.

    Raises:
        OutputError: a file cannot be written.
        ValueError: ``top`` is not 1 to 8.
    """
    explanation = explain_frames(volume, model, top=top)
    draw_frames(explanation, stem.with_name(f"{stem.name}.png"))
    write_frames_csv(explanation, stem.with_name(f"{stem.name}.csv"))
    write_page(volume, explanation, stem.with_name(f"{stem.name}.html"), model=model)
