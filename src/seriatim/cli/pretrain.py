"""seriatim pretrain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seriatim.cli.exits import Exit
from seriatim.errors import ConfigError


def run(
    config: Annotated[Path | None, typer.Argument(help="The YAML of the run.", show_default=False)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The run folder.", show_default=False)] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run folder.", show_default=False)] = None,
) -> None:
    """Learn from series without labels alone; other runs then start from the folder: `network.weights`.

    Within `train` and `crossval` the block `pretraining` does the same, fold by fold, and never sees who is tested.

    Example: `seriatim pretrain config.yaml --set pretraining.unlabelled=[archive] --output runs/pretrained`
    """
    if (config is None) == (resume is None):
        raise ConfigError("Give a config to pretrain, or --resume RUN to go on with a run; one of the two.")
    if (output is None) == (resume is None):
        raise ConfigError("Give --output RUN, the folder to write; --resume goes on in the run's own.")
    from seriatim.experiment import read_experiment
    from seriatim.training import pretrain_only, read_run_config

    experiment = read_run_config(resume, set_ or ()) if resume else read_experiment(config or Path(), set_ or ())
    folder = resume or output or Path()
    try:
        best = pretrain_only(experiment, folder, resume=resume is not None)
    except KeyboardInterrupt:
        typer.echo(f"Stopped. Go on with: seriatim pretrain --resume {folder}", err=True)
        raise typer.Exit(Exit.INTERRUPTED) from None
    shown = "  ".join(f"{name.removeprefix('val_')} {value:.3f}" for name, value in best.items() if "val_" in name)
    typer.echo(f"{folder}: best epoch {best['epoch']:.0f}; held out {shown}")
