"""The command line. Thin: one file per command, and everything heavy is imported inside the commands."""

from __future__ import annotations

import logging
import sys
import traceback
from io import TextIOWrapper
from typing import Annotated, TextIO

import typer

from seriatim import __version__
from seriatim.cli import (
    card,
    compare,
    crossval,
    evaluate,
    explain,
    export,
    faithfulness,
    get,
    index,
    inspect,
    learning_curve,
    pretrain,
    score,
    status,
    synth,
    train,
    tune,
    watch,
)
from seriatim.cli.exits import Exit
from seriatim.errors import SeriatimError, printable

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
app.command("get")(get.run)
app.command("train")(train.run)
app.command("pretrain")(pretrain.run)
app.command("crossval")(crossval.run)
app.command("tune")(tune.run)
app.command("learning-curve")(learning_curve.run)
app.command("score")(score.run)
app.command("export")(export.run)
app.command("status")(status.run)
app.command("watch")(watch.run)
app.command("explain")(explain.run)
app.command("index")(index.run)
app.command("faithfulness")(faithfulness.run)
app.command("evaluate")(evaluate.run)
app.command("compare")(compare.run)
app.command("card")(card.run)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"seriatim {__version__}")
        raise typer.Exit


@app.callback()
def configure(
    version: Annotated[  # noqa: ARG001 - acts through its callback
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every step.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    handler = _StderrHandler()
    handler.setFormatter(_PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO if verbose else logging.WARNING)
    _debug[:] = [debug]


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what stands for standard error at that moment: while there are live lines, above them."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _PlainFormatter(logging.Formatter):
    """No name of a file moves the cursor or forges a line of the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        return printable(super().formatMessage(record))


_debug: list[bool] = []


def main() -> None:
    """Run the command line; an error a user can repair is one sentence on stderr, and the exit code says which kind."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a file's name need not be UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SeriatimError as error:
        if any(_debug):
            typer.echo(_trace(error), err=True)
        typer.echo(f"seriatim: {printable(str(error))}", err=True)
        sys.exit(Exit.BAD_ARGUMENTS)
    except KeyboardInterrupt:
        typer.echo("seriatim: interrupted.", err=True)
        sys.exit(Exit.INTERRUPTED)


def _trace(error: BaseException | None) -> str:
    """Where an error and its causes came from. What other libraries say is left out: it may repeat a header."""
    lines: list[str] = []
    while error is not None:
        lines = [*traceback.format_tb(error.__traceback__), f"{type(error).__name__}\n", *lines]
        error = error.__cause__ or error.__context__
    return "Traceback, the cause first:\n" + "".join(lines)
