"""seriatim explain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seriatim.cli.dicom_results import Option, open_results, tell_results
from seriatim.cli.exits import exit_for
from seriatim.cli.progress import SeriesBar

if TYPE_CHECKING:
    from seriatim.series import Series


def run(
    path: Annotated[Path, typer.Argument(help="A folder to search through, a file or a ZIP.", show_default=False)],
    model: Annotated[
        list[Path], typer.Option(help="A run folder, or one of `seriatim crossval`; repeatable.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="The folder for pictures and tables.", show_default=False)],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    split: Annotated[str | None, typer.Option(help="Only this split of the model's run: train, val or test.")] = None,
    show: Annotated[
        str | None, typer.Option(help="The attribution shown first; default the one that measured best.")
    ] = None,
    pixels: Annotated[
        list[str] | None,
        typer.Option(help="grad_cam, grad_cam_plus_plus or occlusion; repeatable; default the one that measured best."),
    ] = None,
    faithfulness: Annotated[
        bool, typer.Option("--faithfulness", help="Measure how faithful the explanation of each series is.")
    ] = False,
    slice_labels: Annotated[
        Path | None, typer.Option(help="A CSV of true slice labels, to mark slices and to measure against.")
    ] = None,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="An HTML page to go through each series, and index.html over all.")
    ] = True,
    figures: Annotated[
        list[str] | None, typer.Option(metavar="png|svg", help="Figures for papers too; repeatable.")
    ] = None,
    nifti: Annotated[
        bool, typer.Option("--nifti", help="Attention and maps of pixels as NIfTI volumes on the grid of the images.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, max=8, help="How many slices to show.")] = 6,
    limit: Annotated[int | None, typer.Option(min=1, help="Explain at most this many series.")] = None,
    on: Annotated[
        list[str] | None, typer.Option(metavar="CODE=ACTION", help="What to do on a finding: GAP=keep; repeatable.")
    ] = None,
    dicom_results: Option = None,
    outside: Annotated[
        Literal["refuse", "note"] | None,
        typer.Option(help="Series unlike those of training: refuse or explain; else as the model was trained."),
    ] = None,
) -> None:
    """Show which slices drove each score: picture, table and page per series, and an index page over all.

    Several models are explained as one, their mean. Of an anomaly model: the scores of all frames with their events,
    and where in a frame it is.

    A 4D series is read as volumes or as frames over time, as the model was trained (`data.sequence`).

    Exit code: 0 all series explained, 8 some, 3 none, 2 bad arguments.

    Example: `seriatim explain studies/ --model runs/demo --output pictures/ --limit 10`
    """
    from seriatim.explanation import ExplainOptions, explain
    from seriatim.scoring.engine import score_one
    from seriatim.series.findings import parse_actions
    from seriatim.trained import load_scorer

    loaded = load_scorer(model, device=device).with_outside(outside)
    only = loaded.find_split(split) if split else None
    options = ExplainOptions(show=show, pixels=tuple(pixels or ()), measured=faithfulness, page=page,
                             figures=tuple(figures or ()), nifti=nifti)
    actions = parse_actions(on or ())
    results = open_results(dicom_results, model=loaded, searched=path, top=top, show=show)
    with SeriesBar("explaining") as bar:

        def report(done: int, of: int, series: Series, reason: str) -> None:
            if results is not None and not reason:
                results.add(series, score_one(series, loaded))
            bar.advance(done, of)

        rows = explain(
            path,
            model=loaded,
            output=output,
            top=top,
            only=only,
            actions=actions,
            limit=limit,
            options=options,
            slice_labels=slice_labels,
            report=report,
        )
    opened = output / "index.html" if page and rows else output
    made = sum(row["status"] == "explained" for row in rows)
    typer.echo(f"{made} of {len(rows)} series explained: {opened}")
    tell_results(dicom_results, results)
    raise typer.Exit(exit_for(used=made, asked=len(rows)))
