"""``seriatim compare``: two or more models on the same series, paired."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from seriatim.evaluation.compare import Comparison


def run(
    models: Annotated[list[Path], typer.Argument(help="Two or more: a scores.csv, or a folder of scores (folds).")],
    output: Annotated[Path, typer.Option(help="Folder for comparison.json and comparison.csv.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV: series_uid or path, label columns, and patient; crossvals have their manifest."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Label column, repeatable; without it the model's own, from run.json.")
    ] = None,
    patient: Annotated[
        str | None, typer.Option(help="Column of the labels that says whose a series is; without it patient.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Decide by this instead of each model's threshold from validation.")
    ] = None,
    include_training: Annotated[
        bool, typer.Option("--include-training", help="Count series too that a model was trained or tuned on.")
    ] = False,
) -> None:
    """Compare models on the series that all of them scored: paired differences to the first, each with its interval.

    AUCs are compared by DeLong's test, by patient where patients have several series; decisions by McNemar's, or by
    resampling patients. What the models share cancels in a paired difference: it may be sure where the two intervals
    overlap.

    Of two folders of `crossval` with one manifest, nothing else is needed.

    Example: `seriatim compare scores/mean_pooling scores/lstm --labels labels.csv --output comparison`
    """
    from rich.console import Console

    from seriatim.evaluation import EvaluationSettings
    from seriatim.evaluation.compare import compare
    from seriatim.evaluation.find import find_labels
    from seriatim.settings import build_settings

    given = {**find_labels(models, labels, patient=patient), "names": tuple(label or ()), "threshold": threshold,
             "include_training": include_training}
    settings = build_settings(EvaluationSettings, given, where="compare")
    comparison = compare(models, settings=settings, output=output)
    console = Console()
    for line in _summarise(comparison):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(_tabulate(comparison))
    console.print(f"Written to {output}", markup=False, highlight=False, soft_wrap=True)


def _summarise(comparison: Comparison) -> list[str]:
    first = comparison.models[0].name
    lines = [
        f"{comparison.series} series compared, {comparison.clusters} by {comparison.clustered_by}.",
        f"Differences are to {first}; a positive one means a larger figure than that of {first}.",
    ]
    if comparison.left_out:
        lines.append(f"  {comparison.left_out} labelled series left out: not scored by all, or known to a model.")
    return lines


def _tabulate(comparison: Comparison) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("metric", no_wrap=True)
    for name in ("value", "difference", "95 % interval", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for model in comparison.models:
        for name, own in model.measures.items():
            difference = model.differences.get(name)
            cells = ["", "", ""]
            if difference and difference.estimate.value is not None:
                low, high = difference.estimate.low, difference.estimate.high
                interval = "-" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
                p = "" if difference.p is None else f"{difference.p:.3f}" if difference.p >= 0.001 else "<0.001"
                cells = [f"{difference.estimate.value:+.3f}", interval, p]
            table.add_row(model.name, name, "-" if own.value is None else f"{own.value:.3f}", *cells)
    return table
