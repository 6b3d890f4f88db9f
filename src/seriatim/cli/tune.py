"""seriatim tune."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seriatim.errors import ConfigError

if TYPE_CHECKING:
    from seriatim.studies import Tuned


def run(
    config: Annotated[Path, typer.Argument(help="The YAML of the run, with a block `tune`.", show_default=False)],
    output: Annotated[Path, typer.Option(help="The folder for the study.", show_default=False)],
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all; default tune.trials.", show_default=False)
    ] = None,
    fold: Annotated[
        str | None, typer.Option(help="Leave this fold alone: it is neither read nor scored.", show_default=False)
    ] = None,
    nested: Annotated[
        bool, typer.Option("--nested", help="Tune without each fold in turn, train the best, score the fold.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Trials (nested: folds) at a time, each in a process.")] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable.")
    ] = None,
) -> None:
    """Search for settings, judged on validation; the test fold is not read.

    What is tried is the block `tune` of the YAML. Stopped, it goes on where it was when called again; called several
    times at once, the processes share the work. The figure of the best trial is optimistic: `--nested` says what it is
    worth on series that no choice has seen.

    Example: `seriatim tune configs/ct_ich_tune.yaml --fold 0 --trials 20 --output runs/ct_ich_tune`
    """
    from seriatim.cli.crossval import print_evaluation, tell_fold
    from seriatim.experiment import Experiment
    from seriatim.studies import tune, tune_nested

    if nested and fold is not None:
        raise ConfigError("--nested leaves out each fold in turn. Leave --fold out.")
    given = {"tune.trials": trials, "data.fold": fold}
    overrides = [*(set_ or ()), *(f"{key}={value}" for key, value in given.items() if value is not None)]
    experiment = Experiment.read(config, overrides)
    if nested:
        print_evaluation(tune_nested(experiment, output, jobs=jobs, report=tell_fold).evaluation, output)
        return
    for line in _summarise(tune(experiment, output, jobs=jobs, report=_tell), output):
        typer.echo(line)


def _tell(number: int, state: str, value: float | None) -> None:
    typer.echo(f"trial {number}: {state}" + ("" if value is None else f", {value:.3f}"), err=True)


def _summarise(tuned: Tuned, output: Path) -> list[str]:
    ended = {"complete": "finished", "pruned": "stopped early", "fail": "failed", "running": "under way elsewhere"}
    counts = ", ".join(f"{count} {ended.get(state, state)}" for state, count in tuned.counts.items())
    return [
        f"{sum(tuned.counts.values())} trials: {counts}.",
        f"Best: trial {tuned.number}, validation {tuned.metric} {tuned.value:.3f}",
        *(f"  {key} = {json.dumps(value)}" for key, value in tuned.values.items()),
        "The best of many on validation is optimistic, and no test result: see docs/tuning.md, and --nested.",
        f"Train it: seriatim train {output / 'best.yaml'}",
    ]
