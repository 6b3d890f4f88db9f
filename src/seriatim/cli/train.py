"""seriatim train."""

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
    output: Annotated[
        Path | None, typer.Option(help="The run folder; default runs/NAME, as named in the YAML.", show_default=False)
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run folder.", show_default=False)] = None,
) -> None:
    """Train a model from one YAML.

    Example: `seriatim train configs/demo.yaml --set training.epochs=20 --output runs/demo`
    """
    if (config is None) == (resume is None):
        raise ConfigError("Give a config to train, or --resume RUN to go on with a run; one of the two.")
    if resume is not None and output is not None:
        raise ConfigError("--resume goes on in the run's own folder. Leave --output out.")
    from seriatim.experiment import read_experiment
    from seriatim.training import read_run_config, train

    experiment = read_run_config(resume, set_ or ()) if resume else read_experiment(config or Path(), set_ or ())
    folder = resume or output or Path("runs") / experiment.name
    try:
        summary = train(experiment, folder, resume=resume is not None)
    except KeyboardInterrupt:
        typer.echo(f"Stopped. Go on with: seriatim train --resume {folder}", err=True)
        raise typer.Exit(Exit.INTERRUPTED) from None
    if "validation" not in summary:  # one of several processes, and not the one that reports
        return
    shown = "  ".join(f"{name} {value:.3f}" for name, value in summary["validation"].items())
    kept = f"best epoch {summary['best_epoch']} of {summary['epochs']}; " if "epochs" in summary else ""
    typer.echo(f"{folder}: {kept}validation {shown}")
