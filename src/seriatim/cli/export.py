"""seriatim export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def run(
    run: Annotated[
        Path, typer.Argument(help="The run folder of a trained model, or of a crossval.", show_default=False)
    ],
    to: Annotated[
        Literal["onnx", "openvino", "torch"],
        typer.Option(help="The library that will compute; torch is for bf16, which is checked likewise."),
    ] = "onnx",
    precision: Annotated[
        Literal["fp32", "bf16", "int8"], typer.Option(help="Of the encoder; the sequence model stays in fp32.")
    ] = "fp32",
    tolerance: Annotated[
        float | None,
        typer.Option(help="How far scores may move; default 1e-4 in fp32, 5e-3 in lower precision.", min=0.0),
    ] = None,
) -> None:
    """Export a run for another library or a lower precision, and keep it only where scores hardly move.

    `seriatim score --backend B --precision P` then computes with it. Beside the files lies report.json.

    Example: `seriatim export runs/demo --to onnx`
    """
    from seriatim.deploy import export_run, find_doubt, largest_logit_move, largest_moves
    from seriatim.trained import load_scorer
    from seriatim.trained.anomaly import AnomalyModel
    from seriatim.trained.backends import choose_compute

    compute = choose_compute(backend=to, precision=precision, device="cpu")
    scorer = load_scorer(run, device="cpu")
    for model in (scorer,) if isinstance(scorer, AnomalyModel) else scorer.members:
        report = export_run(model, compute, tolerance=tolerance)
        moved = ", ".join(f"{name} {value:.1e}" for name, value in largest_moves(report).items())
        logit = largest_logit_move(report)
        moved += "" if logit is None else f"; logits by {logit:.1e}"
        change = report["validation"].get("change", {}).get("auc")
        told = "" if change is None else f"; validation AUC {change:+.4f} over {report['validation']['series']} series"
        typer.echo(f"Exported: {model.path / 'exported' / to / precision} (scores move by at most {moved}{told})")
        if doubt := find_doubt(report):
            typer.echo(f"Warning: {doubt}", err=True)
