"""seriatim get: an open set by name."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from seriatim.datasets import Dataset


def run(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A set; without one, all are listed.")] = None,
    output: Annotated[Path | None, typer.Option(help="A new folder for manifest, volumes, config and receipt.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="PLACE", help="A mirror's address, a file or a folder with the set.")
    ] = None,
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="The licence shown is accepted.")] = False,
) -> None:
    """Get an open set from its publisher, a mirror or a folder, ready for `train`; without a name, list the sets.

    Example: `seriatim get adrenalmnist3d --output data/adrenal --accept-licence`
    """
    from seriatim.cli.progress import SeriesBar
    from seriatim.datasets import DATASETS, find_dataset, get_dataset
    from seriatim.errors import ConfigError

    if name is None:
        _list(DATASETS.values())
        return
    _show_licence(find_dataset(name))
    if output is None:
        raise ConfigError("--output is missing: the folder where the set shall lie.")
    with SeriesBar("downloading", in_bytes=True) as bar:
        got = get_dataset(name, output, source=source, accept_licence=accept_licence, advance=bar.advance)
    for note in got.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"{got.series} series in {output}; {got.check}.")
    typer.echo(f"next: seriatim train {got.config}")


def _list(datasets: Iterable[Dataset]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for heading in ("name", "what", "task", "size", "licence"):
        table.add_column(heading, overflow="fold")
    for dataset in datasets:
        table.add_row(dataset.name, dataset.title, dataset.task, dataset.size, dataset.licence.name)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _show_licence(dataset: Dataset) -> None:
    licence = dataset.licence
    typer.echo(f"{dataset.name}: {dataset.title}. {dataset.page}")
    typer.echo(f"licence: {licence.name} ({licence.url}). {licence.note}".rstrip())
    typer.echo(f"cite: {dataset.citation}")
