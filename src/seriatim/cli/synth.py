"""seriatim synth: write synthetic data with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="head-ct or ultrasound.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the series, labels.csv and slices.csv.")],
    count: Annotated[int, typer.Option("--count", help="How many series.")] = 80,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same bytes.")] = 0,
    size: Annotated[int, typer.Option("--size", help="Rows and columns of an image.")] = 128,
    force: Annotated[bool, typer.Option("--force", help="Replace the synthetic set in OUT.")] = False,
) -> None:
    """Write synthetic but valid medical images with known truth.

    `head-ct` makes DICOM CT series, about half with a bleed; `ultrasound` makes clips of a beating chamber, about half
    with an abnormal stretch. `labels.csv` holds one row per series with its split, `slices.csv` one row per slice.

    Example: `seriatim synth head-ct data/heads --count 80 --seed 0`
    """
    from seriatim.synth import synthesize

    done = synthesize(kind, out, count=count, seed=seed, size=size, force=force)
    typer.echo(
        f"{done.series} series of {done.patients} patients in {out}: {done.positive} positive, "
        f"{done.positive_slices} of {done.slices} slices."
    )
