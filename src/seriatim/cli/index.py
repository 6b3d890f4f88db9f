"""seriatim index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    folder: Annotated[
        Path, typer.Argument(help="What `seriatim score` or `seriatim explain` wrote.", show_default=False)
    ],
    paths: Annotated[
        bool, typer.Option("--paths", help="Show where each series lay; folders may be named after patients.")
    ] = False,
) -> None:
    """Make index.html over a folder of scores and explanations: a table to sort and filter, with links to the pages.

    `seriatim explain` makes it by itself; after `seriatim score` into the same folder this adds what was only scored.

    Example: `seriatim index results/`
    """
    from seriatim.explanation.index_page import write_index

    typer.echo(f"Index: {write_index(folder, paths=paths)}")
