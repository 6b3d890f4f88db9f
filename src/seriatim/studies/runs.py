"""What all studies do with runs: train and score one, run many side by side, and share what they compute."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias

from seriatim.errors import ConfigError
from seriatim.evaluation import EvaluationSettings
from seriatim.experiment import AnomalyExperiment, Experiment
from seriatim.io.tables.manifest import read_table
from seriatim.scoring import score_found
from seriatim.settings import build_settings
from seriatim.training import held_out_series, train

AnyExperiment: TypeAlias = Experiment | AnomalyExperiment
logger = logging.getLogger(__name__)

def run_one(experiment: AnyExperiment, folder: Path) -> None:
    """Train into ``folder/run``, going on with what is there, and score the test split into ``folder/scores``."""
    run = folder / "run"
    if not (run / "model.json").is_file():
        train(experiment, run, resume=run.is_dir())
    # all of them: an evaluation of the series that the model finds familiar would be too good
    score_found(held_out_series(experiment), model=run, output=folder / "scores", outside="note")


def tell_tested_rows(experiment: AnyExperiment) -> None:
    """Warn where rows are marked as a test set, and folds, which hold all rows, let models learn from them."""
    data, rows = experiment.data, read_table(experiment.data.manifest)
    tested = sum(row.get(data.split, "").lower() == "test" for row in rows)
    if tested and (data.folds is not None or data.fold_column in rows[0]):
        logger.warning("%d of %d rows of %s are marked test in %r, and folds hold all rows: models are trained on them "
                       "too. To keep a test set for the end, leave its rows out of the manifest.", tested, len(rows),
                       data.manifest, data.split)


def share_embeddings(experiment: Experiment, store: Path) -> Experiment:
    """The experiment with its embeddings in ``store``, where it is two-stage and its encoder is as it was loaded."""
    training = experiment.training
    if training.mode != "two-stage" or training.embedding_store is not None or experiment.encoder_stage is not None:
        return experiment
    return experiment.model_copy(update={"training": training.model_copy(update={"embedding_store": store})})


def run_all(tasks: Mapping[str, Callable[[], None]], *, jobs: int) -> Iterator[str]:
    """Run all tasks, so many at a time, and name each as it ends."""
    if jobs == 1 or len(tasks) < 2:
        for name, task in tasks.items():
            task()
            yield name
        return
    with start_pool(jobs) as pool:
        running = {pool.submit(task): name for name, task in tasks.items()}
        for future in wait_for(pool, running):
            yield running[future]


def wait_for(pool: ProcessPoolExecutor, running: Iterable[Future[None]]) -> Iterator[Future[None]]:
    """What runs, as it ends. Where something fails, what has not begun is dropped, and it is told at once.

    Raises:
        ConfigError: the system ended a process.
    """
    try:
        for future in as_completed(running):
            future.result()
            yield future
    except BrokenProcessPool as error:
        raise ConfigError("A process of --jobs was ended from outside, most often since memory ran out. Give the same "
                          "command again, with fewer --jobs: it goes on where it was.") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def start_pool(jobs: int) -> ProcessPoolExecutor:
    """Processes that share the cores evenly, and end when this one does, however it ends."""
    context = multiprocessing.get_context("spawn")  # a fork of a process that has used torch's threads may hang
    threads = max(1, (os.cpu_count() or 1) // jobs)
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(threads,))


def _begin(threads: int) -> None:
    import torch

    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """A process that trained on alone would meet the one that the same command, given again, starts in its place."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def evaluation_settings(experiment: AnyExperiment) -> EvaluationSettings:
    """How held-out scores are evaluated: against the manifest, and the slice labels where they name their series."""
    data = experiment.data
    given: dict[str, Any] = {"labels": data.manifest, "patient": data.patient}
    if data.slice_labels is not None and "series_uid" in read_table(data.slice_labels)[0]:
        given |= {"slices": data.slice_labels, "slice_names": experiment.task.slice_labels}
    return build_settings(EvaluationSettings, given, where="crossval")
