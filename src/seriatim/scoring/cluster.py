"""Series scored on the nodes of a Ray cluster: the same function for each series, one driver that keeps the tables.

The driver discovers, hands series out, and takes predictions back one by one; a prediction counts once, when the driver
has it. What a lost node or worker had in hand is given to another. Nodes read the files themselves, so storage must be
mounted at the same place on all of them.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, cast

from seriatim.errors import ConfigError, InputError, ModelError
from seriatim.experiment.envelope import EnvelopeSettings, Outside
from seriatim.io import Limits
from seriatim.scoring.engine import leave_unscored, score_one
from seriatim.scoring.provenance import digest_settings
from seriatim.series import Prediction, Series
from seriatim.trained import AnomalyModel, Model, Scorer, is_anomaly_model, load_anomaly_model, load_model, load_scorer
from seriatim.trained.backends import Compute

LOCAL = "local"
IN_HAND = 2
"""Series per slot of the cluster that are handed out at a time: one is scored, the other waits beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How every node makes the scorer of the driver: run folders, and what was changed after loading.

    ``members`` are folders, each with the envelope's settings (JSON) or, of an anomaly model, what is done outside of
    it. ``settings`` is the ``digest_settings`` of the driver's scorer, which that of a node must equal.
    """

    members: tuple[tuple[Path, str], ...]
    thresholds: tuple[tuple[str, float], ...]
    thresholds_from: str
    limits: Limits
    compute: Compute
    settings: str

    @classmethod
    def of(cls, scorer: Scorer) -> Recipe:
        """The recipe of a scorer whose run folders all nodes can read."""
        if isinstance(scorer, AnomalyModel):
            members = [(scorer.path, str(scorer.outside))]
        else:
            members = [(one.path, one.experiment.envelope.model_dump_json()) for one in scorer.members]
        return cls(
            members=tuple((path.resolve(), changed) for path, changed in members),
            thresholds=tuple(scorer.thresholds.items()), thresholds_from=scorer.thresholds_from, limits=scorer.limits,
            compute=scorer.compute, settings=digest_settings(scorer),
        )

    def load(self) -> Scorer:
        """The scorer, as the driver has it.

        Raises:
            ModelError: this node has another model there, or other versions of what makes a score.
        """
        loaded = [self._load(*one) for one in self.members]
        diagnoses = [one for one in loaded if isinstance(one, Model)]
        found: Scorer = load_scorer(diagnoses) if diagnoses else cast("AnomalyModel", loaded[0])
        found = replace(found, limits=self.limits, thresholds=dict(self.thresholds),
                        thresholds_from=self.thresholds_from)
        if digest_settings(found) != self.settings:
            raise ModelError(f"{socket.gethostname()} would score otherwise than the driver: another model in "
                             f"{self.members[0][0]}, or another version of a package. Make them the same on all nodes.")
        return found

    def _load(self, path: Path, changed: str) -> Model | AnomalyModel:
        if is_anomaly_model(path):
            anomaly = load_anomaly_model(path, device=self.compute.home).with_compute(self.compute)
            return anomaly.with_outside(cast("Outside", changed))
        model = load_model(path, device=self.compute.home).with_compute(self.compute)
        envelope = EnvelopeSettings.model_validate_json(changed)
        return replace(model, experiment=model.experiment.model_copy(update={"envelope": envelope}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where to compute: a Ray ``address`` (``HOST:PORT``, ``auto``), or ``local`` for this machine's cores.

    A series takes ``cpus`` and ``gpus`` of a node while it is scored, and is tried on ``attempts`` workers before it is
    given up: one series that kills every process that reads it must not stop the others.
    """

    address: str
    cpus: float = 1.0
    gpus: float = 0.0
    attempts: int = 3

    def predict(self, series: Sequence[Series], model: Scorer) -> Generator[tuple[int, Prediction], None, None]:
        """The prediction of each series with its index, as they come; closing the iterator ends the work.

        Raises:
            ConfigError: Ray is not installed, or there is no cluster at the address.
            InputError: a node does not see a file that is there for the driver.
            ModelError: a node cannot load the same model.
        """
        with _connect(self) as ray:
            yield from _hand_out(ray, self, series, Recipe.of(model))


