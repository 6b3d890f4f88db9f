"""seriatim faithfulness."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seriatim.cli.progress import SeriesBar

if TYPE_CHECKING:
    from rich.table import Table

    from seriatim.trained.faithfulness import Faithfulness, Measured

SHOWN = ("gap", "beats_random", "leave_one_out", "randomised", "noise", "agreement", "pointing", "average_precision",
         "seconds")


def run(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or one of `seriatim crossval`.", show_default=False)],
    output: Annotated[Path | None, typer.Option(help="The folder for the figures of several runs together.")] = None,
    slice_labels: Annotated[
        Path | None, typer.Option(help="True slice labels, where not those of the run (data.slice_labels).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Measure at most this many series of each split.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Measure how faithful explanations are: every method, on the validation and the test series of a run.

    Writes faithfulness.json and faithfulness.csv into each run: `explain` then shows the method that measured best on
    validation, and `card` tells the figures of test.

    Example: `seriatim faithfulness runs/demo`
    """
    from rich.console import Console

    from seriatim.studies import FaithfulnessOptions, measure_faithfulness

    with SeriesBar("measuring") as bar:
        found = measure_faithfulness(
            runs,
            output=output,
            options=FaithfulnessOptions(slice_labels=slice_labels, limit=limit, device=device),
            report=bar.advance,
        )
    console = Console()
    for one in (found, *([found.pixels] if found.pixels is not None else [])):
        console.print(tabulate(one))
        for line in one.words:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    typer.echo(f"Written to {output or runs[0]}")


def tabulate(found: Faithfulness) -> Table:
    """A row for each method, with intervals; chance stands below the heading where it is not 0."""
    from rich.table import Table

    from seriatim.explanation.methods import MEASURES, PIXEL_METHODS, SLICE_METHODS

    shown = [name for name in SHOWN if any(name in figures for figures in found.methods.values())]
    table = Table("method", *(MEASURES[name].title for name in shown))
    titles = {name: one.title for name, one in {**SLICE_METHODS, **PIXEL_METHODS}.items()}
    for method, figures in found.methods.items():
        table.add_row(titles.get(method, method.replace("_", " ")), *(_cell(figures.get(name)) for name in shown))
    chances = [next((one[name].chance for one in found.methods.values() if name in one), None) for name in shown]
    table.add_row("by chance", *("" if chance is None else f"{chance:.2f}" for chance in chances), style="dim")
    return table


def _cell(one: Measured | None) -> str:
    if one is None:
        return "-"
    return f"{one.value:.2f}" + ("" if one.low is None or one.high is None else f" ({one.low:.2f} to {one.high:.2f})")
