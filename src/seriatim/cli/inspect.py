"""seriatim inspect."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seriatim.cli.exits import exit_for
from seriatim.errors import printable

if TYPE_CHECKING:
    from seriatim.series import Inventory
    from seriatim.series.series import SequenceKind


def run(
    path: Annotated[Path, typer.Argument(help="A folder to search through, or a file.", show_default=False)],
    json: Annotated[Path | None, typer.Option(help="Write everything to this JSON file too.")] = None,
    frames: Annotated[
        bool, typer.Option("--frames", help="Show a 4D series as one series in time per slice, not as volumes.")
    ] = False,
    on: Annotated[
        list[str] | None, typer.Option(metavar="CODE=ACTION", help="What to do on a finding: GAP=keep; repeatable.")
    ] = None,
) -> None:
    """Show what series lie below a path, one row each, and every file that was left out with its reason.

    Exit code: 0 all series usable, 8 some, 3 none, 2 bad arguments.

    Example: `seriatim inspect studies/ --json found.json`
    """
    from rich.console import Console

    from seriatim.cli.inventory import describe_series, describe_skipped, write_json
    from seriatim.io import find_series
    from seriatim.io.isolation.limits import Limits
    from seriatim.series.findings import parse_actions

    sequence: SequenceKind = "frames" if frames else "volumes"
    inventory = find_series(path, parse_actions(on or ()), sequence=sequence, limits=Limits())
    if json is not None:
        write_json(inventory, json)
    console = Console(width=None if sys.stdout.isatty() else 10_000, soft_wrap=not sys.stdout.isatty())
    console.print(describe_series(inventory))
    for line in describe_skipped(inventory):
        console.print(line, markup=False, highlight=False)
    usable = sum(series.usable for series in inventory.series)
    console.print(_summary(inventory, usable), markup=False, highlight=False)
    raise typer.Exit(exit_for(used=usable, asked=len(inventory.series)))


def _summary(inventory: Inventory, usable: int) -> str:
    total, left = len(inventory.series), len(inventory.skipped)
    files = "file" if left == 1 else "files"
    return printable(f"{usable} of {total} series usable, {left} {files} left out: {inventory.root}")
