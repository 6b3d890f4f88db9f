"""The page of a series in a notebook: it works in the cell, and a picture stands there where pages are not shown."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from typing import Any, Literal

from seriatim.explanation.anomaly import FrameExplanation
from seriatim.explanation.anomaly_figure import compose_frames
from seriatim.explanation.figure import compose
from seriatim.explanation.niivue import make_viewer
from seriatim.explanation.page.build import Explained, build_page
from seriatim.io import read_volume
from seriatim.series import Series, Volume
from seriatim.trained import Model, Scorer

STATIC_DPI = 100
"""Of the picture, which is 16 inches wide. At 72 an L (left) is drawn as an I (inferior)."""
FRAME = ('<iframe srcdoc="{page}" sandbox="allow-scripts" allow="clipboard-write; fullscreen" allowfullscreen '
         'title="{title}" style="width:100%;height:{height}px;border:0"></iframe>'
         '<details><summary>The same as a picture</summary><img alt="{title}" src="data:image/png;base64,{picture}" '
         'style="max-width:100%"></details>')
"""A frame of its own: the page's scripts run apart from the notebook, which they can neither read nor change."""


class Shown:
    """What a notebook displays: the page, or the picture where it shows no pages (on a code host, in print).

    With a ``viewer``, that in place of the page.
    """

    def __init__(self, page: str, picture: bytes, *, title: str, height: int, viewer: Any = None) -> None:
        self.page, self.picture, self.viewer = page, picture, viewer
        self._title, self._height = title, height

    def __repr__(self) -> str:
        return f"<{self._title}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:  # noqa: ARG002 - IPython's protocol
        picture = base64.b64encode(self.picture).decode("ascii")
        if self.viewer is not None:
            widget, about = self.viewer._repr_mimebundle_()
            return {**widget, "image/png": picture, "text/plain": repr(self)}, about
        html = FRAME.format(page=escape(self.page), title=escape(self._title), height=self._height, picture=picture)
        return {"text/html": html, "image/png": picture, "text/plain": repr(self)}


def show(
    series: Series | Volume,
    explanation: Explained,
    *,
    model: Model | Scorer | None = None,
    height: int = 980,
    viewer: Literal["page", "niivue"] = "page",
) -> Shown:
    """Show an explanation in a notebook, as the page that ``seriatim explain`` writes, or in niivue.

    Args:
        series: what was explained; of a ``Series`` the pixels are read again.
        explanation: what ``explain_volume`` or ``explain_frames`` said of it.
        model: by which it was explained; adds its windows and what is known of it.
        height: of the frame in the notebook, in CSS pixels.
        viewer: ``niivue`` (extra ``niivue``) shows planes in all directions with the map of pixels over them, and
            the picture where widgets are not shown; the page where it is not installed, and of what is no grey volume
            in space.

    Raises:
        ValueError: the explanation is of another series.
        InputError: the series cannot be read.
    """
    of = series.series if isinstance(series, Volume) else series
    if tuple(one.sop_instance_uid for one in of.instances) != explanation.sop_instance_uids:
        raise ValueError(f"The explanation is of series {explanation.series_uid}, not of {of.series_uid}.")
    volume = series if isinstance(series, Volume) else read_volume(series)
    figure = compose_frames(explanation) if isinstance(explanation, FrameExplanation) else compose(explanation)
    memory = BytesIO()
    figure.figure.savefig(memory, format="png", dpi=STATIC_DPI)
    title = f"explanation of {len(of.instances)} {explanation.noun}s"
    widget = make_viewer(volume, explanation, model=model, height=height) if viewer == "niivue" else None
    page = "" if widget is not None else build_page(volume, explanation, model=model)
    return Shown(page, memory.getvalue(), title=title, height=height, viewer=widget)
