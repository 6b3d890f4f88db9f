"""Which method measured best, and what the figures say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from seriatim.explanation.methods import PIXEL_METHODS, SLICE_METHODS
from seriatim.trained.faithfulness import Choice, Figures, Measured

DEFAULT = "integrated_gradients"
"""Shown first where nothing was measured: what measured best on head CT (docs/results.md)."""
BLIND = 0.5
"""An explanation that keeps this rank correlation when the weights are shuffled does not tell what was learnt."""

DOUBT = 0.05
"""Over all methods of a series, the share of random orders that may be as good as the best one without a warning."""
SPLITS = {"val": "validation", "test": "test"}


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
    return tuple(said)


def tell_shown(figures: Figures, *, shown: str, best: str) -> tuple[str, ...]:
    """What was measured on this series of the method that is shown, where another one did best on it."""
    if shown == best or not {"gap", "beats_random"} <= set(figures.get(shown, {})):
        return ()
    gap, share = figures[shown]["gap"].value, figures[shown]["beats_random"].value
    doubt = ": read it with doubt" if 1 - share > DOUBT else ""
    beaten = "all" if share == 1 else f"{100 * share:.0f} % of"
    told = f"The one shown, {_title(shown)}, has {_signed(gap)} on this series, more than {beaten} random orders have"
    return (f"{told}{doubt}.",)


def tell_model(
    figures: Figures, *, best: str, count: int, split: str, choice: Choice | None = None
) -> tuple[str, ...]:
    """What chose the method that is shown, and what was measured of a model over ``count`` series of ``split``.

    Without a ``choice`` validation could not be read, and the default is shown.
    """
    if not figures:
        return ("Nothing was measured.",)
    shown = best or DEFAULT
    said = [*_tell_choice(best, choice), *tell_estimate(figures, shown=shown, count=count, split=split, choice=choice)]
    if "attention" in figures and shown != "attention" and "gap" in figures["attention"]:
        said.append(f"Attention has {tell_gap(figures['attention'])} on them.")
    pointing = {name: one["pointing"] for name, one in figures.items() if "pointing" in one and name in SLICE_METHODS}
    if pointing:
        told = ", ".join(f"{_title(name)} {100 * one.value:.0f} %" for name, one in pointing.items())
        chance = next(iter(pointing.values()))
        said.append(f"The first slice is truly positive in {told} of {chance.n} series; by chance in "
                    f"{100 * (chance.chance or 0):.0f} %.")
    return (*said, *tell_blind(figures))


def tell_estimate(
    figures: Figures, *, shown: str, count: int, split: str, choice: Choice | None
) -> tuple[str, ...]:
    """What the method that is shown has on series that chose nothing, or that there are none."""
    if choice is not None and split == choice.split:
        return ("No test series could be measured: a figure that chose a method is optimistic of it.",)
    if "gap" not in figures.get(shown, {}):
        return ()
    shared = choice.overlap if choice is not None else 0
    which = f"of which {shared} chose as validation series of other folds" if shared else "which chose nothing"
    named = f"{count} {SPLITS.get(split, split)} series, {which}"
    return (f"On {named}, {_title(shown)}: {tell_gap(figures[shown])}.",)


def why_shown(name: str, *, choice: Choice | None = None, asked: bool = False, measured: bool = False) -> str:
    """Why a method is the one shown first: it was ``asked`` for, or by the ``choice``, or neither is there.

    ``measured``: there are figures, and yet no choice.
    """
    shown = f"Shown first: {_title(name)}"
    if asked:
        return f"{shown}, as was asked for."
    if choice is not None:
        return f"{shown}, which measured best of {_field(name, choice)} on {tell_series_of(choice)}."
    if name == DEFAULT:
        why = "no validation series could be read to choose by" if measured else (
            "of this model nothing was measured (seriatim faithfulness)")
        return f"{shown}, which measured best on head CT; {why}."
    return f"{shown}, which is all that was made."


def tell_series_of(choice: Choice) -> str:
    """How many series chose, and of which split."""
    return f"{choice.count} {SPLITS.get(choice.split, choice.split)} series of its training"


def tell_gap(figures: Mapping[str, Measured]) -> str:
    """The gap of one method, with its interval where there is one."""
    return _signed(figures["gap"].value) + _interval(figures["gap"])


def _tell_choice(best: str, choice: Choice | None) -> tuple[str, ...]:
    if choice is None or not best:
        told = "No validation series of the training could be read, so none of the methods was chosen"
        return (f"{told}: {_title(DEFAULT)}, which measured best on head CT, is shown first.",)
    told = (f"On {tell_series_of(choice)} {_title(best)} measured best of {_field(best, choice)}, and is shown first "
            "unless another is asked for")
    said = f"{told}: insertion less deletion is {tell_gap(choice.methods[best])}; random orders give 0."
    higher = _passed_over(best, choice.methods)
    if not higher:
        return (said,)
    figures = ", ".join(f"{_title(name)} {tell_gap(choice.methods[name])}" for name in higher)
    passed = (f"Higher on them and not chosen, since the order stays much the same when the weights are shuffled "
              f"(rank correlation above {BLIND}): {figures}.")
    return said, passed


def _field(best: str, choice: Choice) -> str:
    """Among which methods the one chosen is best: those passed over may have a larger gap, and a reader sees it."""
    seeing = "the methods whose order changes when the weights are shuffled"
    return seeing if _passed_over(best, choice.methods) else "all methods"


def _passed_over(best: str, figures: Figures) -> list[str]:
    """The methods with a larger gap than the one chosen: those that depend too little on the weights."""
    if "gap" not in figures.get(best, {}):
        return []
    least = figures[best]["gap"].value
    return [name for name, one in figures.items() if "gap" in one and one["gap"].value > least]


def tell_blind(figures: Figures) -> tuple[str, ...]:
    """Which methods tell little of what was learnt."""
    blind = ", ".join(_title(name) for name, one in figures.items() if _is_blind(one))
    told = (f"Kept in large part when the weights are shuffled (rank correlation above {BLIND}), and so of the images "
            f"as much as of what was learnt: {blind}.")
    return (told,) if blind else ()


def _is_blind(figures: Mapping[str, Measured]) -> bool:
    return "randomised" in figures and figures["randomised"].value > BLIND


def _title(name: str) -> str:
    return {**SLICE_METHODS, **PIXEL_METHODS}[name].title


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _interval(one: Measured) -> str:
    if one.low is None or one.high is None:
        return ""
    return f" ({_signed(one.low)} to {_signed(one.high)})"
