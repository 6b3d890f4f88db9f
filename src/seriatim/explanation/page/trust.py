"""What a page says of how far to trust its curves and overlays: what was measured, in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence

from seriatim.explanation.anomaly import FrameExplanation
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.faithfulness.error_words import tell_error_trust
from seriatim.explanation.faithfulness.words import SPLITS, tell_blind, tell_shown
from seriatim.explanation.methods import MEASURES, PIXEL_METHODS, SLICE_METHODS, name_method
from seriatim.explanation.page.content import Panel, plain
from seriatim.trained.faithfulness import Faithfulness, Measured

SHOWN = ("gap", "beats_random", "leave_one_out", "randomised", "noise", "pointing", "average_precision",
         "seconds")
"""The measures in the table, of those there are; all of them are in faithfulness.csv."""
SHARES = ("beats_random", "pointing")


def tell_trust(explanation: Explanation, methods: Sequence[str]) -> tuple[Panel, ...]:
    """Why this method is shown first, and what was measured of this series and of the model; or that nothing was.

    The second panel is about the maps of pixels, where there are any.
    """
    model = explanation.model_faithfulness
    told = model is not None and model.choice is not None and model.best == explanation.shown_attribution
    said = [] if told else [explanation.shown_because]  # the words of the choice say it already
    records = [one for one in (explanation.model_faithfulness, explanation.faithfulness) if one is not None]
    said += [one for record in records for one in record.words]
    if (own := explanation.faithfulness) is not None:
        said += tell_shown(own.methods, shown=explanation.shown_attribution, best=own.best)
        said += tell_blind(own.methods) if model is None else ()  # of many series it is known better, and told above
    if not records:
        said += ["It was not measured how faithful these curves are to what the model does.",
                 f"Attention says which {explanation.noun}s the model weighed, not why."]
    panel = Panel(
        title="How far to trust this explanation",
        paragraphs=_paragraphs(said),
        table=_tabulate(records[0], f"by {explanation.noun}s") if records else (),
        terms=_tell_terms([name for name in methods if name in SLICE_METHODS], noun=explanation.noun),
    )
    return (panel, *_tell_overlay(explanation))


def _tell_overlay(explanation: Explanation) -> tuple[Panel, ...]:
    """What was measured of the maps of pixels, on other series: on one series there are too few slices."""
    shown = [explanation.shown_map] if explanation.heat is not None else []
    drawn = [name for name in dict.fromkeys([*shown, *explanation.pixel_maps]) if name in PIXEL_METHODS]
    if not drawn:
        return ()
    record = explanation.model_faithfulness.pixels if explanation.model_faithfulness is not None else None
    told = record is not None and record.choice is not None and record.best == explanation.shown_map
    said = [] if told else [explanation.map_because]
    return (Panel(
        title="How far to trust the overlay",
        paragraphs=_paragraphs([*said, *(record.words if record is not None else ())]),
        table=_tabulate(record, "by pixels, in logits") if record is not None else (),
        terms=_tell_terms(drawn, noun=explanation.noun),
    ),)


def tell_error_panel(explanation: FrameExplanation) -> tuple[Panel, ...]:
    """What was measured of the scores of an anomaly model, which need no explanation to choose."""
    known, noun = explanation.faithfulness, explanation.noun
    said = [one.replace("frame", noun) for one in tell_error_trust(known)]
    table = _tabulate(known, f"by {noun}s") if known is not None else ()
    return (Panel(title="How far to trust these scores", paragraphs=_paragraphs(said), table=table),)


def _tell_terms(names: Sequence[str], *, noun: str) -> tuple[tuple[str, str], ...]:
    methods = [name_method(name, noun=noun) for name in names]
    return tuple((one.title, one.says) for one in methods)


def _paragraphs(said: Sequence[str]) -> tuple[str, ...]:
    return tuple(_capitalise(plain(one)) for one in dict.fromkeys(said) if one)


def _tabulate(record: Faithfulness, by: str) -> tuple[tuple[str, ...], ...]:
    """A row for each method, a column for each measure; the first cell says of what.

    What chose is a column of its own, beside the figures of series that chose nothing.
    """
    measures = [name for name in SHOWN if any(name in figures for figures in record.methods.values())]
    split = f"{SPLITS[record.split]} " if record.split in SPLITS else "held-out "
    of = "this series" if record.about == "series" else f"{record.count} {split}series"
    chose = record.choice if record.choice is not None and record.choice.split != record.split else None
    titles = {name: one.title for name, one in {**SLICE_METHODS, **PIXEL_METHODS}.items()}
    rows = [
        (plain(titles.get(method, method.replace("_", " "))),
         *((_tell("gap", chose.methods.get(method, {}).get("gap")),) if chose else ()),
         *(_tell(name, figures.get(name)) for name in measures))
        for method, figures in record.methods.items() if any(name in figures for name in measures)
    ]  # fmt: skip
    chooser = (f"{MEASURES['gap'].title}, {chose.count} validation series, which chose",) if chose else ()
    titled = (f"{MEASURES[name].title} ({MEASURES[name].better} is good)" for name in measures)
    return ((f"{by}, {of}", *chooser, *titled), *rows) if rows else ()


def _tell(measure: str, figure: Measured | None) -> str:
    if figure is None:
        return ""
    if measure == "seconds":
        return f"{figure.value:.2f}" if figure.value >= 0.01 else "< 0.01"
    if measure in SHARES:
        return f"{100 * figure.value:.0f} %"
    return f"{figure.value:+.2f}".replace("-", "−")


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]
