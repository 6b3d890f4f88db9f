"""The end of a run: validation scored with the kept weights, thresholds chosen on it, the model described."""

from __future__ import annotations

import logging

import numpy as np
import torch

from seriatim.io.tables.outputs import write_csv
from seriatim.trained import write_description
from seriatim.training.card import write_card
from seriatim.training.curves import draw_curves
from seriatim.training.envelope import learn_envelope
from seriatim.training.records import read_metrics
from seriatim.training.session import Session

logger = logging.getLogger(__name__)


def write_end(session: Session, *, best_epoch: int) -> dict[str, float]:
    """Score validation with the kept weights as scoring will, calibrate and choose thresholds, describe the model.

    ``best_epoch`` is the one that the curves mark: that of ``training``.
    """
    run, experiment, examples = session.run, session.experiment, session.examples
    validation = examples.of("val")
    given = torch.stack([session.score(example).uncalibrated for example in validation])
    labels = np.array([example.labels for example in validation])
    task = session.task.with_calibration(given.numpy(), labels)
    probabilities = task.calibrate(given).numpy()
    task = task.with_conformal(probabilities, labels)
    metrics, thresholds = task.metrics(probabilities, labels), task.thresholds(probabilities, labels)
    prefix = "value" if experiment.task.target == "regression" else "probability"
    columns = [f"{prefix}_{name}" for name in task.class_names]
    names = list(experiment.task.labels)
    rows = [
        {"series_uid": example.series.series_uid, "volume": example.series.volume, "patient": example.case.patient,
         **{name: example.case.row[name] for name in names}, **dict(zip(columns, row, strict=True)),
         "prediction": task.decide(row, thresholds)}
        for example, row in zip(validation, probabilities, strict=True)
    ]  # fmt: skip
    write_csv(run / "validation.csv", ["series_uid", "volume", "patient", *names, *columns, "prediction"], rows)
    lines = read_metrics(run / "metrics.jsonl")
    draw_curves(lines, run / "curves.png", title=experiment.name, best_epoch=best_epoch)
    envelope, familiarity = learn_envelope(session)
    one_sided = task.one_sided(labels)
    write_description(
        run, experiment=experiment, task=task, thresholds=thresholds, envelope=envelope, metrics=metrics,
        familiarity=familiarity, stand_ins=one_sided,
    )
    if one_sided:
        logger.warning("validation holds one class of %s only: 0.5 stands in for a threshold", ", ".join(one_sided))
    write_card(run)
    return metrics
