"""``seriatim evaluate``: hold scores against labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seriatim.cli.exits import Exit

if TYPE_CHECKING:
    from rich.table import Table

    from seriatim.evaluation import Evaluation


def run(
    scores: Annotated[
        list[Path], typer.Argument(help="One or more scores.csv, or folders of them; several (folds) are pooled.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for evaluation.json, evaluation.csv and the figures.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV: series_uid or path, label columns, and patient; a crossval has its manifest."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Label column, repeatable; without it the model's own, from run.json.")
    ] = None,
    patient: Annotated[
        str | None, typer.Option(help="Column of the labels that says whose a series is; without it patient.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Decide by this instead of the threshold chosen on validation.")
    ] = None,
    slices: Annotated[
        Path | None, typer.Option(help="CSV of true slices: series_uid, sop_instance_uid (or index), labels.")
    ] = None,
    slice_label: Annotated[
        list[str] | None,
        typer.Option(help="Label column of --slices, repeatable, in the order of labels; else the model's own."),
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Column of the labels to tell subgroups by: sex, scanner; repeatable.")
    ] = None,
    normal: Annotated[
        list[str] | None,
        typer.Option(help="Of an anomaly model: a value of the label that means normal; repeatable; else the model's."),
    ] = None,
    include_training: Annotated[
        bool, typer.Option("--include-training", help="Count series too that the model was trained or tuned on.")
    ] = False,
) -> None:
    """Hold scores against labels: AUC, accuracy and more, each with a 95 % interval, figures, and a page.

    Labels are joined by `series_uid`, or else by `path` relative to the folder of the labels. A `patient` column (or
    that of `--patient`) makes the intervals count patients instead of series. A labelled series without a score is
    counted with its reason.
    Series that the model was trained or tuned on (column `split` of scores.csv) are left out and counted.

    Example: `seriatim evaluate out/scores.csv --labels labels.csv --output eval`
    """
    from rich.console import Console

    from seriatim.evaluation import EvaluationSettings, evaluate
    from seriatim.evaluation.find import find_labels
    from seriatim.settings import build_settings

    given = {
        **find_labels(scores, labels, patient=patient),
        "names": tuple(label or ()),
        "threshold": threshold,
        "slices": slices,
        "slice_names": tuple(slice_label or ()),
        "by": tuple(by or ()),
        "normal": tuple(normal or ()),
        "include_training": include_training,
    }
    settings = build_settings(EvaluationSettings, given, where="evaluate")
    evaluation = evaluate(scores, settings=settings, output=output)
    console = Console()
    for line in summarise(evaluation):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(tabulate(evaluation))
    console.print(f"Written to {output}", markup=False, highlight=False, soft_wrap=True)
    if not len(evaluation.samples.labels):
        raise typer.Exit(Exit.NOTHING_USABLE)


def summarise(evaluation: Evaluation) -> list[str]:
    """What was evaluated and what was not, line by line."""
    from seriatim.evaluation.join import LEFT_OUT, TRAINED_ON
    from seriatim.evaluation.known_patients import KNOWN_PATIENTS

    joined, evaluated = evaluation.joined, len(evaluation.samples.labels)
    found_by = ", ".join(f"{way} ({count})" for way, count in joined.joined_by.items())
    lines = [f"{joined.labelled} series labelled, {evaluated} scored and evaluated.", f"  Labels joined by {found_by}."]
    if evaluated:
        lines.append(f"  Intervals count {evaluation.samples.clusters.count} by {evaluation.samples.clustered_by}.")
    if joined.left_out:
        lines.append(f"  {joined.left_out} left out: {TRAINED_ON}. --include-training counts them all the same.")
    if joined.trained_on:
        lines.append(f"  {joined.trained_on} of them counted although {TRAINED_ON}: too good for new series.")
    if evaluation.of_known_patients:
        lines.append(f"  {evaluation.of_known_patients} of them {KNOWN_PATIENTS}.")
    lines += [
        f"  {count} not evaluated, {reason}"
        for reason, count in evaluation.missing_counts.items()
        if not reason.startswith(LEFT_OUT)
    ]
    if joined.unlabelled:
        lines.append(f"  {joined.unlabelled} scored without a label, not evaluated")
    return lines


def tabulate(evaluation: Evaluation) -> Table:
    """Every figure with its interval."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for name, width in (("value", 6), ("95 % interval", 15), ("n", 3)):
        table.add_column(name, justify="right", no_wrap=True, min_width=width)  # numbers are never cut
    table.add_column("method", overflow="fold")
    chances = evaluation.slices.chance if evaluation.slices else {}
    for name, one in evaluation.all_measures.items():
        value = "-" if one.value is None else f"{one.value:.3f}"
        interval = "-" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
        chance = chances.get(name)
        note = one.method.partition(" over ")[0] if chance is None else f"chance {chance:.3f}"
        table.add_row(name, value, interval, str(one.n), note or one.reason)
    return table
