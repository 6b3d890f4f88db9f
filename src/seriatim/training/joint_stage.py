"""The stage of `joint_stage:`: encoder and sequence model learn on together, from the best weights so far."""

from __future__ import annotations

from seriatim.training.checkpoint import Progress
from seriatim.training.epochs import run_epochs
from seriatim.training.loop import build_stage
from seriatim.training.runtime import unfreeze
from seriatim.training.sequence_stage import slices_of
from seriatim.training.session import Session


def train_jointly(session: Session) -> Progress | None:
    """Train all of the network together, gently; None where the run has no such stage.

    It also unfreezes an encoder that was frozen before. Where no epoch is better on validation than the start, the
    start is kept.

    Raises:
        ConfigError: training diverged.
        ModelError: the checkpoint to go on from is damaged, or made by another config.
    """
    settings = session.experiment.joint_stage
    if settings is None:
        return None
    session.embedder = None
    unfreeze(session.network.encoder)
    return run_epochs(
        build_stage(session, settings, slices_of(session, settings), name="joint", adapts=True)
    )
