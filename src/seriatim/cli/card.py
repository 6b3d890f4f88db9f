"""seriatim card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    run: Annotated[Path, typer.Argument(help="The run folder of a trained model.", show_default=False)],
    evaluation: Annotated[
        Path | None, typer.Option(help="A folder of `seriatim evaluate` on series it was not trained on.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(help="A YAML that answers what only people can; default card.yaml of the run.")
    ] = None,
    questions: Annotated[Path | None, typer.Option(help="Write these questions as a YAML to fill in.")] = None,
) -> None:
    """Write the model card: items of CLAIM 2024 and TRIPOD+AI, with what the run proves and what is still to answer.

    Example: `seriatim card runs/demo --evaluation evaluation/`
    """
    from seriatim.training.card import write_card, write_questions

    if questions is not None:
        write_questions(questions)
        typer.echo(f"Questions: {questions}. Fill them in, and give the file as --answers.")
    typer.echo(f"Model card: {write_card(run, evaluation=evaluation, answers=answers)}")
