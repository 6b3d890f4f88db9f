"""seriatim explain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seriatim.cli.dicom_results import Option, open_results, tell_results
from seriatim.cli.exits import exit_for
from seriatim.cli.progress import SeriesBar

if TYPE_CHECKING:
    from seriatim.series import Series


def run(
    path: Annotated[Path, typer.Argument(help="A folder to search through, a file or a ZIP.", show_default=False)],
    model: Annotated[list[Path], typer.Option(help="The run folder of one trained model.", show_default=False)],
    output: Annotated[Path, typer.Option(help="The folder for pictures and tables.", show_default=False)],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    split: Annotated[str | None, typer.Option(help="Only this split of the model's run: train, val or test.")] = None,
    top: Annotated[int, typer.Option(min=1, max=8, help="How many slices to show.")] = 6,
    limit: Annotated[int | None, typer.Option(min=1, help="Explain at most this many series.")] = None,
    on: Annotated[
        list[str] | None, typer.Option(metavar="CODE=ACTION", help="What to do on a finding: GAP=keep; repeatable.")
    ] = None,
    dicom_results: Option = None,
) -> None:
    """Show which slices drove each score: a PNG and a CSV per series.

    Of an anomaly model: the scores of all frames with their events and where in a frame it is, and an HTML page to go
    through the frames.

    A 4D series is read as volumes or as frames over time, as the model was trained (`data.sequence`).

    Exit code: 0 all series explained, 8 some, 3 none, 2 bad arguments.

    Example: `seriatim explain studies/ --model runs/demo --output pictures/ --limit 10`
    """
    from seriatim.errors import ConfigError
    from seriatim.explanation import explain
    from seriatim.scoring.engine import score_one
    from seriatim.series.findings import parse_actions
    from seriatim.trained import load_scorer, split_of_run

    if len(model) > 1:
        raise ConfigError("An explanation is that of one model, and several were given. Give --model once.")
    only = split_of_run(model[0], split) if split else None
    actions = parse_actions(on or ())
    scorer = load_scorer(model[0], device=device)
    results = open_results(dicom_results, model=scorer, searched=path, top=top)
    with SeriesBar("explaining") as bar:

        def report(done: int, of: int, series: Series, reason: str) -> None:
            if results is not None and not reason:
                results.add(series, score_one(series, scorer))
            bar.advance(done, of)

        rows = explain(
            path,
            model=model[0],
            output=output,
            device=device,
            top=top,
            only=only,
            actions=actions,
            limit=limit,
            report=report,
        )
    made = sum(row["status"] == "explained" for row in rows)
    typer.echo(f"{made} of {len(rows)} series explained: {output}")
    tell_results(dicom_results, results)
    raise typer.Exit(exit_for(used=made, asked=len(rows)))
