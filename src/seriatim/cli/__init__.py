"""The command line. Thin: one file per command, and everything heavy is imported inside the commands."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from seriatim import __version__
from seriatim.cli import compare, crossval, evaluate, explain, inspect, score, synth, train
from seriatim.cli.exits import Exit
from seriatim.errors import SeriatimError

app = typer.Typer(
    name="seriatim",
    help="Deep learning over ordered medical images: inspect, train, score and explain DICOM series and clips.",
    epilog="Research use only; not a medical device.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("inspect")(inspect.run)
app.command("synth")(synth.run)
app.command("train")(train.run)
app.command("crossval")(crossval.run)
app.command("score")(score.run)
app.command("explain")(explain.run)
app.command("evaluate")(evaluate.run)
app.command("compare")(compare.run)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"seriatim {__version__}")
        raise typer.Exit


@app.callback()
def configure(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every step.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    logging.basicConfig(
        format="%(levelname)s %(name)s: %(message)s", level=logging.INFO if verbose else logging.WARNING
    )
    if debug:
        _debug.append(version)


_debug: list[bool] = []


def main() -> None:
    """Run the command line; an error a user can repair is one sentence on stderr, and the exit code says which kind."""
    try:
        app()
    except SeriatimError as error:
        if _debug:
            raise
        typer.echo(f"seriatim: {error}", err=True)
        sys.exit(Exit.BAD_ARGUMENTS)
    except KeyboardInterrupt:
        typer.echo("seriatim: interrupted.", err=True)
        sys.exit(Exit.INTERRUPTED)
