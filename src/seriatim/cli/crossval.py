"""seriatim crossval."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from seriatim.evaluation import Evaluation


def run(
    config: Annotated[Path, typer.Argument(help="The YAML of the run.", show_default=False)],
    output: Annotated[Path, typer.Option(help="The folder for the folds and the evaluation.", show_default=False)],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Folds at a time, each in a process of its own.")] = 1,
) -> None:
    """Cross-validate: train without each fold in turn, score what was left out, evaluate all of it together.

    The folds are the manifest's column `fold`, or made by patient: `--set data.folds=5`. Stopped, it goes on where it
    was when called again.

    Example: `seriatim crossval configs/ct_ich.yaml --output runs/ct_ich_folds`
    """
    from seriatim.experiment import read_experiment
    from seriatim.studies import cross_validate

    experiment = read_experiment(config, set_ or ())
    print_evaluation(cross_validate(experiment, output, jobs=jobs, report=tell_fold).evaluation, output)


def print_evaluation(evaluation: Evaluation, output: Path) -> None:
    """The figures of all folds together, and where they are."""
    from rich.console import Console

    from seriatim.cli.evaluate import summarise, tabulate

    console = Console()
    for line in summarise(evaluation):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(tabulate(evaluation))
    console.print(f"Written to {output / 'evaluation'}", markup=False, highlight=False, soft_wrap=True)


def tell_fold(fold: str, done: int, count: int) -> None:
    """Say on stderr that a fold is finished."""
    typer.echo(f"fold {fold}: finished, {done} of {count}", err=True)
