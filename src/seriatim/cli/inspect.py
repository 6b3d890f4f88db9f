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
    path: Annotated[Path, typer.Argument(help="A folder to search through, a file or a ZIP.", show_default=False)],
    json: Annotated[Path | None, typer.Option(help="Write all of it, nothing shortened, to JSON.")] = None,
    frames: Annotated[
        bool, typer.Option("--frames", help="Show a 4D series as one series in time per slice, not as volumes.")
    ] = False,
    on: Annotated[
        list[str] | None, typer.Option(metavar="CODE=ACTION", help="What to do on a finding: GAP=keep; repeatable.")
    ] = None,
) -> None:
    """Show what series lie below a path, what was noticed about them, and which files were left out and why.

    Exit code: 0 all series usable, 8 some, 3 none, 2 bad arguments.

    Example: `seriatim inspect studies/ --json found.json`
    """
    from rich.console import Console

    from seriatim.cli.inventory import describe_findings, describe_series, describe_skipped, write_json
    from seriatim.io import find_series
    from seriatim.io.isolation.limits import Limits
    from seriatim.series.findings import parse_actions

    sequence: SequenceKind = "frames" if frames else "volumes"
    inventory = find_series(path, parse_actions(on or ()), sequence=sequence, limits=Limits())
    if json is not None:
        write_json(inventory, json)
    console = Console(width=None if sys.stdout.isatty() else 10_000, soft_wrap=not sys.stdout.isatty())
    if inventory.series:
        console.print(describe_series(inventory, width=console.width))
    for line in (*describe_findings(inventory), *describe_skipped(inventory)):
        console.print(line, markup=False, highlight=False)
    usable = sum(series.usable for series in inventory.series)
    console.print(_summary(inventory, usable), markup=False, highlight=False)
    raise typer.Exit(exit_for(used=usable, asked=len(inventory.series)))


def _summary(inventory: Inventory, usable: int) -> str:
    total, left = len(inventory.series), len(inventory.skipped)
    files = "file" if left == 1 else "files"
    series = f"{usable} of {total} series usable" if total else "no series found"
    return printable(f"{series}, {left} {files} left out: {inventory.root}")
