"""Score every series below a path: one row each, nothing lost, one bad series never stops the run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from seriatim.experiment.envelope import Outside
from seriatim.io.isolation.limits import Limits
from seriatim.scoring.options import Keep, Options, Report, Stop
from seriatim.scoring.run import BatchRun
from seriatim.scoring.search import prepare_search
from seriatim.scoring.state import State
from seriatim.series import Code, Inventory, Series
from seriatim.series.findings import Action
from seriatim.trained import Models, load_scorer


def score(
    path: Path | str,
    *,
    model: Models,
    output: Path | str,
    device: str = "auto",
    only: Collection[str] | None = None,
    actions: Mapping[Code, Action] | None = None,
    limits: Limits | None = None,
    outside: Outside | None = None,
    report: Report | None = None,
    options: Options | None = None,
    stop: Stop | None = None,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Score every series below ``path`` and write ``scores.csv``, ``slices.csv``, ``skipped.csv`` and ``run.json``.

    What is done is kept in ``state.sqlite`` in ``output``: called again, also after a crash, only what is left, failed
    or changed is scored, and the tables are those of one undisturbed run.

    Args:
        path: a folder (searched through), a file, or a ZIP archive or a folder in one.
        model: the run folder of a trained model, the folder of a cross-validation (all its folds), what
            ``load_model`` or ``load_ensemble`` made of them, or several of these: then the mean of their probabilities.
        output: the folder for the tables; made where it does not exist.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        only: series UIDs to score; all others are left alone and counted as ``not_asked_for``.
        actions: what to do on findings, where it differs from what the model was trained with.
        limits: time and memory for reading a series in its worker process, where not ``data.reading`` of the model.
        outside: whether series outside of what training saw (``envelope`` of the experiment) are refused or only
            noted, where not as each model was trained to do.
        report: told after every series.
        options: the formats of the tables, and what counts as done.
        stop: asked after every series; True ends in good order, with the tables of what is done.
        keep: given every scored series and its result at the end, also those of earlier calls.

    Returns:
        What ``run.json`` holds: versions, the model's digest, and counts that add up.

    Raises:
        InputError: ``path`` does not exist.
        ModelError: a model is incomplete, changed or does not fit, or several answer different questions.
        OutputError: ``output`` cannot be written, holds series of another folder that are still there, or another
            process scores into it; what was done stays done.
    """
    search = prepare_search(path, model, device=device, actions=actions, limits=limits, outside=outside)
    with State(Path(output)) as state:
        run = BatchRun(state, search.model, options=options or Options())
        with run.costs.alone("discover"):
            inventory, began_ns = search.find()
            run.look(inventory, only=only, began_ns=began_ns)
        run.score(report, stop)
        summary = run.finish({**search.describe(), "only": None if only is None else len(only)})
        if keep is not None:
            run.file(keep, stop=stop)
        return summary


def score_found(
    series: Sequence[Series], *, model: Models, output: Path | str, device: str = "auto",
    outside: Outside | None = None,
) -> dict[str, Any]:
    """Score series that are found already, and write the same tables as ``score``, whose arguments these are.

    Raises:
        ModelError: the model is incomplete, changed or does not fit.
        OutputError: ``output`` cannot be written, or another process scores into it.
    """
    loaded = load_scorer(model, device=device).with_outside(outside)
    with State(Path(output)) as state:
        run = BatchRun(state, loaded, options=Options())
        run.look(Inventory(root=Path(), series=tuple(series)))
        run.score()
        return run.finish()
