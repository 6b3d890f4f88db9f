"""Which method measured best, and what the figures say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from seriatim.explanation.methods import SLICE_METHODS
from seriatim.trained.faithfulness import Measured

Figures = Mapping[str, Mapping[str, Measured]]
DEFAULT = "integrated_gradients"
"""Shown first where nothing was measured: what measured best on head CT (docs/results.md)."""
BLIND = 0.5
"""An explanation that keeps this rank correlation when the weights are shuffled does not tell what was learnt."""

DOUBT = 0.05
"""Over all methods of a series, the share of random orders that may be as good as the best one without a warning."""


def choose_best(figures: Figures) -> str:
    """The method with the largest gap between insertion and deletion, of those that depend on the weights.

    "" where no gap was measured. Of equals the first in ``SLICE_METHODS``.
    """
    measured = [name for name in SLICE_METHODS if "gap" in figures.get(name, {})]
    seeing = [name for name in measured if not _is_blind(figures[name])]
    return max(seeing or measured, key=lambda name: figures[name]["gap"].value, default="")


def tell_series(figures: Figures, *, best: str) -> tuple[str, ...]:
    """What was measured of one series."""
    if not best:
        return ("A series of one slice has no order of slices to measure.",)
    gap, share = figures[best]["gap"].value, figures[best]["beats_random"].value
    first = (f"On this series the order by {_title(best)} parts insertion and deletion most ({_signed(gap)} of the "
             f"score), more than {'all' if share == 1 else f'{100 * share:.0f} % of'} random orders do.")
    said = [first]
    compared = sum("gap" in one for one in figures.values())
    if 1 - share > DOUBT / compared:  # the best of several is better than chance by chance too (Bonferroni)
        said.append("No method is clearly better than random orders here: read its explanation with doubt.")
    return (*said, *_tell_blind(figures))


def tell_shown(figures: Figures, *, shown: str, best: str) -> tuple[str, ...]:
    """What was measured on this series of the method that is shown, where another one did best on it."""
    if shown == best or not {"gap", "beats_random"} <= set(figures.get(shown, {})):
        return ()
    gap, share = figures[shown]["gap"].value, figures[shown]["beats_random"].value
    doubt = ": read it with doubt" if 1 - share > DOUBT else ""
    beaten = "all" if share == 1 else f"{100 * share:.0f} % of"
    told = f"The one shown, {_title(shown)}, has {_signed(gap)} on this series, more than {beaten} random orders have"
    return (f"{told}{doubt}.",)


def tell_model(figures: Figures, *, best: str, count: int) -> tuple[str, ...]:
    """What was measured of a model over ``count`` series."""
    if not best:
        return ("Nothing was measured.",)
    gap = figures[best]["gap"]
    first = (f"Over {count} series that the model was not trained on, {_title(best)} measured best: insertion less "
             f"deletion is {_signed(gap.value)}{_interval(gap)}; random orders give 0.")
    said = [first]
    if "attention" in figures and best != "attention" and "gap" in figures["attention"]:
        attention = figures["attention"]["gap"]
        said.append(f"Attention has {_signed(attention.value)}{_interval(attention)}.")
    pointing = {name: one["pointing"] for name, one in figures.items() if "pointing" in one and name in SLICE_METHODS}
    if pointing:
        told = ", ".join(f"{_title(name)} {100 * one.value:.0f} %" for name, one in pointing.items())
        chance = next(iter(pointing.values()))
        said.append(f"The first slice is truly positive in {told} of {chance.n} series; by chance in "
                    f"{100 * (chance.chance or 0):.0f} %.")
    return (*said, *_tell_blind(figures))


def why_shown(name: str, *, measured: bool, chosen: bool, count: int = 0) -> str:
    """Why a method is the one shown first."""
    shown = f"Shown first: {_title(name)}"
    if chosen:
        return f"{shown}, as was asked for."
    if measured:
        return f"{shown}, which measured best of all methods on {count} series that the model was not trained on."
    if name == DEFAULT:
        return f"{shown}, which measured best on head CT; of this model nothing was measured (seriatim faithfulness)."
    return f"{shown}, which is all that was made."


def _tell_blind(figures: Figures) -> tuple[str, ...]:
    blind = ", ".join(_title(name) for name, one in figures.items() if _is_blind(one))
    told = (f"Kept in large part when the weights are shuffled (rank correlation above {BLIND}), and so of the images "
            f"as much as of what was learnt: {blind}.")
    return (told,) if blind else ()


def _is_blind(figures: Mapping[str, Measured]) -> bool:
    return "randomised" in figures and figures["randomised"].value > BLIND


def _title(name: str) -> str:
    return SLICE_METHODS[name].title


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _interval(one: Measured) -> str:
    if one.low is None or one.high is None:
        return ""
    return f" ({_signed(one.low)} to {_signed(one.high)})"
