"""What a run leaves behind while it trains: metrics per epoch as JSON lines, TensorBoard where the extra is there."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

logger = logging.getLogger(__name__)


class MetricsLog:
    """Appends one line per epoch of a stage to its metrics file, and tells it on stderr.

    The file is ``metrics.jsonl`` for ``training``, whose ``stage`` is "", and ``STAGE_metrics.jsonl`` for the others.
    """

    def __init__(self, run: Path, *, stage: str, enabled: bool) -> None:
        self._path = run / (f"{stage}_metrics.jsonl" if stage else "metrics.jsonl")
        self._title = f"{stage} epoch" if stage else "epoch"
        self._enabled = enabled
        self._board = _open_board(run / "tensorboard" / stage) if enabled else None
        self._console = Console(stderr=True, highlight=False)

    def start(self, *, after_epoch: int) -> None:
        """Keep the lines up to ``after_epoch``: what a crash wrote beyond its checkpoint is written anew."""
        if not self._enabled:
            return
        kept = [line for line in read_metrics(self._path) if line["epoch"] <= after_epoch]
        partial = self._path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
        partial.replace(self._path)

    def add(self, line: Mapping[str, float]) -> None:
        """Write the metrics of one epoch."""
        if not self._enabled:
            return
        append_line(self._path, line)
        shown = "  ".join(f"{key} {value:.3f}" for key, value in line.items() if key not in ("epoch", "learning_rate"))
        self._console.print(f"{self._title} {line['epoch']:>3}  {shown}", soft_wrap=True)
        if self._board is not None:
            for key, value in line.items():
                self._board.add_scalar(key, value, line["epoch"])
            self._board.flush()


def append_line(path: Path, line: Mapping[str, float]) -> None:
    """Add one line of metrics to a file."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file; a torn last line is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            logger.warning("a torn line of %s is left out", path.name)
    return lines


def _open_board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