def score_here(series: Series, recipe: Recipe) -> Prediction | str:
    """What a node does: score one series; the name of the node where it cannot see the files."""
    scorer = _load(recipe)
    return score_one(series, scorer) if _sees(series) else socket.gethostname()


@lru_cache(maxsize=1)
def _load(recipe: Recipe) -> Scorer:
    """One scorer per process, which goes from series to series."""
    return recipe.load()


def _sees(series: Series) -> bool:
    """Whether the first file is there; of one in an archive, the archive."""
    file = series.instances[0].path if series.instances else series.path
    return file.exists() or any(place.is_file() for place in file.parents)


def _hand_out(
    ray: Any, cluster: Cluster, series: Sequence[Series], recipe: Recipe
) -> Generator[tuple[int, Prediction], None, None]:
    work = ray.remote(score_here).options(
        num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_retries=cluster.attempts - 1, retry_exceptions=False
    )
    waiting, told = count(), ray.put(recipe)
    in_hand: dict[Any, int] = {}
    try:
        while True:
            for index in _take(waiting, len(series), room=_slots(ray, cluster) * IN_HAND - len(in_hand)):
                in_hand[work.remote(series[index], told)] = index
            if not in_hand:
                return
            done, _ = ray.wait(list(in_hand), num_returns=1)
            for reference in done:
                index = in_hand.pop(reference)
                yield index, _receive(ray, reference, series[index])
    finally:
        for reference in in_hand:
            ray.cancel(reference, force=True)


def _take(waiting: count[int], total: int, *, room: int) -> Generator[int, None, None]:
    for _ in range(room):
        index = next(waiting)
        if index >= total:
            return
        yield index


def _receive(ray: Any, reference: Any, series: Series) -> Prediction:
    lost = (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError,
            ray.exceptions.OutOfMemoryError)
    try:
        found = ray.get(reference)
    except lost as error:
        reason = (f"WORKER_LOST: every worker that scored it ended before it was done ({type(error).__name__}). Score "
                  "this series alone to see why; a node may lack memory.")
        return leave_unscored(series, "failed", reason)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, ModelError) else error) from error
    if isinstance(found, Prediction):
        return found
    if not _sees(series):
        return leave_unscored(series, "failed", "MISSING: its files are not there any more. Score again.")
    raise InputError(f"Node {found} does not see {series.path}. Mount the storage at the same place on every node.")


def _slots(ray: Any, cluster: Cluster) -> int:
    """How many series the cluster, as it is now, can score at a time; at least one, so that a lone driver waits."""
    there = ray.cluster_resources()
    slots = there.get("CPU", 0.0) / cluster.cpus if cluster.cpus else float("inf")
    return max(1, int(min(slots, there.get("GPU", 0.0) / cluster.gpus) if cluster.gpus else slots))


@contextmanager
def _connect(cluster: Cluster) -> Generator[Any, None, None]:
    """Ray, connected; no usage statistics leave the house, and nodes print nothing here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--cluster needs Ray: pip install 'seriatim[cluster]'.") from error
    mine = not ray.is_initialized()
    if mine:
        more = {"include_dashboard": False} if cluster.address == LOCAL else {}
        try:
            _call(cluster.address)
            with _own_sigterm():
                ray.init(address=cluster.address, log_to_driver=False, logging_level="error", **more)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"There is no Ray cluster at {cluster.address} ({type(error).__name__}). Start one with "
                              "'ray start --head', or use --cluster local.") from error
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


@contextmanager
def _own_sigterm() -> Generator[None, None, None]:
    """Have SIGTERM answered as before: Ray's own answer is to leave at once, without the tables of what is done."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _call(address: str) -> None:
    """Raise OSError where nobody answers at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()
