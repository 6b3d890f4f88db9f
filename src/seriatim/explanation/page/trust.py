"""What a page says of how far to trust its curves and overlays: what was measured, in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence

from seriatim.explanation.explanation import Explanation
from seriatim.explanation.faithfulness.words import tell_shown
from seriatim.explanation.methods import MEASURES, PIXEL_METHODS, SLICE_METHODS
from seriatim.explanation.page.content import Panel, plain
from seriatim.trained.faithfulness import Faithfulness, Measured

SHOWN = ("gap", "beats_random", "leave_one_out", "randomised", "noise", "pointing", "average_precision")
"""The measures in the table, of those there are; all of them are in faithfulness.csv."""
SHARES = ("beats_random", "pointing")


def tell_trust(explanation: Explanation, methods: Sequence[str]) -> Panel:
    """Why this method is shown first, and what was measured of this series and of the model; or that nothing was."""
    said = [explanation.shown_because] if explanation.shown_because else []
    records = [one for one in (explanation.model_faithfulness, explanation.faithfulness) if one is not None]
    said += [one for record in records for one in record.words]
    if (own := explanation.faithfulness) is not None:
        said += tell_shown(own.methods, shown=explanation.shown_attribution, best=own.best)
    if not records:
        said += ["It was not measured how faithful these curves and overlays are to what the model does.",
                 f"Attention says which {explanation.noun}s the model weighed, not why."]
    named = [name for name in methods if name in SLICE_METHODS]
    overlays = [name for name in explanation.pixel_maps if name in PIXEL_METHODS]
    return Panel(
        title="How far to trust this explanation",
        paragraphs=tuple(_capitalise(plain(one)) for one in dict.fromkeys(said)),
        table=_tabulate(records[0], explanation.noun) if records else (),
        terms=(*((SLICE_METHODS[name].title, SLICE_METHODS[name].says) for name in named),
               *((PIXEL_METHODS[name].title, PIXEL_METHODS[name].says) for name in overlays)),
    )  # fmt: skip


def _tabulate(record: Faithfulness, noun: str) -> tuple[tuple[str, ...], ...]:
    """A row for each method, a column for each measure; the first cell says of what."""
    measures = [name for name in SHOWN if any(name in figures for figures in record.methods.values())]
    of = "this series" if record.about == "series" else f"{record.count} held-out series"
    titles = {name: one.title for name, one in {**SLICE_METHODS, **PIXEL_METHODS}.items()}
    rows = [
        (titles.get(method, method), *(_tell(name, figures.get(name)) for name in measures))
        for method, figures in record.methods.items() if any(name in figures for name in measures)
    ]  # fmt: skip
    head = (f"by {noun}s, {of}", *(f"{MEASURES[name].title} ({MEASURES[name].better} is good)" for name in measures))
    return (head, *rows) if rows else ()


def _tell(measure: str, figure: Measured | None) -> str:
    if figure is None:
        return ""
    if measure in SHARES:
        return f"{100 * figure.value:.0f} %"
    return f"{figure.value:+.2f}".replace("-", "−")


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]
