"""Figures for papers: light, at the width of a column or a page, as PNG or SVG. No identifier is in any of them."""

from seriatim.explanation.figures.cohort import CohortRow, draw_cohort, read_cohort
from seriatim.explanation.figures.curves import draw_class_curves
from seriatim.explanation.figures.montage import draw_paper_montage
from seriatim.explanation.figures.strip import draw_strip

__all__ = ["CohortRow", "draw_class_curves", "draw_cohort", "draw_paper_montage", "draw_strip", "read_cohort"]
