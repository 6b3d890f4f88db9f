"""seriatim score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seriatim.cli.dicom_results import Option, open_results, tell_results
from seriatim.cli.exits import Exit, exit_for
from seriatim.cli.progress import SeriesBar


def run(
    path: Annotated[Path, typer.Argument(help="A folder to search through, a file or a ZIP.", show_default=False)],
    model: Annotated[
        list[Path],
        typer.Option(
            help="The run folder of a trained model, or the folder of a crossval; of several (repeatable) the mean.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="The folder for the tables.", show_default=False)],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    backend: Annotated[
        Literal["torch", "onnx", "openvino"],
        typer.Option(help="What computes; all but torch need `seriatim export` first."),
    ] = "torch",
    precision: Annotated[
        Literal["fp32", "bf16", "int8"],
        typer.Option(help="Of the encoder; all but fp32 need `seriatim export` first, which measures what it changes."),
    ] = "fp32",
    split: Annotated[str | None, typer.Option(help="Only this split of the model's run: train, val or test.")] = None,
    on: Annotated[
        list[str] | None, typer.Option(metavar="CODE=ACTION", help="What to do on a finding: GAP=keep; repeatable.")
    ] = None,
    outside: Annotated[
        Literal["refuse", "note"] | None,
        typer.Option(help="Series unlike those of training: refuse, or score and note; else as the model was trained."),
    ] = None,
    dicom_results: Option = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read and decode; else one for each core.")
    ] = None,
) -> None:
    """Score every series below a path: scores.csv, slices.csv, skipped.csv and run.json.

    Several models (`--model A --model B`, or all folds of a crossval) are averaged, and their disagreement is a column.
    A 4D series is read as volumes or as frames over time, as the model was trained (`data.sequence`).

    Exit code: 0 all series scored, 8 some, 3 none, 2 bad arguments.

    Example: `seriatim score studies/ --model runs/demo --output scores/`
    """
    from seriatim.scoring import score
    from seriatim.scoring.options import Options
    from seriatim.scoring.pipeline import Resources
    from seriatim.series.findings import parse_actions
    from seriatim.trained import load_scorer

    actions = parse_actions(on or ())
    scorer = load_scorer(model, device=device, backend=backend, precision=precision)
    typer.echo(f"Computing with {scorer.compute.line}.", err=True)
    only = scorer.find_split(split) if split else None
    results = open_results(dicom_results, model=scorer.with_outside(outside), searched=path)
    with SeriesBar("scoring") as bar:
        summary = score(
            path,
            model=scorer,
            output=output,
            only=only,
            actions=actions,
            outside=outside,
            options=Options(resources=Resources(workers=workers)),
            report=lambda done, of, _: bar.advance(done, of),
            keep=None if results is None else results.add,
        )
    counts = summary["counts"]
    typer.echo(
        f"{counts['scored']} scored, {counts['refused']} refused, {counts['failed']} failed "
        f"of {counts['discovered']} series ({counts['not_asked_for']} not asked for, "
        f"{counts['files_skipped']} files skipped): {output}"
    )
    tell_results(dicom_results, results)
    code = exit_for(used=counts["scored"], asked=counts["discovered"] - counts["not_asked_for"])
    if code is not Exit.ALL:
        typer.echo(
            f"{output / 'scores.csv'} says why for each series, {output / 'skipped.csv'} for each file.", err=True
        )
    raise typer.Exit(code)
