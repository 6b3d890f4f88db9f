"""One trial: the experiment with the values drawn for it, trained on every split and seed it is judged by."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from optuna.trial import TrialState

from seriatim.errors import ConfigError, OutputError, SeriatimError, reason_of
from seriatim.experiment import Experiment
from seriatim.studies.runs import share_embeddings
from seriatim.studies.search import SearchSpace
from seriatim.studies.trials import Claimed
from seriatim.training import train
from seriatim.training.development import Development
from seriatim.training.records import read_metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every trial of a study has in common. ``store``: where the embeddings of two-stage trials are shared."""

    space: SearchSpace
    development: Development
    seeds: int
    store: Path

    @property
    def monitor(self) -> str:
        """The validation metric by which trials are judged."""
        return self.space.experiment.task.build().monitor[0]

    def parts(self, experiment: Experiment) -> list[Experiment]:
        """The runs of a trial: one for each split and seed, none with a test series.

        Nothing is calibrated: that is fitted on validation, and would flatter it.
        """
        task = experiment.task.model_copy(update={"calibration": "none", "coverage": None})
        own = share_embeddings(experiment, self.store).model_copy(update={"task": task})
        return [
            self.development.narrow(own, column).model_copy(update={"seed": own.seed + seed})
            for column in self.development.columns
            for seed in range(self.seeds)
        ]


class PrunedError(Exception):
    """The trial is not worth more epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a trial ended. ``value`` and ``log_loss`` are means over its parts, None where it did not come so far."""

    state: TrialState
    value: float | None = None
    log_loss: float | None = None
    reason: str = ""


def run_trial(claimed: Claimed, plan: Plan) -> Outcome:
    """Train what the trial draws, and go on where it was stopped; a trial that cannot be trained says why."""
    started = perf_counter()
    trial = claimed.trial
    drawn = plan.space.draw(trial)
    try:
        with _told_to(claimed.folder / "log.txt"):
            outcome = _train_parts(claimed, plan, plan.space.apply(drawn))
    except PrunedError:
        outcome = Outcome(state=TrialState.PRUNED)
    except OutputError:
        raise
    except SeriatimError as error:
        outcome = Outcome(state=TrialState.FAIL, reason=reason_of(error))
    except (RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        reason = f"{type(error).__name__} in training. Try these values by `seriatim train`, which says more."
        outcome = Outcome(state=TrialState.FAIL, reason=reason)
    before = float(trial.user_attrs.get("seconds", 0.0))
    trial.set_user_attr("seconds", round(before + perf_counter() - started, 1))
    trial.set_user_attr("epochs", sum(len(read_metrics(path)) for path in claimed.folder.glob("part*/metrics.jsonl")))
    return outcome


def _train_parts(claimed: Claimed, plan: Plan, experiment: Experiment) -> Outcome:
    parts = plan.parts(experiment)
    watch = _Watch(claimed, plan)
    losses = []
    for number, part in enumerate(parts):
        run = claimed.folder / f"part{number}"
        watch.start(run)
        metrics = _train_part(part, run, watch)
        if plan.monitor not in metrics:
            raise ConfigError(
                f"Validation has no {plan.monitor}, which judges trials: it holds one class alone. Give it more "
                "patients, by data.validation_fraction or fewer tune.folds."
            )
        watch.finish(metrics[plan.monitor])
        losses.append(metrics.get("log_loss", 0.0))
    return Outcome(state=TrialState.COMPLETE, value=watch.value, log_loss=sum(losses) / len(losses))


def _train_part(experiment: Experiment, run: Path, watch: _Watch) -> Mapping[str, float]:
    description = run / "model.json"
    if description.is_file():
        found: Mapping[str, float] = json.loads(description.read_text(encoding="utf-8"))["validation"]
        return found
    summary = train(experiment, run, resume=run.is_dir(), after_epoch=watch)
    validation: Mapping[str, float] = summary["validation"]
    return validation


class _Watch:
    """Tells the study the mean over the parts so far, each by its best epoch, and ends a trial that it gives up."""

    def __init__(self, claimed: Claimed, plan: Plan) -> None:
        self._trial, self._stride = claimed.trial, plan.space.epochs  # steps between the parts, for the pruner
        self._monitor, direction = plan.space.experiment.task.build().monitor
        self._better = max if direction == "max" else min
        self._done: list[float] = []
        self._best: float | None = None
        trials = claimed.trial.study.get_trials(deepcopy=False)
        self._told = set(trials[claimed.trial.number].intermediate_values)

    @property
    def value(self) -> float:
        """The mean over the finished parts."""
        return sum(self._done) / len(self._done)

    def start(self, run: Path) -> None:
        """Begin a part, or go on with one: what its epochs said before is told again."""
        self._best = None
        for line in read_metrics(run / "metrics.jsonl"):
            self(line["epoch"], {key.removeprefix("val_"): value for key, value in line.items()})

    def finish(self, value: float) -> None:
        """End a part by the figure of its kept epoch."""
        self._done.append(value)

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if self._monitor not in metrics:
            return
        now = metrics[self._monitor]
        self._best = now if self._best is None else self._better(self._best, now)
        step = len(self._done) * self._stride + epoch
        if step not in self._told:
            self._told.add(step)
            self._trial.report((sum(self._done) + self._best) / (len(self._done) + 1), step)
        if self._trial.should_prune():
            raise PrunedError


@contextmanager
def _told_to(path: Path) -> Iterator[None]:
    """Everything that a run tells on stderr goes to a file: twenty trials at once are no reading."""
    logger = logging.getLogger("seriatim")
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file, redirect_stderr(file):
        handler = logging.StreamHandler(file)
        logger.addHandler(handler)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.propagate = True


def clean(folder: Path) -> None:
    """Leave a finished trial its settings and figures; its weights are trained again from ``best.yaml``."""
    for part in folder.glob("part*"):
        for path in (*part.glob("*.safetensors"), part / "model.json"):
            path.unlink(missing_ok=True)
        shutil.rmtree(part / "tensorboard", ignore_errors=True)
