"""The slices that matter most, each with and without its map of pixels, numbered as in the curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from seriatim.explanation import style
from seriatim.explanation.curve import draw_badge
from seriatim.explanation.explanation import Explanation, Letters
from seriatim.explanation.methods import PIXEL_METHODS, name_method
from seriatim.explanation.style import Page, format_position
from seriatim.explanation.words import tell_rest, tell_share

HEADING_HEIGHT = 0.5
CAPTION_HEIGHT = 0.52
CARD_GAP = 0.28
PANE_GAP = 0.05
HIGHEST = 7.6
"""Inches the cards may take from top to bottom."""
LARGEST_IMAGE = 4.2
NARROWEST_CARD = 1.85
SMALLEST_EDGE = 0.6
"""An image shorter than this has no room for letters at both of its ends."""
MOST_OPAQUE = 0.72
HEAT_FLOOR = 0.08
"""Heat below this share of the strongest is not drawn, so that the anatomy there is untouched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Cards in rows and columns; a card holds ``panes`` images beside or below one another. Sizes in inches."""

    columns: int
    rows: int
    panes: int
    stacked: bool
    image_width: float
    image_height: float

    @property
    def card_width(self) -> float:
        return self.image_width if self.stacked else self.panes * self.image_width + (self.panes - 1) * PANE_GAP

    @property
    def slot_width(self) -> float:
        """The card, or its caption where that is wider."""
        return max(self.card_width, NARROWEST_CARD)

    @property
    def card_height(self) -> float:
        panes = self.panes if self.stacked else 1
        return CAPTION_HEIGHT + panes * self.image_height + (panes - 1) * PANE_GAP

    @property
    def width(self) -> float:
        return self.columns * self.slot_width + (self.columns - 1) * CARD_GAP

    @property
    def height(self) -> float:
        return self.rows * self.card_height + (self.rows - 1) * CARD_GAP


def arrange(count: int, *, aspect: float, panes: int) -> Grid:
    """The grid that shows ``count`` cards largest with few places empty; ``aspect`` is height / width of an image."""
    grids = [
        _grid(count, columns=columns, aspect=aspect, panes=panes, stacked=stacked)
        for columns in range(1, count + 1)
        for stacked in (False, True)
    ]
    # A place left empty in the last row weighs as much as smaller images.
    fitting = [grid for grid in grids if grid.width <= style.FIGURE_WIDTH - 2 * style.MARGIN + 1e-6]
    return max(fitting, key=lambda grid: grid.image_width * (count / (grid.rows * grid.columns)))


def montage_height(explanation: Explanation) -> float:
    """Inches the section takes."""
    return HEADING_HEIGHT + grid_of(explanation).height


def grid_of(explanation: Explanation) -> Grid:
    """How this explanation's slices are laid out."""
    height, width = explanation.images.shape[1:3]
    return arrange(len(explanation.top), aspect=height / width, panes=1 if explanation.heat is None else 2)


def draw_montage(page: Page, explanation: Explanation, *, top: float) -> None:
    """Draw the section with its top at ``top`` inches."""
    _draw_heading(page, explanation, top=top)
    grid = grid_of(explanation)
    first = (style.FIGURE_WIDTH - grid.width) / 2
    for number in range(len(explanation.top)):
        row, column = divmod(number, grid.columns)
        left = first + column * (grid.slot_width + CARD_GAP)
        below = top + HEADING_HEIGHT + row * (grid.card_height + CARD_GAP)
        _draw_card(page, explanation, number, grid=grid, corner=(left, below))


def blend_heat(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H,W) in [0,1] -> RGBA (H,W,4) uint8: inferno, more opaque where hotter, clear where there is nothing."""
    colours = mpl.colormaps["inferno"](0.25 + 0.75 * heat, bytes=True)
    rise = np.clip((heat - HEAT_FLOOR) / (1 - HEAT_FLOOR), 0, 1)
    colours[..., 3] = np.round(255 * MOST_OPAQUE * np.sqrt(rise)).astype(np.uint8)
    return np.asarray(colours, dtype=np.uint8)


def _grid(count: int, *, columns: int, aspect: float, panes: int, stacked: bool) -> Grid:
    rows = math.ceil(count / columns)
    across, down = (1, panes) if stacked else (panes, 1)
    room = (style.FIGURE_WIDTH - 2 * style.MARGIN - (columns - 1) * CARD_GAP) / columns
    width = min(LARGEST_IMAGE, LARGEST_IMAGE / aspect, (room - (across - 1) * PANE_GAP) / across)
    tall = (HIGHEST - (rows - 1) * CARD_GAP) / rows - CAPTION_HEIGHT - (down - 1) * PANE_GAP
    height = min(width * aspect, tall / down)
    image = {"image_width": height / aspect, "image_height": height}
    return Grid(columns=columns, rows=rows, panes=panes, stacked=stacked, **image)


def _draw_heading(page: Page, explanation: Explanation, *, top: float) -> None:
    title = name_method(explanation.shown_attribution, noun=explanation.noun).title
    heading = f"{explanation.noun.capitalize()}s that matter most"
    wide = page.write(style.MARGIN, top, heading, width=6.0, fontsize=style.HEADING, weight="bold")
    rest = tell_rest(explanation)
    remark = f"1 = first by {title}; {rest}" if rest else f"numbered as in the curve, 1 = first by {title}"
    page.note(style.MARGIN + wide + 0.2, top + 0.045, remark, width=4.4)
    right = style.FIGURE_WIDTH - style.MARGIN
    if explanation.heat is None:
        text = "no map of pixels for this model"
        page.note(right, top + 0.045, text, width=6.0, ha="right")
        return
    if not explanation.heat.any():
        text = f"{name_map(explanation)} is zero: nothing on these {explanation.noun}s speaks for {explanation.label}"
        page.note(right, top + 0.045, text, width=6.0, ha="right")
        return
    _draw_colour_bar(page, explanation, right=right, top=top)


def name_map(explanation: Explanation) -> str:
    """What the heat is, in words."""
    title = PIXEL_METHODS[explanation.shown_map].title
    return f"{title[0].upper()}{title[1:]}"


def _draw_colour_bar(page: Page, explanation: Explanation, *, right: float, top: float) -> None:
    """The heat's colours as they look over mid-grey tissue, on the one scale of all slices shown."""
    wide = page.note(right, top + 0.045, f"strongest of these {explanation.noun}s", width=3.0, ha="right")
    draw_ramp(page, right - wide - 1.9, top + 0.045)
    page.note(right - wide - 2.0, top + 0.045, f"{name_map(explanation)}: none", width=2.0, ha="right")


