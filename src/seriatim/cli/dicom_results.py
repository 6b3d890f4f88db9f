"""--dicom-results: what score and explain share of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from seriatim.explanation.dicom_results import DicomResults
    from seriatim.trained import Scorer

Option = Annotated[
    Path | None,
    typer.Option("--dicom-results", metavar="DIR", help="Write results as DICOM too, to file with the images.",
                 show_default=False),
]


def open_results(
    folder: Path | None, *, model: Scorer, searched: Path, top: int = 6, show: str | None = None
) -> DicomResults | None:
    """Where DICOM results go; None where none are asked for."""
    if folder is None:
        return None
    from seriatim.explanation.dicom_results import DicomResults

    return DicomResults(folder, model=model, searched=searched, top=top, show=show)


def tell_results(folder: Path | None, results: DicomResults | None) -> None:
    """Say on the screen what was written, and what was not."""
    if results is None:
        return
    counts = results.counts
    kept = f" ({counts['kept']} more were there)" if counts["kept"] else ""
    missing = f", {counts['partly']} in part, {counts['none']} not at all" if counts["partly"] + counts["none"] else ""
    typer.echo(f"DICOM results of {counts['written']} series{kept}{missing}: {folder}")
    if missing:
        typer.echo(f"{folder}/dicom_results.csv says why.", err=True)
    if counts["replaced"]:
        typer.echo(f"{counts['replaced']} files held other numbers of this model and were replaced.", err=True)
