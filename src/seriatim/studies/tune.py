"""Search for settings on validation alone; nested in a cross-validation, say honestly what the search is worth."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from seriatim.errors import ConfigError
from seriatim.experiment import Experiment, TuneSettings
from seriatim.io.lock import FileLock
from seriatim.io.tables.outputs import make_folder, read_json, write_csv, write_json
from seriatim.studies.crossval import EMBEDDINGS, CrossValidation, cross_validate, run_fold
from seriatim.studies.crossval import Report as FoldReport
from seriatim.studies.runs import start_pool, wait_for
from seriatim.studies.search import open_search
from seriatim.training.development import write_development

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from seriatim.studies.trial import Plan
    from seriatim.studies.trials import Trials

RECORD, TABLE, BEST = "tune.json", "trials.csv", "best.yaml"
Report = Callable[[int, str, float | None], None]
"""(number of the trial that is finished, how it ended, its value): called after every trial, in its process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What a search found: the best trial with its ``values`` and figure, and in ``counts`` how the trials ended."""

    best: Experiment
    number: int
    values: dict[str, Any]
    metric: str
    value: float
    counts: dict[str, int]


def tune(
    experiment: Experiment, output: Path, *, jobs: int = 1, store: Path | None = None, report: Report | None = None
) -> Tuned:
    """Try the settings of ``experiment.tune`` in ``output``, each judged on validation, and write down the best.

    The test split (``data.fold``, or what the manifest names) is not read: trials see a manifest without it. Called
    again, it goes on where it was; called at the same time in several processes, they share the work.

    Args:
        experiment: with a block ``tune``.
        output: the folder; made where it does not exist.
        jobs: trials at a time, each in a process of its own with its share of the cores.
        store: where the embeddings of two-stage trials are kept; by default in ``output``.
        report: told after every trial; a function of a module where ``jobs`` is above 1.

    Raises:
        ConfigError: a setting, a value of the search or the manifest is wrong, Optuna is missing, ``output`` holds
            another study, or no trial could be finished.
    """
    require_optuna()
    _open(experiment, output)
    work = partial(run_trials, experiment, output, store=store or output / "embeddings", report=report)
    if jobs == 1:
        work()
    else:
        with start_pool(jobs) as pool:
            for _ in wait_for(pool, [pool.submit(work) for _ in range(jobs)]):
                pass
    return _finish(experiment, output)


def tune_nested(
    experiment: Experiment, output: Path, *, jobs: int = 1, report: FoldReport | None = None
) -> CrossValidation:
    """Search without each fold in turn, train the best, and score the fold: what searching and training give together.

    ``output`` is that of ``cross_validate``, with a study in each ``fold<N>/tune`` and ``chosen.csv``: what was chosen
    without each fold. Its figures are of test series that no choice has seen (Varma and Simon 2006).

    Args:
        experiment: with a block ``tune``; ``data.fold`` is ignored.
        output: the folder; made where it does not exist. A finished fold is not done again.
        jobs: folds at a time, each in a process of its own.
        report: told after every fold.

    Raises:
        ConfigError: as ``tune`` and ``cross_validate``.
        InputError: a fold has no usable series.
    """
    require_optuna()
    _settings(experiment)
    open_search(experiment)
    done = cross_validate(experiment, output, jobs=jobs, report=report, work=tune_fold)
    chosen = {name: read_json(folder / "tune" / "chosen.json") for name, folder in done.folders.items()}
    rows = [
        {"fold": name, "trial": one["trial"], one["metric"]: one["value"],
         **{key: json.dumps(value) for key, value in one["values"].items()}}
        for name, one in chosen.items()
    ]  # fmt: skip
    write_csv(output / "chosen.csv", list(rows[0]), rows)
    return done


def tune_fold(experiment: Experiment, name: str, folder: Path) -> None:
    """Search without one fold, train the best without it, and score it. All folds share their embeddings."""
    data, store = experiment.data.model_copy(update={"fold": name}), folder.parent / EMBEDDINGS
    run_fold(tune(experiment.model_copy(update={"data": data}), folder / "tune", store=store).best, name, folder)


def require_optuna() -> None:
    """Raise ConfigError where the extra is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ConfigError('Tuning needs Optuna. Install it: pip install "seriatim[tune]".') from error


def run_trials(experiment: Experiment, output: Path, *, store: Path, report: Report | None = None) -> None:
    """Run trials of a study that ``tune`` opened until there are ``tune.trials`` of them."""
    from seriatim.studies.trial import clean, run_trial

    plan, trials = _join(experiment, output, store=store)
    while True:
        with trials.claim(_settings(experiment).trials) as claimed:
            if claimed is None:
                return
            outcome = run_trial(claimed, plan)
            with trials.alone():
                for name in ("reason", "log_loss"):
                    claimed.trial.set_user_attr(name, getattr(outcome, name))
                trials.study.tell(claimed.trial, outcome.value, state=outcome.state)
                _write(output, plan, trials)
            clean(claimed.folder)
        if report is not None:
            report(claimed.trial.number, outcome.state.name.lower(), outcome.value)


