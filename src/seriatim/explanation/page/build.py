"""From a volume and its explanation to the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from seriatim.explanation.anomaly import FrameExplanation
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.figure import tell_warnings
from seriatim.explanation.page.about import tell_model, tell_series
from seriatim.explanation.page.diagnosis import describe_diagnosis
from seriatim.explanation.page.frames import describe_frames
from seriatim.explanation.page.layout import render_report
from seriatim.explanation.page.pictures import MOST_BYTES, encode_slices
from seriatim.explanation.page.windows import choose_display
from seriatim.io.tables.outputs import write_text
from seriatim.series import Volume
from seriatim.trained import Model, Scorer

Explained = Explanation | FrameExplanation


def write_page(
    volume: Volume, explanation: Explained, path: Path, *, model: Model | Scorer | None = None
) -> None:
    """Write the page of one series: one file that asks no network for anything.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, build_page(volume, explanation, model=model))


def build_page(volume: Volume, explanation: Explained, *, model: Model | Scorer | None = None) -> str:
    """The page of one series as HTML; ``model`` adds its windows and what is known of it."""
    facts = None if model is None else tell_model(model)
    if isinstance(explanation, FrameExplanation):
        content = describe_frames(explanation, model=facts)
    else:
        content = describe_diagnosis(explanation, model=facts)
    headline = replace(content.headline, sentences=(*content.headline.sentences, *tell_warnings(explanation)))
    panels = (*content.panels, tell_series(volume.series, explanation.findings))
    content = replace(content, headline=headline, panels=panels)
    windows = getattr(model.experiment.preprocessing, "windows_hu", ()) if model is not None else ()
    display = choose_display(volume, windows_hu=windows or ())
    room = MOST_BYTES - sum(one.cells.nbytes for one in content.overlays)
    return render_report(content, encode_slices(volume, display, keep=content.marked, most_bytes=room), display)
