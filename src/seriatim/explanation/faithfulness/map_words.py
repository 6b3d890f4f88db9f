"""Which map of pixels measured best at a price that can be paid for every series, and what the figures say."""

from __future__ import annotations

from seriatim.explanation.faithfulness.words import tell_estimate, tell_gap, tell_series_of
from seriatim.explanation.methods import PIXEL_METHODS
from seriatim.trained.faithfulness import Choice, Figures

DEFAULT_MAP = "grad_cam"
"""Drawn where nothing was measured (docs/results.md)."""
AFFORDABLE_S = 1.0
"""A map that takes longer for one slice is drawn only where it is asked for."""


def choose_map(figures: Figures, *, affordable_s: float = AFFORDABLE_S) -> str:
    """The map with the largest gap between insertion and deletion, of those that are quick enough; "" where none is."""
    measured = [name for name in PIXEL_METHODS if "gap" in figures.get(name, {})]
    quick = [name for name in measured if _seconds(figures, name) <= affordable_s]
    return max(quick, key=lambda name: figures[name]["gap"].value, default="")


def tell_maps(figures: Figures, *, best: str, count: int, split: str, choice: Choice | None) -> tuple[str, ...]:
    """What chose the map that is drawn, and what was measured over ``count`` series of ``split``."""
    if choice is None or not best:
        said = [f"Which map of pixels is truest to this model was not chosen: {_title(DEFAULT_MAP)} is drawn."]
    else:
        others = [name for name in choice.methods if name != best and "gap" in choice.methods[name]]
        rivals = "; ".join(f"{_title(name)} {tell_gap(choice.methods[name])}" for name in others)
        told = (f"Of the maps of pixels {_title(best)} measured best on {tell_series_of(choice)}, and is drawn "
                "unless another is asked for")
        gap = f"insertion less deletion over places in their first slices is {tell_gap(choice.methods[best])} (logits)"
        said = [f"{told}: {gap}, random orders give 0{f'; {rivals}' if rivals else ''}."]
    said += tell_estimate(figures, shown=best or DEFAULT_MAP, count=count, split=split, choice=choice)
    chose = choice.methods if choice is not None else figures
    slow = [name for name in chose if _seconds(chose, name) > AFFORDABLE_S]
    said += [f"{_title(name)} takes {_seconds(chose, name):.1f} s a slice on this machine, and so is drawn only where "
             f"it is asked for (--pixels {name})." for name in slow]
    return tuple(said)


def why_map(name: str, *, choice: Choice | None = None, asked: bool = False) -> str:
    """Why this map is drawn over the slices."""
    drawn = f"Drawn over the slices: {_title(name)}"
    if asked:
        return f"{drawn}, as was asked for."
    if choice is not None:
        return f"{drawn}, which measured best of the maps of pixels on {tell_series_of(choice)}."
    return f"{drawn}; which map is truest to this model was not measured (seriatim faithfulness)."


def _seconds(figures: Figures, name: str) -> float:
    return figures[name]["seconds"].value if "seconds" in figures.get(name, {}) else 0.0


def _title(name: str) -> str:
    return PIXEL_METHODS[name].title
