"""Whatever can score a series: one model of a diagnosis, several, or an anomaly model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from seriatim.errors import ConfigError, ModelError
from seriatim.trained.anomaly import AnomalyModel, load_anomaly_model
from seriatim.trained.backends import choose_compute
from seriatim.trained.ensemble import Ensemble, load_ensemble
from seriatim.trained.files import is_anomaly_model
from seriatim.trained.model import Model

logger = logging.getLogger(__name__)
Scorer: TypeAlias = Ensemble | AnomalyModel
Models: TypeAlias = Path | str | Model | Scorer | Sequence[Path | str | Model]


def load_scorer(
    models: Models, *, device: str = "cpu", backend: str = "torch", precision: str = "fp32", cuda_graphs: bool = False
) -> Scorer:
    """Load what one or more names stand for: run folders, a folder of ``seriatim crossval``, or loaded models, which
    stay as they are. ``device``, ``backend``, ``precision`` and ``cuda_graphs`` as for ``choose_compute``.

    Raises:
        ConfigError: what was asked to compute is not there, or an anomaly model is to be a CUDA graph.
        ModelError: a model is incomplete or changed, several cannot score together, or it was not exported for this.
    """
    if isinstance(models, Ensemble | AnomalyModel):
        return models
    given = [models] if isinstance(models, Path | str | Model) else list(models)
    anomaly = [one for one in given if not isinstance(one, Model) and is_anomaly_model(Path(one))]
    compute = choose_compute(backend=backend, precision=precision, device=device, graphs=cuda_graphs)
    logger.info("computing with %s", compute.line)
    if not anomaly:
        return load_ensemble(given, compute=compute)
    if len(given) > 1:
        raise ModelError(f"{anomaly[0]} is an anomaly model, which scores alone. Train one run with several methods.")
    if cuda_graphs:
        raise ConfigError(f"--cuda-graphs is for models of a diagnosis, and {anomaly[0]} is none. Leave it out.")
    return load_anomaly_model(anomaly[0], device=compute.home).with_compute(compute)
