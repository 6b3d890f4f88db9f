"""seriatim learning-curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seriatim.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from seriatim.studies import Point


def run(
    config: Annotated[Path, typer.Argument(help="The YAML of the run.", show_default=False)],
    few_shot: Annotated[
        str, typer.Option(metavar="K,K,...", help="Labelled patients per class: 8,16,32,all.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="The folder for the runs and the curve.", show_default=False)],
    repeats: Annotated[int, typer.Option(min=1, help="Draws of patients at each number.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each in a process of its own.")] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable.")
    ] = None,
) -> None:
    """How good with few labels? Train with ever more labelled patients, score the same test series.

    Tested are all folds in turn, pooled; or one, by `--set data.fold=0`; or the test split of a manifest without folds.
    Each smaller number of patients is part of every larger one. Stopped, it goes on where it was when called again.

    Example: `seriatim learning-curve configs/ct_ich.yaml --few-shot 4,8,16,all --repeats 5 --output runs/curve`
    """
    from rich.console import Console

    from seriatim.experiment import Experiment
    from seriatim.studies import learning_curve

    counts = _read_counts(few_shot)
    experiment = Experiment.read(config, set_ or ())
    points = learning_curve(experiment, output, counts=counts, repeats=repeats, jobs=jobs, report=_tell)
    console = Console()
    console.print(_tabulate(points))
    console.print(f"Written to {output}", markup=False, highlight=False, soft_wrap=True)


def _read_counts(text: str) -> list[int | None]:
    """Ascending and each once, all (None) at the end."""
    words = {word.strip().lower() for word in text.split(",") if word.strip()}
    numbers = sorted(int(word) for word in words if word.isdecimal() and int(word) >= 2)
    if not words or len(numbers) + ("all" in words) < len(words):
        raise ConfigError(f"--few-shot {text!r} is no list of numbers from 2 on, or all; for example 8,16,32,all.")
    return [*numbers, *([None] if "all" in words else [])]


def _tell(name: str, done: int, count: int) -> None:
    typer.echo(f"{name}: finished, {done} of {count}", err=True)


def _tabulate(points: list[Point]) -> Table:
    from rich import box
    from rich.table import Table

    from seriatim.studies.learning_curve import known

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("per class", "labelled", "metric", "value", "95 % interval", "draws"):
        if name == "metric":
            table.add_column(name, overflow="fold")  # a narrow terminal must not cut the numbers
        else:
            table.add_column(name, no_wrap=True, justify="right")
    for point in points:
        for name, one in point.estimates.items():
            interval = "-" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
            own = known(point.draws[name])
            spread = str(len(own)) if len(own) < 2 else f"{len(own)}: {min(own):.3f}..{max(own):.3f}"
            asked = "all" if point.per_class is None else str(point.per_class)
            value = "-" if one.value is None else f"{one.value:.3f}"
            table.add_row(asked, f"{point.labelled:.4g}", name, value, interval, spread)
    return table