def draw_ramp(page: Page, left: float, top: float) -> Any:
    """Draw the heat's colours over mid-grey, 1.8 inches long; the axes run from -0.5 to 255.5."""
    axes = page.add_axes(left, top, 1.8, 0.15)
    fill_ramp(axes)
    return axes


def fill_ramp(axes: Any) -> None:
    """Fill axes with the heat's colours, from none to strongest, as they look over mid-grey tissue."""
    ramp = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (2, 1))
    axes.imshow(np.full((*ramp.shape, 3), 70, dtype=np.uint8), aspect="auto")
    axes.imshow(blend_heat(ramp), aspect="auto")
    axes.set_axis_off()


def _draw_card(page: Page, explanation: Explanation, number: int, *, grid: Grid, corner: tuple[float, float]) -> None:
    _draw_caption(page, explanation, number, corner=corner, width=grid.slot_width)
    heat = None if explanation.heat is None else explanation.heat[number]
    draw_panes(page, explanation.images[number], heat, explanation.letters, grid=grid, corner=corner)


def draw_panes(
    page: Page, image: NDArray[np.uint8], heat: NDArray[np.float32] | None, letters: Letters | None, *, grid: Grid,
    corner: tuple[float, float],
) -> None:  # fmt: skip
    """Draw the image of a card whose caption begins at ``corner``, and where there is a second pane also with heat."""
    left, top = corner
    left += (grid.slot_width - grid.card_width) / 2
    for pane in range(grid.panes):
        across, down = (0, pane) if grid.stacked else (pane, 0)
        axes = page.add_axes(
            left + across * (grid.image_width + PANE_GAP),
            top + CAPTION_HEIGHT + down * (grid.image_height + PANE_GAP),
            grid.image_width, grid.image_height,
        )
        draw_image(axes, image)
        draw_letters(axes, letters, size=(grid.image_width, grid.image_height))
        if pane == 1 and heat is not None:
            axes.imshow(blend_heat(heat), aspect="auto", interpolation="bilinear")


def _draw_caption(
    page: Page, explanation: Explanation, number: int, *, corner: tuple[float, float], width: float
) -> None:
    left, top = corner
    index = explanation.top[number]
    badge = page.add_axes(left, top + 0.04, 0.32, 0.32)
    badge.set_axis_off()
    draw_badge(badge, (0.42, 0.5), number + 1, transform=badge.transAxes)
    position = format_position(explanation.positions[index], explanation.unit)
    page.write(left + 0.4, top + 0.03, tell_value(explanation, index), width=width - 0.4, weight="bold")
    named = f"{explanation.noun} {index + 1}"
    where = f"{position} · {named}" if position else named
    page.note(left + 0.4, top + 0.235, where, width=width - 0.4)


def tell_value(explanation: Explanation, index: int) -> str:
    """What the attribution shown first gives a slice, in words."""
    value = explanation.attribution()[index]
    method = name_method(explanation.shown_attribution, noun=explanation.noun)
    if method.signed:
        return f"{value + 0.0:+.3g} logits".replace("-", "−")
    return f"{100 * value:.1f} % attention" if method.unit == "share" else f"{method.title} {tell_share(value)}"


def draw_image(axes: Any, image: NDArray[np.uint8]) -> None:
    """An image, grey or in colour, that fills its axes."""
    shades = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.ndim == 2 else {}
    axes.imshow(image, aspect="auto", interpolation="antialiased", **shades)
    axes.set_axis_off()


def draw_letters(axes: Any, letters: Letters | None, *, size: tuple[float, float], **how: Any) -> None:
    """The patient directions just inside the edges of an image of (width, height) inches, so far as there is room.

    ``how`` is the look of the type, where it is not bright with a dark outline.
    """
    if letters is None:
        return
    left, right, top, bottom = letters
    places = []
    if size[0] >= SMALLEST_EDGE:
        places += [(left, (0.0, 0.5), (4, 0), "left", "center"), (right, (1.0, 0.5), (-4, 0), "right", "center")]
    if size[1] >= SMALLEST_EDGE:
        places += [(top, (0.5, 1.0), (0, -4), "center", "top"), (bottom, (0.5, 0.0), (0, 4), "center", "bottom")]
    outline = [withStroke(linewidth=2, foreground="black")]
    how = how or {"fontsize": style.SMALL, "weight": "bold", "path_effects": outline}  # thin, an L may lose its foot
    for text, place, offset, across, down in places:
        axes.annotate(text, place, offset, xycoords="axes fraction", textcoords="offset points", ha=across, va=down,
                      color=style.INK, **how)