def _settings(experiment: Experiment) -> TuneSettings:
    if experiment.tune is None:
        raise ConfigError("The config has no block tune, which says what to search: see docs/tuning.md.")
    if experiment.training.devices > 1:
        raise ConfigError("A trial trains on one device. Set training.devices=1, and run several trials by --jobs.")
    return experiment.tune


def _open(experiment: Experiment, output: Path) -> None:
    """Write down what is searched, or check that the folder holds the same."""
    settings = _settings(experiment)
    open_search(experiment)
    content = {"experiment": experiment.model_dump(mode="json")}
    del content["experiment"]["tune"]["trials"]
    make_folder(output)
    with FileLock(output / "lock"):
        path, manifest = output / RECORD, output / "development.csv"
        if path.is_file() and read_json(path) != content:
            raise ConfigError(f"{output} holds a study with other settings. Choose another --output.")
        before = manifest.read_bytes() if path.is_file() else None
        development = write_development(experiment, output, folds=settings.folds)
        development.narrow(experiment, development.columns[0])  # what no trial may do is told before any
        if before is not None and manifest.read_bytes() != before:
            raise ConfigError(f"The manifest changed since {output} was started. Put it back, or choose another.")
        write_json(path, content)


def _join(experiment: Experiment, output: Path, *, store: Path) -> tuple[Plan, Trials]:
    """What this process needs to run trials of a study."""
    from seriatim.studies.trial import Plan
    from seriatim.studies.trials import Trials

    settings, space = _settings(experiment), open_search(experiment)
    with FileLock(output / "lock"):
        development = write_development(experiment, output, folds=settings.folds)
    plan = Plan(space=space, development=development, seeds=settings.seeds, store=store)
    direction = space.experiment.task.build().monitor[1]
    steps = space.epochs * len(development.columns) * settings.seeds
    return plan, Trials(output, settings, seed=experiment.seed, direction=direction, steps=steps)


def _write(output: Path, plan: Plan, trials: Trials) -> None:
    """``trials.csv`` of all trials, and ``best.yaml`` of the best."""
    found = trials.study.get_trials(deepcopy=False)
    columns = ["trial", "state", plan.monitor, "log_loss", "epochs", "seconds", "reason", *plan.space.search]
    write_csv(output / TABLE, columns, [_row(trial, plan.monitor) for trial in found])
    best = _best(found, minimise=trials.study.direction.name == "MINIMIZE")
    if best is not None:
        content = plan.space.apply(plan.space.read(best.params)).model_dump(mode="json")
        partial_file = output / f"{BEST}.partial"
        partial_file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        partial_file.replace(output / BEST)


def _row(trial: FrozenTrial, monitor: str) -> dict[str, Any]:
    attributes = {name: trial.user_attrs.get(name, "") for name in ("log_loss", "epochs", "seconds", "reason")}
    value = {monitor: trial.value} if trial.value is not None else {}
    return {"trial": trial.number, "state": trial.state.name.lower(), **value, **attributes, **trial.params}


def _best(trials: list[FrozenTrial], *, minimise: bool) -> FrozenTrial | None:
    """The finished trial of the best value; where several tie, as with few patients, the one of the lowest log loss."""
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    sign = 1.0 if minimise else -1.0
    return min(done, key=lambda one: (sign * (one.value or 0.0), one.user_attrs["log_loss"], one.number), default=None)


def _finish(experiment: Experiment, output: Path) -> Tuned:
    from seriatim.studies.tuning_figure import draw_trials

    plan, trials = _join(experiment, output, store=output)
    found = trials.study.get_trials(deepcopy=False)
    counts: dict[str, int] = {}
    for trial in found:
        counts[trial.state.name.lower()] = counts.get(trial.state.name.lower(), 0) + 1
    best = _best(found, minimise=trials.study.direction.name == "MINIMIZE")
    if best is None or best.value is None:
        reason = next((trial.user_attrs["reason"] for trial in found if trial.user_attrs.get("reason")), "none is done")
        raise ConfigError(f"No trial of {output} was finished; the first one's reason: {reason}")
    with trials.alone():
        _write(output, plan, trials)
        draw_trials(found, plan, output / "trials.png", best=best.number)
        values = plan.space.read(best.params)
        write_json(
            output / "chosen.json",
            {"trial": best.number, "metric": plan.monitor, "value": best.value, "values": values},
        )
    return Tuned(
        best=plan.space.apply(values), number=best.number, values=values, metric=plan.monitor, value=best.value,
        counts=counts,
    )
