"""What a page shows of one series, as plain data: told by ``diagnosis`` or ``frames``, laid out by ``layout``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import printable
from seriatim.explanation.explanation import Letters, Unit
from seriatim.explanation.words import tell_share

LONGEST_TEXT = 400
"""Signs of a text that came with a file or a model; more would push the rest off the page."""

MOST_COLUMNS = 5
"""Columns of a table that fit into a panel beside others."""


def plain(text: str) -> str:
    """A text from outside on one line, cut where it is endless; signs that are not seen but obeyed are written out."""
    flat = printable(" ".join(text.split()))
    return flat if len(flat) <= LONGEST_TEXT else flat[:LONGEST_TEXT] + "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One curve over the series: ``values`` (S,), NaN where not known, drawn between ``low`` and ``high``.

    ``bars`` rise and fall from 0; ``threshold`` and ``release`` are lines across, ``told`` what stands beside it.
    """

    name: str
    values: NDArray[np.float64]
    low: float
    high: float
    kind: Literal["line", "area", "bars"] = "line"
    form: Literal["share", "score", "signed", "number"] = "number"
    lines: tuple[tuple[float, str], ...] = ()
    told: str = ""

    def tell(self, index: int) -> str:
        """The value at a slice, as people read it."""
        value = float(self.values[index])
        if np.isnan(value):
            return "not known"
        forms = {"share": f"{100 * value:.1f} %", "score": tell_share(value), "signed": f"{value:+.3g}",
                 "number": f"{value:.4g}"}
        return forms[self.form].replace("-", "−")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A slice that the page leads to: its ``index``, the ``name`` on its button, the cells of its row.

    It stands for the slices of ``span``, from the first up to but not with the second, or for itself alone.
    """

    index: int
    name: str
    cells: tuple[str, ...]
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """A table of slices to go to; ``kind`` is what one is called.

    ``note`` stands below the table, ``none`` in its place where it has no row; ``bands`` are (start, stop)
    index ranges shaded in the curves, ``band_name`` what they are.
    """

    title: str
    kind: str
    columns: tuple[str, ...]
    rows: tuple[Mark, ...]
    none: str = ""
    note: str = ""
    bands: tuple[tuple[int, int], ...] = ()
    band_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """Heat over some slices: ``cells`` uint8 (T,h,w) for the slices in ``indices``, 255 the strongest.

    ``name`` is what the switch says, ``told`` how to read it, ``ends`` what the lowest and the highest colour are.
    """

    name: str
    told: str
    ends: tuple[str, str]
    indices: tuple[int, ...]
    cells: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A block of words: paragraphs, a table whose first row is its head, then terms with what is said of each.

    One whose table has many columns takes the width of the page.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    terms: tuple[tuple[str, str], ...] = ()

    @property
    def wide(self) -> bool:
        return bool(self.table) and len(self.table[0]) > MOST_COLUMNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """What stands at the top: a title, its number, the number's place between 0 and 1 (None where it has none)."""

    title: str
    number: str
    share: float | None
    threshold: float | None
    sentences: tuple[str, ...]
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """What the page says of the series itself, and where on it the page starts.

    ``frames`` are as in ``Instance``: slices of one file share its SOP Instance UID, and only the frame tells them.
    """

    series_uid: str
    noun: str
    unit: Unit
    positions: NDArray[np.float64]
    sop_instance_uids: tuple[str, ...]
    letters: Letters | None
    start: int
    frames: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContent:
    """All that a page says, but for the pictures."""

    headline: Headline
    series: SeriesFacts
    tracks: tuple[Track, ...]
    marks: Marks
    overlays: tuple[Overlay, ...]
    no_overlay: str
    panels: tuple[Panel, ...]
    curve_note: str = ""

    @property
    def marked(self) -> Sequence[int]:
        """The slices that must be on the page, whatever is left out."""
        return sorted({self.series.start, *(one.index for one in self.marks.rows)})
