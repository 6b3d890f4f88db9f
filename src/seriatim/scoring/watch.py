"""Score frames as they come, with the state of a causal anomaly model carried from one to the next."""

from __future__ import annotations

import logging
import math
from array import array
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from seriatim.errors import ModelError, reason_of
from seriatim.models.detectors import Evidence
from seriatim.scoring.frozen import is_still
from seriatim.scoring.live_frames import LiveFrame
from seriatim.series import Volume
from seriatim.tasks.events import Event
from seriatim.tasks.live_events import LiveEvents
from seriatim.tasks.normality import z_of_surprise
from seriatim.trained.anomaly import AnomalyModel

Record: TypeAlias = dict[str, Any]
logger = logging.getLogger(__name__)


class Watcher:
    """One sequence while it comes. Each frame and event becomes a record, as a line of JSON holds it.

    Scores are those of ``seriatim score`` about the same frames, bit for bit.

    Raises:
        ModelError: the model needs frames that are not there yet.
    """

    def __init__(self, model: AnomalyModel) -> None:
        if refusal := model.refuse_live():
            raise ModelError(f"{model.path} cannot watch. {refusal}")
        norms, settings = model.task.norms, model.task.settings
        assert norms is not None
        self._model, self._threshold = model, norms.threshold
        self._events = LiveEvents(threshold=norms.threshold, release=settings.release * norms.threshold,
                                  least_frames=settings.least_frames, most_gap=settings.most_gap)
        self._states: list[Any] | None = None
        self._before: Tensor | None = None
        self._size: tuple[int, int] | None = None
        self._latencies_ms = array("d")
        self._frames = self._refused = self._told = self._still = 0
        self._highest = 0.0
        self._warm_up()

    def start(self) -> Record:
        """What is watched with: the first record."""
        settings = self._model.task.settings
        return {"type": "start", "model": self._model.experiment.name, "digest": self._model.digest,
                "methods": [one.kind for one in settings.methods], "threshold_p_value": math.exp(-self._threshold),
                "compute": self._model.compute.describe()}

    def add(self, frame: LiveFrame) -> list[Record]:
        """The records of the next frame: its scores or why it has none, and an event that ended with it.

        A frame without a score leaves the state as it was, and has no index.
        """
        if frame.volume is None:
            return [self._refuse(frame, frame.reason)]
        try:
            reason = self._find_reason(frame.volume)
            return [self._refuse(frame, reason)] if reason else self._score(frame, frame.volume)
        except Exception as error:  # noqa: BLE001 - the boundary: one bad frame must never stop the others
            logger.warning("a frame failed: %s", type(error).__name__)
            return [self._refuse(frame, reason_of(error))]

    def finish(self) -> list[Record]:
        """The event that was going on, and the summary."""
        last = self._events.finish()
        ended = [] if last is None else [self._tell_event(last)]
        times = np.asarray(self._latencies_ms)
        spread = {f"p{one}": float(np.percentile(times, one)) for one in (50, 99)} if len(times) else {}
        return [*ended, {"type": "summary", "frames": self._frames, "refused": self._refused, "events": self._told,
                         "highest_score": self._highest, "latency_ms": spread}]

    @property
    def counts(self) -> tuple[int, int]:
        """(frames scored, frames that came)."""
        return self._frames, self._frames + self._refused

    def _find_reason(self, volume: Volume) -> str:
        size = (int(volume.array.shape[1]), int(volume.array.shape[2]))
        if self._size is not None and size != self._size:
            rows, columns = self._size
            return (f"MIXED_SIZE: the frame is {size[1]} x {size[0]}, those before are {columns} x {rows}. Watch each "
                    "size by itself.")
        return self._model.refuse_frame(volume)

    def _score(self, frame: LiveFrame, volume: Volume) -> list[Record]:
        slices = self._model.prepare(volume)
        evidence, self._states = self._follow(slices)
        surprise = float(self._model.task.weigh(evidence)[0][0])
        self._size = (int(volume.array.shape[1]), int(volume.array.shape[2]))
        self._still = self._still + 1 if self._before is not None and is_still(self._before, slices[0]) else 0
        self._before = slices[0]
        ended = self._events.add(surprise)
        score = surprise / (surprise + self._threshold)
        self._highest = max(self._highest, score)
        closed = [] if ended is None else [self._tell_event(ended)]
        own = np.array([surprise])
        record = {"type": "frame", "index": self._frames, "time_s": frame.time_s, **_name(frame), "score": score,
                  "p_value": float(np.exp(-own)[0]), "z": float(z_of_surprise(own)[0]),
                  "event": self._events.number}
        if self._events.number:
            record["event_first_index"] = self._events.first
        if self._still:
            record["still"] = self._still
        self._frames += 1
        self._latencies_ms.append(1e3 * (perf_counter() - frame.ready))
        return [*closed, record | {"latency_ms": self._latencies_ms[-1]}]

    def _follow(self, slices: Tensor) -> tuple[list[Evidence], list[Any]]:
        network = self._model.network
        with torch.inference_mode():
            return network.follow(slices[0].to(network.device), self._states)

    def _warm_up(self) -> None:
        """One blank frame, so that the first real one does not pay for what libraries do once."""
        preprocessing = self._model.experiment.preprocessing
        evidence, _ = self._follow(torch.zeros(1, preprocessing.channels, *preprocessing.size))
        self._model.task.weigh(evidence)

    def _refuse(self, frame: LiveFrame, reason: str) -> Record:
        self._refused += 1
        return {"type": "refused", "time_s": frame.time_s, **_name(frame), "reason": reason}

    def _tell_event(self, event: Event) -> Record:
        self._told += 1
        return {"type": "event", "event": self._told, "first_index": event.start, "last_index": event.stop - 1,
                "peak_index": event.peak, "peak_score": event.peak_score / (event.peak_score + self._threshold)}


def watch(frames: Iterable[LiveFrame], *, model: AnomalyModel, write: Callable[[Record], None]) -> tuple[int, int]:
    """Score frames until there are no more or the user stops it; (frames scored, frames that came).

    Records go to ``write``: a start, then frames, refused frames and ended events as they come, and a summary.

    Raises:
        ModelError: the model needs frames that are not there yet.
        InputError, DecoderError: the source cannot be read.
    """
    watcher = Watcher(model)
    write(watcher.start())
    try:
        for frame in frames:
            for record in watcher.add(frame):
                write(record)
    except KeyboardInterrupt:
        logger.info("stopped by the user")
    for record in watcher.finish():
        write(record)
    return watcher.counts


def _name(frame: LiveFrame) -> Record:
    return {"file": frame.file} if frame.file else {}
